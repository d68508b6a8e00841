"""`cnncc check`: all mistakes of models, as text or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnncc.cli.failures import MODEL
from cnncc.cli.model import STDIN, is_onnx, read_stdin
from cnncc.cli.options import output_options, source_options
from cnncc.cli.screen import screen

if TYPE_CHECKING:
    from cnncc.errors import Diagnostic


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--message-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="JSON is one list of objects: code, severity, file, line, column, message, help.",
)
@source_options
@output_options
def command(
    files: tuple[str, ...],
    message_format: str,
    params: dict[str, str],
    weights: Path | None,
    shapes: dict[str, tuple[int, ...]],
) -> int:
    """Check models and show their mistakes; `-` reads a model from stdin.

    In an ONNX file everything is checked that its compilation asks of it: the file itself, its
    shapes, and that each node is supported.
    """
    from cnncc.spec import render_text, to_json

    if shapes and not any(is_onnx(file) for file in files):
        raise click.BadParameter("only ONNX files leave shapes open", param_hint="--shape")
    texts: dict[str, str] = {}
    found = [
        d
        for file in files
        for d in (
            _check_onnx(file, params, weights, shapes)
            if is_onnx(file)
            else _check(file, params, weights, texts)
        )
    ]
    errors = sum(d.severity == "error" for d in found)
    if message_format == "json":
        screen().json([to_json(d) for d in found])
    elif found:
        screen().diagnostics(render_text(found, texts), as_result=True)
    if message_format == "text" and screen().verbosity >= 0:
        screen().result(("\n" if found else "") + _verdict(files, errors, len(found) - errors))
    return MODEL if errors else 0


def _check(
    file: str, params: dict[str, str], weights: Path | None, texts: dict[str, str]
) -> tuple[Diagnostic, ...]:
    from cnncc import spec
    from cnncc.errors import SpecError

    if file != "-":
        return spec.check(file, params, weights)
    texts[STDIN] = read_stdin() + "\n"
    try:
        loaded = spec.load(
            texts[STDIN], file=STDIN, params=params, weights=weights, want_arrays=False
        )
    except SpecError as error:
        return error.diagnostics
    return loaded.diagnostics


def _check_onnx(
    file: str,
    params: dict[str, str],
    weights: Path | None,
    shapes: dict[str, tuple[int, ...]],
) -> tuple[Diagnostic, ...]:
    from cnncc import driver
    from cnncc.errors import CnnccError, Diagnostic, Span

    try:
        driver.load_model(Path(file), params=params, weights=weights, shapes=shapes)
    except CnnccError as error:
        place = Span(file, 0, 0, 0)  # a file without lines
        head, *rows = error.message.removeprefix(f"{file}:").strip().split("\n  ")
        if not rows or not head:
            return tuple(
                Diagnostic("ONNX", "error", text, place, help=error.hint) for text in rows or [head]
            )
        return tuple(
            Diagnostic("ONNX", "error", row, place, notes=(head.rstrip(":"),), help=error.hint)
            for row in rows
        )
    return ()


def _verdict(files: tuple[str, ...], errors: int, warnings: int) -> str:
    what = files[0] if len(files) == 1 else f"{len(files)} files"
    counts = [
        f"{count} {word}{'s' * (count != 1)}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return f"{what}: {', '.join(counts) or 'no mistakes'}"
