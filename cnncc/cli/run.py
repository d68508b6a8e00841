"""`cnncc run`: pictures or arrays in, the best classes or arrays out."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncc.cli import feeds, model
from cnncc.cli.options import (
    ModelOptions,
    json_option,
    model_argument,
    model_options,
    threads_option,
)
from cnncc.cli.scaling import Scaling, scaling_options
from cnncc.cli.screen import screen

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnncc.abi import Port
    from cnncc.runtime.network import Network

    Array = npt.NDArray[Any]

TOP = 5
_BAR = 24
_SHORT = 24  # elements of an array that are shown in full


@click.command()
@model_argument
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="A picture or .npy, or `-` for stdin; several make a batch.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Write an output as .npy; `-` is stdout.",
)
@click.option("--top", type=click.IntRange(1), metavar="K", help="Show the best K classes.")
@click.option("--resize", is_flag=True, help="Scale pictures to the size of the input.")
@scaling_options
@threads_option
@json_option
@model_options
def command(
    file: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    top: int | None,
    resize: bool,
    scaling: Scaling,
    threads: int | None,
    as_json: bool,
    options: ModelOptions,
) -> None:
    """Run FILE on pictures (PNG, JPEG) or arrays (.npy).

    A `.cnn` file says how pictures are scaled. An ONNX file does not: its inputs get the bytes,
    0 to 255, as the numbers they are, unless --scale, --mean and --std say otherwise.
    """
    if [file, *inputs].count("-") > 1:
        raise click.UsageError("stdin can be read only once")
    net = model.network(file, options, threads)
    given = feeds.split_names(inputs, [port.name for port in net.inputs], "--input")
    places = feeds.split_names(outputs, [port.name for port in net.outputs], "--output")
    arrays, names = _feeds(net, given, resize, scaling)
    answers = _filled(net, net.run(arrays))
    for name, files in places.items():
        for place in files:
            _save(place, answers[name])
    if any(place == "-" for files in places.values() for place in files):
        return
    samples = answers if net.interface.batched else {k: v[None] for k, v in answers.items()}
    if as_json:
        rows = [_sample(net, samples, n, name, top) for n, name in enumerate(names)]
        screen().json({"schema": "cnncc.answers/1", "model": net.name, "samples": rows})
    elif not outputs or top is not None:
        for number, name in enumerate(names):
            _show(net, samples, number, name if len(names) > 1 else "", top)


def _feeds(
    net: Network, given: dict[str, list[str]], resize: bool, scaling: Scaling
) -> tuple[dict[str, Array], list[str]]:
    arrays: dict[str, Array] = {}
    names: list[list[str]] = []
    missing = [port.name for port in net.inputs if port.name not in given]
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing)
        words = " ".join(f"-i {name}=FILE" for name in missing)
        raise click.UsageError(
            f"input{'s' * (len(missing) > 1)} {listed} {'is' if len(missing) == 1 else 'are'}"
            f" missing: {words}"
        )
    for port in net.inputs:
        arrays[port.name], read = feeds.read_feed(
            port, given[port.name], resize=resize, scaling=scaling, batched=net.interface.batched
        )
        names.append(read)
    return arrays, [", ".join(sample) for sample in zip(*names, strict=False)] or [net.name]


def _filled(net: Network, answers: dict[str, Array]) -> dict[str, Array]:
    """The answers, those of selected rows cut to the rows that were selected."""
    counts = {port.name: answers[port.rows] for port in net.outputs if port.rows}
    return {
        name: array[: int(counts[name].reshape(-1)[0])] if name in counts else array
        for name, array in answers.items()
    }


def _save(place: str, array: Array) -> None:
    import numpy as np

    from cnncc.runtime.atomic import write_file

    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    if place == "-":
        sys.stdout.buffer.write(stream.getvalue())
        sys.stdout.buffer.flush()
        return
    if not place.endswith(".npy"):
        raise click.BadParameter(f"`{place}` must end in .npy", param_hint="--output")
    write_file(Path(place), [stream.getbuffer()])
    screen().note(f"wrote {place}: {array.dtype}{list(array.shape)}")


def best(port: Port, scores: Array, top: int | None) -> list[dict[str, Any]]:
    """The classes with the highest scores, the best first; NaN counts as the lowest."""
    import numpy as np

    count = min(top or port.top or TOP, scores.size)
    order = np.argsort(np.nan_to_num(-scores.astype(np.float64), nan=np.inf), kind="stable")[:count]
    labels = port.labels or [str(index) for index in range(scores.size)]
    return [
        {"index": int(i), "label": labels[int(i)], "score": float(scores[int(i)])} for i in order
    ]


def _sample(
    net: Network, answers: dict[str, Array], number: int, name: str, top: int | None
) -> dict[str, Any]:
    outputs = []
    for port in net.outputs:
        values = answers[port.name][number]
        entry: dict[str, Any] = {
            "name": port.name,
            "type": port.dtype.value,
            "shape": list(values.shape),
        }
        if _is_scores(values):
            entry["top"] = best(port, values, top)
        elif values.size <= _SHORT:
            entry["values"] = values.tolist()
        outputs.append(entry)
    return {"input": name, "outputs": outputs}


def _is_scores(values: Array) -> bool:
    """Whether an answer is shown as classes: a vector of numbers that are no counts or places."""
    return values.ndim == 1 and values.size > 0 and values.dtype.kind == "f"


def _show(net: Network, answers: dict[str, Array], number: int, name: str, top: int | None) -> None:
    if name:
        screen().result(name, bold=True)
    for port in net.outputs:
        values = answers[port.name][number]
        if len(net.outputs) > 1:
            screen().result(f"{port.name}:")
        lines = class_lines(port, values, top) if _is_scores(values) else _array_lines(port, values)
        for line in lines:
            screen().result(line)


def _array_lines(port: Port, values: Array) -> list[str]:
    """A short list or table in full, of other arrays where their values lie."""
    import numpy as np

    if values.ndim == 0:
        return [f"  {port.dtype}: {values.item():.6g}"]
    about = f"  {port.dtype}{list(values.shape)}"
    if port.rows:
        about += f", of at most {port.shape[0]} rows"
    if values.size <= _SHORT and values.ndim <= 2:
        numbers = [f"  {line}" for line in np.array2string(values, precision=6).splitlines()]
        return [f"{about}:", *numbers] if values.size else [about]
    if port.dtype.value == "bool":
        return [f"{about}: {np.count_nonzero(values):,} of {values.size:,} are true"]
    mean = values.mean(dtype=np.float64)
    return [
        f"{about}: from {values.min():.6g} to {values.max():.6g}, mean {mean:.6g}"
        " (-o FILE.npy keeps it)"
    ]


def class_lines(port: Port, scores: Array, top: int | None = None) -> Sequence[str]:
    """The best classes as lines: label, score, and a bar where the scores are shares of 1."""
    rows = best(port, scores, top)
    width = max(len(row["label"]) for row in rows)
    shares = bool(scores.min() >= 0 and abs(float(scores.sum()) - 1) < 1e-3)
    if not shares:
        return [f"  {row['label']:<{width}}  {row['score']:12.6g}" for row in rows]
    bars = ["█" * round(row["score"] * _BAR) for row in rows]
    return [
        f"  {row['label']:<{width}}  {row['score']:7.2%}  {bar}".rstrip()
        for row, bar in zip(rows, bars, strict=True)
    ]
