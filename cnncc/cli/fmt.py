"""`cnncc fmt`: the canonical form of models."""

from __future__ import annotations

from pathlib import Path

import click

from cnncc.cli.failures import MODEL
from cnncc.cli.model import STDIN, is_onnx, read_stdin
from cnncc.cli.options import output_options
from cnncc.cli.screen import screen


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", is_flag=True, help="Write nothing; fail if a file would change.")
@click.option("--pin-names", is_flag=True, help="Write automatic weight paths into the text.")
@output_options
def command(files: tuple[str, ...], check: bool, pin_names: bool) -> int:
    """Write models in the canonical form; `-` goes from stdin to stdout."""
    from cnncc.spec import format_text

    changed = 0
    for file in files:
        text = read_stdin() if file == "-" else _read(file)
        shown = STDIN if file == "-" else file
        made = format_text(text, file=shown, pin_names=pin_names)
        if file == "-" and not check:
            click.echo(made, nl=False)
        elif made != text:
            changed += 1
            if not check:
                _write(Path(file), made)
            screen().note(f"{'would change' if check else 'formatted'} {shown}")
    return MODEL if check and changed else 0


def _read(file: str) -> str:
    from cnncc.errors import InputError

    if is_onnx(file):
        raise InputError(
            f"{file}: an ONNX model is no text that can be formatted",
            hint="`cnncc import` writes it as a spec in the canonical form",
        )
    try:
        return Path(file).read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{file}: this is no UTF-8 text") from error


def _write(path: Path, text: str) -> None:
    from cnncc.runtime.atomic import write_file

    write_file(path, [text.encode()])
