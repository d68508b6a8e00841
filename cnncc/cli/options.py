"""Options that several verbs share, and what they become."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from cnncc.cli.screen import screen
from cnncc.options import SWITCHES, TUNING

F = TypeVar("F", bound=Callable[..., Any])
_EXTENT = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is read and compiled.

    Attributes:
        params: values of the model's `param`s, as text.
        weights: a weight file instead of the model's own.
        shapes: whole shapes by name, for inputs that an ONNX model leaves open.
        target: name of the target.
        mcpu: name of a CPU; overrides the target.
        print_after: passes after which the graph is printed.
        dump: folder for every stage as text; by default that of CNNCC_DUMP.
        time_passes: whether the time of each pass is shown.
        without: optimisations that are switched off.
        tune: how kernels are chosen.
    """

    params: dict[str, str]
    weights: Path | None
    shapes: dict[str, tuple[int, ...]]
    target: str
    mcpu: str | None
    print_after: tuple[str, ...]
    dump: Path | None
    time_passes: bool
    without: tuple[str, ...]
    tune: str


def output_options(function: F) -> F:
    """`-v`, `-q` and `--color`, before or behind the verb."""

    def louder(ctx: click.Context, param: click.Parameter, count: int) -> None:
        if count:
            screen().verbosity = count
            _log(count)

    def quieter(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
        if wanted:
            screen().verbosity = -1

    def paint(ctx: click.Context, param: click.Parameter, when: str | None) -> None:
        if when:
            screen().color = when

    for option in (
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            callback=paint,
            expose_value=False,
            help="When to use colour; NO_COLOR=1 also means never.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            callback=quieter,
            expose_value=False,
            help="Show results and errors only.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            callback=louder,
            expose_value=False,
            help="Tell what is being done; twice for more.",
        ),
    ):
        function = option(function)
    return function


def _log(verbosity: int) -> None:
    import logging
    import sys

    level = logging.INFO if verbosity == 1 else logging.DEBUG
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger = logging.getLogger("cnncc")
    logger.handlers = [handler]
    logger.setLevel(level)


def _params(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"`{text}` is no `name=value`", ctx, param)
        values[name] = value
    return values


def _shapes(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for text in given:
        name, equals, shape = text.rpartition("=")
        extents = shape.split("x")
        if not (name and equals) or not all(_EXTENT.fullmatch(n) for n in extents):
            raise click.BadParameter(f"`{text}` is no shape such as image=1x3x224x224", ctx, param)
        shapes[name] = tuple(int(n) for n in extents)
    return shapes


def shapes_option(function: F) -> F:
    """`--shape`: sizes of an ONNX model's inputs."""
    return click.option(
        "--shape",
        "shapes",
        multiple=True,
        callback=_shapes,
        metavar="NAME=NxCxHxW",
        help="Shape of an input that an ONNX model leaves open, such as x=1x3x48x192.",
    )(function)


def source_options(function: F) -> F:
    """`-D`, `--weights` and `--shape`: what the model is."""
    for option in (
        shapes_option,
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Weights (.safetensors or .npz) instead of the model's own.",
        ),
        click.option(
            "-D",
            "--define",
            "params",
            multiple=True,
            callback=_params,
            metavar="NAME=VALUE",
            help="Value of a `param` of the model.",
        ),
    ):
        function = option(function)
    return function


def target_options(function: F) -> F:
    """`--target` and `--mcpu`: the machine."""
    for option in (
        click.option(
            "--mcpu",
            metavar="CPU",
            help="Compile for this CPU, such as haswell, nehalem or native.",
        ),
        click.option(
            "--target",
            default="host",
            show_default=True,
            metavar="NAME",
            help="Machine to compile for; `cnncc targets` lists them.",
        ),
    ):
        function = option(function)
    return function


def model_options(function: F) -> F:
    """Everything about reading and compiling a model, as one `options` argument."""

    @functools.wraps(function)
    def packed(**given: Any) -> Any:
        names = ModelOptions.__dataclass_fields__
        options = ModelOptions(**{name: given.pop(name) for name in names})
        return function(options=options, **given)

    made: Any = packed
    for option in (
        click.option(
            "--tune",
            default="off",
            show_default=True,
            type=click.Choice(TUNING),
            help="Choose kernels by the cost model, or time the best few.",
        ),
        click.option(
            "--without",
            multiple=True,
            type=click.Choice(list(SWITCHES)),
            metavar="NAME",
            help=f"Leave an optimisation out: {', '.join(SWITCHES)}.",
        ),
        click.option("--time-passes", is_flag=True, help="Show how long each pass took."),
        click.option(
            "--dump",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Write every stage there as text; also CNNCC_DUMP.",
        ),
        click.option(
            "--print-after",
            multiple=True,
            metavar="PASS",
            help="Print the graph after a pass to stderr; `all` for each.",
        ),
    ):
        made = option(made)
    return output_options(source_options(target_options(made)))  # type: ignore[no-any-return]


def threads_option(function: F) -> F:
    """`--threads` of one inference."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Threads that share an inference; by default the cores this process may use.",
    )(function)


def json_option(function: F) -> F:
    """`--json`: the answer as one JSON object."""
    return click.option("--json", "as_json", is_flag=True, help="Answer with JSON on stdout.")(
        function
    )


def model_argument(function: F) -> F:
    """FILE, a `.cnn` or `.onnx` file, a dumped stage, or `-`."""
    return click.argument("file", metavar="FILE")(function)
