"""`cnncc compile`: files for other programs, and the text of every stage on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncc.cli import model
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, screen, size_text
from cnncc.errors import ArtifactError, InputError, TargetError

if TYPE_CHECKING:
    from cnncc.ir.graph import Graph
    from cnncc.stages import Lowered
    from cnncc.targets import Target

STAGES = ("graph", "loops", "llvm", "asm")
EXPORTS = ("obj", "lib", "shared", "header", "main", "cmake")
# Each with its arrays beside it, so that it can be compiled further: two names, two files.
_SUFFIXES = {"graph": "planned.graph", "loops": "loops", "llvm": "ll", "asm": "s"}
_UNFIT = re.compile(r"[^A-Za-z0-9_+.-]+")
_COLUMNS = (Column("path", "file"), Column("size", "size", right=True))


def _kinds(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(k.strip() for k in (given or "").split(",") if k.strip()))
    for kind in kinds:
        if kind not in (*STAGES, *EXPORTS):
            known = ", ".join((*STAGES, *EXPORTS))
            raise click.BadParameter(f"`{kind}` is not one of {known}", ctx, param)
    return kinds


@dataclass(frozen=True, slots=True)
class Source:
    """What files are made of: a planned model, or a program that an earlier run left."""

    lowered: Lowered
    target: Target
    graph: Graph | None


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

    FILE may also be a .graph or .loops file that an earlier run left; compiling goes on from there.
    """
    if output == "-" and (len(emit) != 1 or emit[0] not in STAGES):
        raise click.UsageError(f"only one of {', '.join(STAGES)} can go to stdout: --emit KIND")
    source = _source(file, options)
    if output == "-":
        click.echo(_text(source, emit[0]), nl=False)
        return
    stem = name or _UNFIT.sub("_", "model" if file == "-" else Path(file).name.split(".")[0])
    folder = Path(output) if output else Path("build") / stem
    paths = _write_stages(source, folder, stem, emit)
    if not emit or set(emit) & set(EXPORTS):
        paths |= _export(source, folder, stem, emit, prefix)
    rows: list[dict[str, Any]] = [
        {"kind": kind, "path": str(path), "bytes": path.stat().st_size}
        for kind, path in paths.items()
    ]
    if as_json:
        screen().json({"schema": "cnncc.files/1", "target": source.target.name, "files": rows})
    elif screen().verbosity >= 0:
        screen().table(_COLUMNS, [{**row, "size": size_text(row["bytes"])} for row in rows])


def _source(file: str, options: ModelOptions) -> Source:
    from cnncc import driver

    if file.endswith(".loops"):
        return Source(driver.load_program(file), model.target(options), None)
    plan = model.plan(file, options).plan
    lowered = driver.Lowered(plan.program, plan.weights, plan.interface)
    return Source(lowered, plan.target, plan.graph)


def _write_stages(
    source: Source, folder: Path, stem: str, emit: tuple[str, ...]
) -> dict[str, Path]:
    paths = {}
    for kind in (kind for kind in STAGES if kind in emit):
        path = folder / f"{stem}.{_SUFFIXES[kind]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_stage(source, kind, path)
        except OSError as error:
            raise ArtifactError(
                f"cannot write {path}: {error.strerror or error}",
                hint="check that the folder may be written to and has room",
            ) from error
        paths[kind] = path
        if kind in ("graph", "loops"):
            paths[f"arrays of {kind}"] = path.with_suffix(".npz")
    return paths


def _write_stage(source: Source, kind: str, path: Path) -> None:
    from cnncc import stages
    from cnncc.ir.text import dump
    from cnncc.runtime.atomic import write_file

    if kind == "graph":
        dump(_graph(source), path)
    elif kind == "loops":
        stages.save_program(path, source.lowered.program, *source.lowered.complete())
    else:
        write_file(path, [_text(source, kind).encode()])


def _text(source: Source, kind: str) -> str:
    from cnncc import stages
    from cnncc.ir.text import print_graph
    from cnncc.loopir.text import print_program

    program = source.lowered.program
    match kind:
        case "graph":
            return print_graph(_graph(source))
        case "loops":
            return print_program(program)
        case "llvm":
            return stages.llvm_text(program, source.target)
    return stages.assembly_text(program, source.target)


def _graph(source: Source) -> Graph:
    if source.graph is None:
        raise InputError("a `.loops` file has no graph any more")
    return source.graph


def _export(
    source: Source, folder: Path, stem: str, emit: tuple[str, ...], prefix: str | None
) -> dict[str, Path]:
    from cnncc.export import export

    weights, interface = source.lowered.complete()

    def write(kinds: tuple[str, ...]) -> dict[str, Path]:
        program, target = source.lowered.program, source.target
        return export(folder, stem, program, target, interface, weights, kinds=kinds, prefix=prefix)

    wanted = tuple(kind for kind in EXPORTS if kind in (emit or EXPORTS))
    try:
        with model.generating(stem):
            return write(wanted)
    except TargetError as error:
        if emit:
            raise
        screen().note(f"no shared library: {error.message}")
        return write(tuple(kind for kind in wanted if kind != "shared"))
