"""Where the time of a network goes: every stage of its plan beside what the cost model predicts.

A stage's *bound* is the time that no loop nest with its algorithm could beat: its arithmetic at the
peak of the units, or its bytes at the pace of the memory that they live in, the longer of both
(`bound.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc import driver
from cnncc.abi import aligned
from cnncc.bench.bound import stage_bounds
from cnncc.bench.timing import quiet
from cnncc.driver import Compilation
from cnncc.llvm.program import load_program
from cnncc.llvm.stopwatch import Stopwatch
from cnncc.plan.lower import Plan
from cnncc.plan.tables import group_rows
from cnncc.verification import random_inputs

Array = npt.NDArray[Any]
FAR = 0.7  # of its bound; a stage below is marked
_LEAST_CALLS = 10
_FIXED, _SHORT = 2e-6, 10e-6  # seconds
_COPIES = frozenset({"relayout", "rearrange", "row_transpose"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One stage of a plan.

    Attributes:
        path: its name.
        kernel: the loop nest that computes it.
        choice: its tile and the like.
        shape: of the result.
        macs: multiply-adds as the operator is defined.
        seconds: the shortest that was measured, on one thread.
        predicted: by the cost model, in seconds.
        multiply: seconds of its multiply-adds at the peak, of the algorithm that was chosen.
        steps: seconds of the arithmetic of fused steps on the same units.
        memory: seconds of its bytes at the pace of the memory that they live in.
        far: seconds of its bytes, did the level-3 cache hold nothing.
    """

    path: str
    kernel: str
    choice: str
    shape: str
    macs: int
    seconds: float
    predicted: float
    multiply: float
    steps: float
    memory: float
    far: float

    @property
    def compute(self) -> float:
        """Seconds of all its arithmetic."""
        return self.multiply + self.steps

    @property
    def bound(self) -> float:
        """Seconds that it cannot beat."""
        return max(self.compute, self.memory)

    @property
    def bound_by(self) -> str:
        """`multiply-adds`, `steps` or `memory`: what takes longest of what bounds it."""
        if self.memory > self.compute:
            return "memory"
        return "multiply-adds" if self.multiply >= self.steps else "steps"

    @property
    def share(self) -> float:
        """Of its bound: 1 is as fast as can be."""
        return self.bound / self.seconds

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was measured; negative where it is too short."""
        return self.predicted / self.seconds - 1

    @property
    def is_far(self) -> bool:
        """Whether it stays below `FAR` of its bound."""
        return self.share < FAR

    @property
    def is_short(self) -> bool:
        """Whether it is mostly beginning and end."""
        return self.seconds < _FIXED

    @property
    def why(self) -> str:
        """Why it stays far below its bound; empty where it does not, or nothing explains it."""
        if not self.is_far:
            return ""
        enough = FAR * self.seconds
        reasons = [
            (self.is_short, "the call, the first turns of its loops, and the clock"),
            (self.kernel in _COPIES, "numbers change their order: shuffles, not bytes"),
            (self.compute + self.memory >= enough, "bytes move while nothing is computed"),
            (
                self.memory > self.compute and self.far >= enough,
                "bytes come from memory: the cache is shared",
            ),
            (
                self.predicted >= enough,
                "as predicted: edges of tiles, transforms, loads and stores",
            ),
            (self.seconds < _SHORT, "the first bytes of arrays and code come from afar"),
        ]
        return next((words for holds, words in reasons if holds), "")


@dataclass(frozen=True, slots=True)
class Profile:
    """All stages of a network.

    Attributes:
        layers: in order of execution.
        call: seconds of the shortest whole call on one thread, from Python.
    """

    layers: tuple[Layer, ...]
    call: float

    @property
    def seconds(self) -> float:
        """Of all stages, each at its shortest."""
        return sum(layer.seconds for layer in self.layers)

    @property
    def predicted(self) -> float:
        """Of all stages."""
        return sum(layer.predicted for layer in self.layers)

    @property
    def median_error(self) -> float:
        """The error of prediction that half of the stages do not exceed."""
        return median(abs(layer.error) for layer in self.layers)


def measure(compilation: Compilation, seconds: float = 2.0) -> Profile:
    """Time every stage, and the whole call, on random inputs and one thread.

    Raises:
        TargetError: this machine cannot run the code.
    """
    plan = compilation.plan
    inputs = random_inputs(plan.interface.inputs)
    best = _stages(plan, inputs, seconds / 2)
    layers = []
    for row, took, bound in zip(group_rows(plan), best, stage_bounds(plan), strict=True):
        layers.append(
            Layer(
                row["path"],
                row["kernel"],
                row["choice"],
                row["shape"],
                row["macs"],
                max(float(took), 1e-9),
                row["predicted_us"] / 1e6,
                bound.multiply,
                bound.steps,
                bound.memory,
                bound.far,
            )
        )
    return Profile(tuple(layers), _call(compilation, inputs, seconds / 2))


def _stages(plan: Plan, inputs: dict[str, Array], seconds: float) -> npt.NDArray[np.float64]:
    """The shortest time of each stage, in seconds."""
    ports = plan.interface
    library = load_program(driver.objects(plan), plan.target)
    watch = Stopwatch(library, len(plan.stages), plan.target)
    buffers: list[Array] = []
    for port in ports.inputs:
        memory = aligned(port.elems, port.dtype.numpy)
        memory[:] = inputs[port.name].reshape(-1)
        buffers.append(memory)
    buffers += [aligned(p.elems, p.dtype.numpy) for p in ports.outputs]
    workspace = aligned(ports.workspace_for(1) // 4)
    workspace[:] = 0
    buffers += [plan.weights, workspace]
    best = np.full(len(plan.stages), np.inf)
    with quiet():
        end, calls = time.perf_counter() + seconds, 0
        while calls < _LEAST_CALLS or time.perf_counter() < end:
            best = np.minimum(best, watch.run(buffers))
            calls += 1
    return best


def _call(compilation: Compilation, inputs: dict[str, Array], seconds: float) -> float:
    """The shortest whole call, in seconds."""
    best, calls = float("inf"), 0
    with driver.build(compilation, threads=1) as net:
        arrays = [inputs[port.name] for port in net.inputs]
        with quiet():
            end = time.perf_counter() + seconds
            while calls < _LEAST_CALLS or time.perf_counter() < end:
                start = time.perf_counter()
                net(*arrays)
                best = min(best, time.perf_counter() - start)
                calls += 1
    return best
