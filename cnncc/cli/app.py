"""The group of all verbs: their names and one-line descriptions are data, their files load late."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import cnncc
from cnncc.cli.failures import exit_code
from cnncc.cli.options import output_options

VERBS = {
    "check": "Check models and show their mistakes.",
    "fmt": "Write models in the canonical form.",
    "inspect": "List layers, shapes, parameters and work of a model.",
    "explain": "Tell why a layer was compiled as it was, or what an error code means.",
    "run": "Run a model on pictures or arrays.",
    "compile": "Compile a model into files: objects, libraries, headers, or any stage on the way.",
    "bench": "Measure how quick a model runs.",
    "verify": "Compare every compiled layer with the float64 oracle.",
    "targets": "List the machines that code can be made for.",
    "ops": "List the operations of the language.",
    "import": "Write an ONNX model as a readable spec with its weights beside it.",
    "cache": "Show or clear the cache of compiled kernels.",
}


class App(click.Group):
    """A group that imports a verb's file when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which a user meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """A verb, or None."""
        if name not in VERBS:
            return None
        file = "import_" if name == "import" else name  # a reserved word of Python
        command: click.Command = importlib.import_module(f"cnncc.cli.{file}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that `args` begin with; a wrong one is answered with the nearest."""
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            near = difflib.get_close_matches(name, VERBS, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            if name.lower().endswith((".cnn", ".onnx")):
                hint = f"; what shall be done with it? Such as `cnncc inspect {name}`"
            raise click.UsageError(f"there is no verb `{name}`{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs for `--help`, without loading any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = "cnncc", **extra: Any
    ) -> NoReturn:
        """Run, report what went wrong, and exit."""
        extra["standalone_mode"] = False
        sys.exit(exit_code(lambda: super(App, self).main(args, prog_name, **extra)))


@click.group(
    "cnncc",
    cls=App,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    epilog="`cnncc VERB --help` tells more about a verb.",
)
@click.version_option(cnncc.__version__, "--version", "-V", message="cnncc %(version)s")
@output_options
@click.pass_context
def app(ctx: click.Context) -> None:
    """Compile convolutional neural networks into native vector code."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
