"""`cnncc import`: a trained model as a readable spec with its weights beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncc.cli.options import json_option, output_options, shapes_option
from cnncc.cli.screen import printable, screen, size_text
from cnncc.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from cnncc.ir.graph import Graph


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option(
    "-o",
    "--output",
    metavar="SPEC",
    help="The spec to write; `-` for stdout, without weights. By default FILE's name with .cnn.",
)
@click.option("--flat", is_flag=True, help="One operation a line, every name and default written.")
@shapes_option
@json_option
@output_options
def command(
    file: str, output: str | None, flat: bool, shapes: dict[str, tuple[int, ...]], as_json: bool
) -> None:
    """Write FILE, an .onnx model, as SPEC with its weights in a .safetensors file beside it.

    The spec compiles to the same numbers as the model, bit for bit.
    """
    from cnncc import driver, spec

    if not file.lower().endswith(".onnx"):
        raise InputError(f"{file}: only .onnx models are imported")
    target = _target(file, output)
    with screen().waiting(f"importing {printable(file)}"):
        graph = driver.load_model(Path(file), shapes=shapes).graph.copy()
        graph.name = target.stem
        _restore_names(graph)
        weights = target.with_suffix(".safetensors")
        written = spec.written(graph, weights.name, readable=not flat)
    if output == "-":
        click.echo(written.text, nl=False)
        return
    files = {target: written.text.encode()}
    if written.arrays:
        files = {weights: spec.weights_bytes(written.arrays), **files}
    _write(files)
    facts = {
        "lines": len(written.text.splitlines()),
        "blocks": sum(line.startswith("block ") for line in written.text.splitlines()),
        "parameters": sum(array.size for array in written.arrays.values()),
    }
    if as_json:
        rows: list[dict[str, Any]] = [
            {"path": str(path), "bytes": len(data)} for path, data in files.items()
        ]
        screen().json({"schema": "cnncc.import/1", **facts, "files": rows})
    else:
        _tell(target, weights, len(files.get(weights, b"")), facts)


def _restore_names(graph: Graph) -> None:
    """Inputs get back the names that the model's callers know, where no node has them."""
    tensors: dict[str, str] = graph.meta.get("tensors", {})
    taken = {node.name for _, node in graph.nodes()}
    for node_id in graph.inputs:
        node = graph[node_id]
        public = tensors.get(node.name, node.name)
        if public not in taken:
            node.name = public


def _target(file: str, output: str | None) -> Path:
    """Where the spec goes.

    Raises:
        InputError: it is not said, and the place that comes next is taken.
    """
    if output == "-":
        return Path(file).with_suffix(".cnn")
    if output is not None:
        if Path(output).suffix != ".cnn":
            raise click.BadParameter("a spec's name ends in .cnn", param_hint="-o")
        return Path(output)
    target = Path(file).with_suffix(".cnn")
    for path in (target, target.with_suffix(".safetensors")):
        if path.exists():
            raise InputError(f"{path} exists", hint=f"to replace it say -o {target}")
    return target


def _write(files: dict[Path, bytes]) -> None:
    from cnncc.runtime.atomic import write_file

    for path, data in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, [data])
        except OSError as error:
            raise ArtifactError(
                f"cannot write {path}: {error.strerror or error}",
                hint="check that the folder may be written to and has room",
            ) from error


def _tell(target: Path, weights: Path, size: int, facts: dict[str, int]) -> None:
    blocks = f", {facts['blocks']} block{'s' * (facts['blocks'] != 1)}" if facts["blocks"] else ""
    screen().note(f"wrote {target}: {facts['lines']} lines{blocks}")
    if size:
        screen().note(f"wrote {weights}: {facts['parameters']:,} parameters, {size_text(size)}")
