"""How far whole networks are from float64, beside onnxruntime, and whether threads change bits.

`python -m cnncc.bench.accuracy FOLDER` runs each ONNX file on random inputs in float64 by the
operators' definitions, here, and in onnxruntime with its optimiser on. An error is the relative L2
distance of an output from float64's; the ratio is ours over onnxruntime's, the geometric mean over
inputs and outputs. Single layers are judged by `cnncc verify`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc import driver
from cnncc.bench.marked import replace_marked
from cnncc.bench.zoo import NETWORKS
from cnncc.errors import UnsupportedError
from cnncc.ir import interp
from cnncc.verification import random_inputs

Array = npt.NDArray[Any]
MARK = "accuracy"
THREADS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A network's errors.

    Attributes:
        network: its name.
        ours: relative L2 errors, of all outputs for the first input, then for the next.
        theirs: onnxruntime's.
        same_bits: whether all numbers of threads gave the same.
    """

    network: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    same_bits: bool

    @property
    def ratio(self) -> float:
        """Ours over theirs, the geometric mean."""
        pairs = zip(self.ours, self.theirs, strict=True)
        logs = [math.log(max(a, 1e-12) / max(b, 1e-12)) for a, b in pairs]
        return math.exp(sum(logs) / len(logs))


def measure(path: Path, inputs: int) -> Accuracy:
    """Errors of one network.

    Raises:
        UnsupportedError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedError(
            "onnxruntime is not installed", hint="pip install onnxruntime"
        ) from error
    model = driver.load_model(path)
    compilation = driver.plan_model(model, driver.target_named("host"))
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    networks = [driver.build(compilation, threads=count) for count in THREADS]
    ours: list[float] = []
    theirs: list[float] = []
    same = True
    for seed in range(inputs):
        sample = random_inputs(compilation.plan.interface.inputs, seed)
        feeds = {name: array[None] for name, array in sample.items()}
        made = [_outputs(net(*feeds.values())) for net in networks]
        first = [array.tobytes() for array in made[0]]
        same = same and all([array.tobytes() for array in arrays] == first for arrays in made)
        exact = _outputs(interp.run(model.graph, dict(enumerate(feeds.values()))))
        theirs += map(_distance, session.run(None, feeds), exact)
        ours += map(_distance, made[0], exact)
    for net in networks:
        net.close()
    return Accuracy(path.stem, tuple(ours), tuple(theirs), same)


def _outputs(answer: Any) -> list[Array]:
    return list(answer) if isinstance(answer, tuple | list) else [answer]


def _distance(found: Array, exact: Array) -> float:
    wide = exact.astype(np.float64).reshape(-1)
    gap = float(np.linalg.norm(found.reshape(-1) - wide))
    return gap / max(float(np.linalg.norm(wide)), 1e-300)


def table(rows: Sequence[Accuracy]) -> str:
    """As Markdown."""
    lines = [
        "| network | cnncc, worst | onnxruntime, worst | ratio | same bits with 1, 2, 3 threads |",
        "|---|--:|--:|--:|---|",
    ]
    lines += [
        f"| {row.network} | {max(row.ours):.1e} | {max(row.theirs):.1e} | {row.ratio:.2f}"
        f" | {'yes' if row.same_bits else 'NO'} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, or write; 1 when threads changed bits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="ONNX files")
    parser.add_argument("--only", default=",".join(NETWORKS), help="names of networks")
    parser.add_argument("--inputs", type=int, default=3)
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the table")
    given = parser.parse_args(arguments)
    rows = []
    for name in given.only.split(","):
        path = given.folder / f"{name}.onnx"
        if path.exists():
            rows.append(measure(path, given.inputs))
            sys.stderr.write(f"{name}: {rows[-1].ratio:.2f} x onnxruntime's error\n")
    if given.write:
        replace_marked(given.write, MARK, table(rows))
    else:
        sys.stdout.write(table(rows) + "\n")
    return 0 if all(row.same_bits for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
