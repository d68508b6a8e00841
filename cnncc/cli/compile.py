"""`cnncc compile`: files for other programs, and the text of every stage on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncc.cli import model
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, screen, size_text
from cnncc.errors import ArtifactError, TargetError

if TYPE_CHECKING:
    from cnncc.ir.graph import Graph
    from cnncc.stages import Lowered
    from cnncc.targets import Target

STAGES = ("graph", "loops", "llvm", "asm")
EXPORTS = ("obj", "lib", "shared", "header", "main", "cmake")
_SUFFIXES = {"graph": "graph", "loops": "loops", "llvm": "ll", "asm": "s"}
_UNFIT = re.compile(r"[^A-Za-z0-9_+.-]+")


def _kinds(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(k.strip() for k in (given or "").split(",") if k.strip()))
    for kind in kinds:
        if kind not in (*STAGES, *EXPORTS):
            known = ", ".join((*STAGES, *EXPORTS))
            raise click.BadParameter(f"`{kind}` is not one of {known}", ctx, param)
    return kinds


@click.command()
@model_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="DIR",
    help="Folder of the files, build/NAME by default; `-` sends one text to stdout.",
)
@click.option(
    "--emit",
    callback=_kinds,
    metavar="LIST",
    help=f"Which of {', '.join((*STAGES, *EXPORTS))}, with commas; by default all from obj on.",
)
@click.option("--name", metavar="NAME", help="Name of the files; by default that of FILE.")
@click.option("--prefix", metavar="WORD", help="What the C names begin with.")
@json_option
@model_options
def command(
    file: str,
    output: str | None,
    emit: tuple[str, ...],
    name: str | None,
    prefix: str | None,
    as_json: bool,
    options: ModelOptions,
) -> None:
    """Compile FILE into NAME.o, libNAME.a, libNAME.so, NAME.h and an example main.c.

    FILE is a `.cnn` file, or a stage that --dump left: a `.graph` or a `.loops` file.
    """
    if output == "-" and (len(emit) != 1 or emit[0] not in STAGES):
        raise click.UsageError(f"only one of {', '.join(STAGES)} can go to stdout: --emit KIND")
    code = _program(file, options) if file.endswith(".loops") else _plan(file, options)
    if output == "-":
        click.echo(_text(code, emit[0]), nl=False)
        return
    stem = name or _UNFIT.sub("_", code.name if file == "-" else Path(file).stem)
    folder = Path(output) if output else Path("build") / stem
    paths = _write_stages(code, folder, stem, emit)
    if not emit or set(emit) & set(EXPORTS):
        paths |= _export(code, folder, stem, emit, prefix)
    rows = [{"kind": k, "path": str(p), "bytes": p.stat().st_size} for k, p in paths.items()]
    if as_json:
        answer = {"schema": "cnncc.files/1", "model": code.name}
        screen().json({**answer, "target": code.target.name, "files": rows})
    elif screen().verbosity >= 0:
        shown = [
            {**row, "size": size_text(p.stat().st_size)}
            for row, p in zip(rows, paths.values(), strict=True)
        ]
        screen().table((Column("path", "file"), Column("size", "size", right=True)), shown)


@dataclass(frozen=True, slots=True)
class _Code:
    """What files are made of; a program out of a `.loops` file has no graph."""

    name: str
    lowered: Lowered
    target: Target
    graph: Graph | None


def _plan(file: str, options: ModelOptions) -> _Code:
    from cnncc.stages import Lowered

    plan = model.plan(file, options).plan
    lowered = Lowered(plan.program, plan.weights, plan.interface)
    return _Code(plan.interface.name, lowered, plan.target, plan.graph)


def _program(file: str, options: ModelOptions) -> _Code:
    from cnncc.driver import load_program

    lowered = load_program(file)
    name = lowered.interface.name if lowered.interface else Path(file).stem
    return _Code(name, lowered, model.target(options), None)


def _write_stages(code: _Code, folder: Path, stem: str, emit: tuple[str, ...]) -> dict[str, Path]:
    from cnncc.runtime.atomic import write_file

    paths = {}
    for kind in (kind for kind in STAGES if kind in emit):
        path = folder / f"{stem}.{_SUFFIXES[kind]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if kind == "graph":
                from cnncc.ir.text import dump

                dump(_graph(code), path)
                paths["arrays"] = path.with_suffix(".npz")
            else:
                write_file(path, [_text(code, kind).encode()])
        except OSError as error:
            raise ArtifactError(
                f"cannot write {path}: {error.strerror or error}",
                hint="check that the folder may be written to and has room",
            ) from error
        paths[kind] = path
    return paths


def _graph(code: _Code) -> Graph:
    if code.graph is None:
        raise click.UsageError("a `.loops` file has no graph any more")
    return code.graph


def _text(code: _Code, kind: str) -> str:
    from cnncc import stages
    from cnncc.ir.text import print_graph
    from cnncc.loopir.text import print_program

    program = code.lowered.program
    makers: dict[str, Callable[[], str]] = {
        "graph": lambda: print_graph(_graph(code)),
        "loops": lambda: print_program(program),
        "llvm": lambda: stages.llvm_text(program, code.target),
        "asm": lambda: stages.assembly_text(program, code.target),
    }
    return makers[kind]()


def _export(
    code: _Code, folder: Path, stem: str, emit: tuple[str, ...], prefix: str | None
) -> dict[str, Path]:
    from cnncc.export import export

    weights, interface = code.lowered.complete(code.target)

    def write(kinds: tuple[str, ...]) -> dict[str, Path]:
        return export(
            folder,
            stem,
            code.lowered.program,
            code.target,
            interface,
            weights,
            kinds=kinds,
            prefix=prefix,
        )

    wanted = tuple(kind for kind in EXPORTS if kind in (emit or EXPORTS))
    try:
        return write(wanted)
    except TargetError as error:
        if emit:
            raise
        screen().note(f"no shared library: {error.message}")
        return write(tuple(kind for kind in wanted if kind != "shared"))
