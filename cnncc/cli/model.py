"""From the words of a command line to a model, a plan or a network."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncc.cli.options import ModelOptions
from cnncc.cli.screen import Waiting, printable, screen
from cnncc.options import Options

if TYPE_CHECKING:
    from cnncc.driver import Compilation, Model
    from cnncc.ir.graph import Graph
    from cnncc.llvm.program import ProgramCode
    from cnncc.pipeline import Record
    from cnncc.runtime.network import Network
    from cnncc.targets import Target

STDIN = "<stdin>"


def is_onnx(file: str) -> bool:
    """Whether a file's name says that it is an ONNX model."""
    return file.lower().endswith(".onnx")


def read_stdin() -> str:
    """The text that was piped in.

    Raises:
        InputError: it is no UTF-8 text.
    """
    from cnncc.errors import InputError

    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"stdin is no UTF-8 text: {error.reason}",
            hint="an ONNX model is given as a file, whose name ends in .onnx",
        ) from error


def load(file: str, options: ModelOptions, *, want_arrays: bool = True) -> Model:
    """The model of a file or of stdin; warnings about it go to stderr.

    A `.graph` file that a dump left is a model, too.

    Raises:
        click.BadParameter: shapes are given for a text, which has its own.
    """
    from cnncc import driver
    from cnncc.spec import render_text

    texts = {}
    if file == "-" and options.shapes:
        raise click.BadParameter(
            "stdin is read as a `.cnn` text, which declares all shapes", param_hint="--shape"
        )
    if file == "-":
        from cnncc import spec

        texts[STDIN] = read_stdin() + "\n"
        found = spec.load(
            texts[STDIN],
            file=STDIN,
            params=options.params,
            weights=options.weights,
            want_arrays=want_arrays,
        )
        model = driver.Model(found.graph, found.diagnostics)
    else:
        model = driver.load_model(
            Path(file),
            params=options.params,
            weights=options.weights,
            shapes=options.shapes,
            want_arrays=want_arrays,
        )
    if model.diagnostics and screen().verbosity >= 0:
        screen().diagnostics(render_text(model.diagnostics, texts))
    return model


def target(options: ModelOptions) -> Target:
    """The target that `--target` and `--mcpu` choose.

    Raises:
        click.BadParameter: there is none of that name, or the CPU is of another architecture.
    """
    from cnncc import driver
    from cnncc.errors import TargetError

    found = {}
    for option, name in (("--target", options.target), ("--mcpu", options.mcpu or options.target)):
        try:
            found[option] = driver.target_named(name)
        except TargetError as error:
            raise click.BadParameter(f"{error.message} ({error.hint})", param_hint=option) from None
    machine, cpu = found["--target"], found["--mcpu"]
    if machine.triple != cpu.triple:
        raise click.BadParameter(
            f"`{options.mcpu}` is no CPU of `{options.target}`", param_hint="--mcpu"
        )
    return cpu


def plan(file: str, options: ModelOptions, code: ProgramCode | None = None) -> Compilation:
    """The plan of a file, with everything that was decided on the way; see `driver.plan_model`."""
    from cnncc import driver

    chosen = target(options)
    _check_passes(options, chosen)
    with screen().waiting(f"compiling {printable(file)}") as status:
        status.step = "reading"
        model = load(file, options)

        def observe(record: Record, graph: Graph) -> None:
            status.step = f"behind {record.name}"
            _print_after(options, record, graph)

        wishes = Options(frozenset(options.without), options.tune)
        compilation = driver.plan_model(
            model, chosen, options=wishes, dump=options.dump, observe=observe, code=code
        )
    if options.time_passes:
        _show_times(compilation)
    return compilation


def _print_after(options: ModelOptions, record: Record, graph: Graph) -> None:
    if record.name in options.print_after or "all" in options.print_after:
        from cnncc.ir.text import print_graph

        screen().print_error(f"# after {record.number:02} {record.name}: {record.why}")
        screen().print_error(print_graph(graph))


def _show_times(compilation: Compilation) -> None:
    for record in compilation.records:
        screen().print_error(str(record))
    passes = sum(record.milliseconds for record in compilation.records)
    below = compilation.plan_seconds * 1e3 - passes
    screen().print_error(f"   checks, dumps, lowering {below:9.1f} ms")


def network(file: str, options: ModelOptions, threads: int | None = None) -> Network:
    """The network of a file, ready to be called; a `.loops` file is compiled as it is."""
    from cnncc import driver

    if file.endswith(".loops"):
        return driver.build_program(driver.load_program(file), target(options), threads=threads)
    with driver.code_of(target(options)) as code:
        compilation = plan(file, options, code)
        with generating(file):
            return driver.build(compilation, threads=threads, code=code)


def generating(file: str) -> AbstractContextManager[Waiting]:
    """Shows that machine code is being made, when that takes long."""
    return screen().waiting(f"compiling {printable(file)}: machine code")


def _check_passes(options: ModelOptions, chosen: Target) -> None:
    from cnncc import driver

    known = list(dict.fromkeys(step.apply.name for step in driver.steps(chosen)))
    for name in options.print_after:
        if name not in (*known, "all"):
            raise click.BadParameter(
                f"there is no pass `{printable(name)}`; the passes are {', '.join(known)}",
                param_hint="--print-after",
            )
