"""`cnncc ops`: the operations of the language, from the table that the compiler reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnncc.cli.options import json_option, output_options
from cnncc.cli.screen import Column, screen

if TYPE_CHECKING:
    from cnncc.spec.values import Argument

COLUMNS = (
    Column("name", "operation", style="bold"),
    Column("summary", "what it is"),
    Column("written", "arguments", style="dim"),
)


@click.command()
@click.argument("name", required=False)
@json_option
@output_options
def command(name: str | None, as_json: bool) -> None:
    """List the operations of the language, or the arguments of one."""
    from cnncc.spec.builtins import BUILTINS

    if name is not None and name not in BUILTINS:
        import difflib

        near = difflib.get_close_matches(name, BUILTINS, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise click.BadParameter(f"there is no operation `{name}`{hint}", param_hint="NAME")
    rows: list[dict[str, Any]] = [
        {
            "name": row.name,
            "summary": row.summary,
            "takes": row.takes,
            "arguments": [_argument(argument) for argument in row.args],
            "weights": list(row.leaves),
        }
        for row in BUILTINS.values()
        if name in (None, row.name)
    ]
    if as_json:
        screen().json({"schema": "cnncc.ops/1", "ops": rows})
    elif name is None:
        screen().table(COLUMNS, [{**row, "written": _written(row["arguments"])} for row in rows])
    else:
        _show(rows[0])


def _argument(argument: Argument) -> dict[str, Any]:
    from cnncc.spec.values import REQUIRED, Kind, show

    default = argument.default
    required = default is REQUIRED
    if required or default in (None, ""):
        shown = None
    elif argument.kind in (Kind.PAIR, Kind.EXTRA):
        shown = "x".join(map(str, default))
    else:
        shown = default if default in argument.words else show(default)
    return {
        "name": argument.name,
        "required": required,
        "default": shown,
        "words": list(argument.words),
        "doc": argument.doc,
    }


def _written(arguments: list[dict[str, Any]]) -> str:
    return ", ".join(
        a["name"] if a["required"] else f"{a['name']}={a['default'] or ''}".rstrip("=")
        for a in arguments
    )


def _show(row: dict[str, Any]) -> None:
    out = screen().result
    out(f"{row['name']}: {row['summary']}", bold=True)
    for argument in row["arguments"]:
        default = f", {argument['default']} if not given" if argument["default"] else ""
        words = f" ({' | '.join(argument['words'])})" if argument["words"] else ""
        needed = ", required" if argument["required"] else default
        out(f"  {argument['name']:<10} {argument['doc']}{words}{needed}")
    if row["weights"]:
        out(f"  weights: {', '.join(row['weights'])}")
