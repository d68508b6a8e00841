"""`cnncc compile`: files for other programs, and the text of every stage on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncc.cli import model
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, screen, size_text
from cnncc.errors import ArtifactError, TargetError

if TYPE_CHECKING:
    from cnncc.plan.lower import Plan

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
    """Compile FILE into NAME.o, libNAME.a, libNAME.so, NAME.h and an example main.c."""
    if output == "-" and (len(emit) != 1 or emit[0] not in STAGES):
        raise click.UsageError(f"only one of {', '.join(STAGES)} can go to stdout: --emit KIND")
    plan = model.plan(file, options).plan
    if output == "-":
        click.echo(_text(plan, emit[0]), nl=False)
        return
    stem = name or _UNFIT.sub("_", plan.interface.name if file == "-" else Path(file).stem)
    folder = Path(output) if output else Path("build") / stem
    paths = _write_stages(plan, folder, stem, emit)
    if not emit or set(emit) & set(EXPORTS):
        paths |= _export(plan, folder, stem, emit, prefix)
    rows = [{"kind": k, "path": str(p), "bytes": p.stat().st_size} for k, p in paths.items()]
    if as_json:
        answer = {"schema": "cnncc.files/1", "model": plan.interface.name}
        screen().json({**answer, "target": plan.target.name, "files": rows})
    elif screen().verbosity >= 0:
        shown = [
            {**row, "size": size_text(p.stat().st_size)}
            for row, p in zip(rows, paths.values(), strict=True)
        ]
        screen().table((Column("path", "file"), Column("size", "size", right=True)), shown)


def _write_stages(plan: Plan, folder: Path, stem: str, emit: tuple[str, ...]) -> dict[str, Path]:
    from cnncc.runtime.atomic import write_file

    paths = {}
    for kind in (kind for kind in STAGES if kind in emit):
        path = folder / f"{stem}.{_SUFFIXES[kind]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if kind == "graph":
                from cnncc.ir.text import dump

                dump(plan.graph, path)
                paths["arrays"] = path.with_suffix(".npz")
            else:
                write_file(path, [_text(plan, kind).encode()])
        except OSError as error:
            raise ArtifactError(
                f"cannot write {path}: {error.strerror or error}",
                hint="check that the folder may be written to and has room",
            ) from error
        paths[kind] = path
    return paths


def _text(plan: Plan, kind: str) -> str:
    makers: dict[str, Callable[[Plan], str]] = {
        "graph": _graph_text,
        "loops": _loops_text,
        "llvm": _llvm_text,
        "asm": _asm_text,
    }
    return makers[kind](plan)


def _graph_text(plan: Plan) -> str:
    from cnncc.ir.text import print_graph

    return print_graph(plan.graph)


def _loops_text(plan: Plan) -> str:
    from cnncc.loopir.text import print_program

    return print_program(plan.program)


def _llvm_text(plan: Plan) -> str:
    from cnncc.llvm.emit import module_text
    from cnncc.llvm.parallel import kernel_functions, main_functions

    program, target = plan.program, plan.target
    main = main_functions(program.funcs[-1], target, pool=False)
    return module_text([*kernel_functions(program, target, linkage=""), *main], target)


def _asm_text(plan: Plan) -> str:
    from cnncc.llvm.optimize import emit_assembly

    return emit_assembly(_llvm_text(plan), plan.target)


def _export(
    plan: Plan, folder: Path, stem: str, emit: tuple[str, ...], prefix: str | None
) -> dict[str, Path]:
    from cnncc.export import export

    def write(kinds: tuple[str, ...]) -> dict[str, Path]:
        return export(
            folder,
            stem,
            plan.program,
            plan.target,
            plan.interface,
            plan.weights,
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
