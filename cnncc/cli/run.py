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
from cnncc.cli.screen import screen

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnncc.abi import Port
    from cnncc.runtime.network import Network

    Array = npt.NDArray[Any]

TOP = 5
_BAR = 24


@click.command()
@model_argument
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    required=True,
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
@threads_option
@json_option
@model_options
def command(
    file: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    top: int | None,
    resize: bool,
    threads: int | None,
    as_json: bool,
    options: ModelOptions,
) -> None:
    """Run FILE on pictures (PNG, JPEG) or arrays (.npy)."""
    if [file, *inputs].count("-") > 1:
        raise click.UsageError("stdin can be read only once")
    net = model.network(file, options, threads)
    given = feeds.split_names(inputs, [port.name for port in net.inputs], "--input")
    places = feeds.split_names(outputs, [port.name for port in net.outputs], "--output")
    arrays, names = _feeds(net, given, resize)
    answers = net.run(arrays)
    for name, files in places.items():
        for place in files:
            _save(place, answers[name])
    if any(place == "-" for files in places.values() for place in files):
        return
    if as_json:
        samples = [_sample(net, answers, n, name, top) for n, name in enumerate(names)]
        screen().json({"schema": "cnncc.answers/1", "model": net.name, "samples": samples})
    elif not outputs or top is not None:
        for number, name in enumerate(names):
            _show(net, answers, number, name if len(names) > 1 else "", top)


def _feeds(
    net: Network, given: dict[str, list[str]], resize: bool
) -> tuple[dict[str, Array], list[str]]:
    arrays: dict[str, Array] = {}
    names: list[list[str]] = []
    for port in net.inputs:
        if port.name not in given:
            raise click.UsageError(f"input `{port.name}` is missing: -i {port.name}=FILE")
        arrays[port.name], read = feeds.read_feed(port, given[port.name], resize=resize)
        names.append(read)
    return arrays, [", ".join(sample) for sample in zip(*names, strict=False)]


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
    order = np.argsort(np.nan_to_num(-scores, nan=np.inf), kind="stable")[:count]
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
        entry: dict[str, Any] = {"name": port.name, "shape": list(values.shape)}
        if values.ndim == 1:
            entry["top"] = best(port, values, top)
        outputs.append(entry)
    return {"input": name, "outputs": outputs}


def _show(net: Network, answers: dict[str, Array], number: int, name: str, top: int | None) -> None:
    if name:
        screen().result(name, bold=True)
    for port in net.outputs:
        values = answers[port.name][number]
        if len(net.outputs) > 1:
            screen().result(f"{port.name}:")
        if values.ndim == 1:
            for line in class_lines(port, values, top):
                screen().result(line)
        else:
            screen().result(
                f"  {port.dtype.value}{list(values.shape)}: from {values.min():.6g} to"
                f" {values.max():.6g}, mean {values.mean():.6g} (-o FILE.npy keeps it)"
            )


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
