"""How quick a whole network is: alone, and beside another engine in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc import driver
from cnncc.bench.onnx_peer import FilePeer, OnnxPeer
from cnncc.bench.timing import Call, Timing, interleaved
from cnncc.driver import Compilation
from cnncc.errors import InputError, UnsupportedError
from cnncc.llvm.peak import peak_gflops
from cnncc.runtime.network import Network
from cnncc.verification import random_inputs

Array = npt.NDArray[Any]
OURS = "cnncc"
PEERS = ("onnxruntime",)


@dataclass(frozen=True, slots=True)
class Result:
    """A network measured with one number of threads.

    Attributes:
        threads: of each engine.
        batch: images a call.
        macs: multiply-adds of one image.
        timings: of each engine, a call each.
        versions: of each engine but ours.
        peak_gflops: multiply-add peak of one thread, measured in the same run.
        difference: the largest difference of the peer's outputs from ours, relative to the largest
            value; None without a peer.
    """

    threads: int
    batch: int
    macs: int
    timings: dict[str, Timing]
    versions: dict[str, str]
    peak_gflops: float
    difference: float | None

    def gflops(self, engine: str) -> float:
        """Multiply-adds as 10**9 FLOP a second (two each), at the shortest call."""
        return 2 * self.macs * self.batch / self.timings[engine].best / 1e9

    def share(self, engine: str) -> float:
        """Of the peak of all threads."""
        return self.gflops(engine) / (self.peak_gflops * self.threads)

    def ratio(self, engine: str) -> tuple[float, float]:
        """How many times as long the engine takes as we do: minima, medians."""
        ours, other = self.timings[OURS], self.timings[engine]
        return other.best / ours.best, other.median / ours.median

    def separate(self, engine: str) -> bool:
        """Whether the middle halves of both engines' calls lie apart, so a ratio means much."""
        ours, other = self.timings[OURS], self.timings[engine]
        return ours.percentile(75) < other.percentile(25) or other.percentile(75) < ours.percentile(
            25
        )


def measure(
    compilation: Compilation,
    *,
    threads: int = 1,
    batch: int = 1,
    seconds: float = 2.0,
    against: str | None = None,
    file: Path | None = None,
) -> Result:
    """Time calls with random inputs; a peer runs in the same rounds with as many threads.

    Args:
        compilation: the model.
        threads: of each engine.
        batch: samples a call.
        seconds: how long each engine runs.
        against: the peer, if there is to be one.
        file: the ONNX file that the model was read from, which the peer then runs as it is.

    Raises:
        InputError: several samples are wanted of a model that mixes them.
        UnsupportedError: the peer is unknown or not installed.
        TargetError: this machine cannot run the code.
    """
    if against not in (None, *PEERS):
        raise UnsupportedError(f"`{against}` is no known peer", hint=f"known: {', '.join(PEERS)}")
    inputs = _inputs(compilation, batch)
    with driver.build(compilation, threads=threads) as net:
        arrays = [inputs[port.name] for port in net.inputs]
        calls: dict[str, Call] = {OURS: lambda: net(*arrays)}
        versions, difference = {}, None
        if against is not None:
            peer = (
                OnnxPeer(compilation.model.graph, batch=batch, threads=threads)
                if file is None
                else FilePeer(file, threads=threads)
            )
            feeds = peer.feeds(inputs)
            versions[against] = peer.version
            difference = _difference(net, arrays, peer.run(feeds))
            calls[against] = lambda: peer.run(feeds)
        peaks = [peak_gflops(compilation.plan.target)]
        timings = interleaved(calls, seconds=seconds)
        peaks.append(peak_gflops(compilation.plan.target))
    macs = compilation.plan.interface.macs
    return Result(threads, batch, macs, timings, versions, max(peaks), difference)


def _inputs(compilation: Compilation, batch: int) -> dict[str, Array]:
    interface = compilation.plan.interface
    samples = [random_inputs(interface.inputs, seed) for seed in range(batch)]
    if interface.batched:
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    if batch > 1:
        raise InputError(
            "the model mixes samples, so it has no batch",
            hint="leave --batch out, and choose the whole shape with --shape",
        )
    return samples[0]


def _difference(net: Network, arrays: list[Array], theirs: list[Array]) -> float:
    answer = net(*arrays)
    ours = answer if isinstance(answer, tuple) else (answer,)
    counts = {port.rows for port in net.outputs}
    ports = [port for port in net.outputs if port.name not in counts]
    worst = 0.0
    for port, mine, other in zip(ports, ours, theirs, strict=True):
        same = mine.transpose(0, 3, 1, 2) if port.memory == "hwc" else mine
        if same.shape != other.shape:
            return float("inf")
        wide = other.astype(np.float64)
        size = float(np.max(np.abs(wide), initial=1e-30))
        worst = max(worst, float(np.max(np.abs(same - wide), initial=0.0)) / size)
    return worst
