"""How quick a whole network is: alone, and beside another engine in the same run."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc import driver
from cnncc.abi import Port
from cnncc.bench.onnx_peer import onnx_model, peer_feeds, peer_outputs
from cnncc.bench.peers import PEERS
from cnncc.bench.peers.contestant import Contestant, Entry
from cnncc.bench.timing import Timing, interleaved
from cnncc.driver import Compilation
from cnncc.errors import InputError, UnsupportedError
from cnncc.llvm.peak import peak_gflops
from cnncc.verification import random_inputs

Array = npt.NDArray[Any]
OURS = "cnncc"
PEER_BLOCK_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Result:
    """A network measured with one number of threads.

    Attributes:
        threads: of each engine.
        batch: images a call.
        macs: multiply-adds of one image.
        timings: of each engine, a call each; ours is there in any case.
        peak_gflops: multiply-add peak of one thread, measured in the same run.
        versions: of each engine that ran.
        told: its settings.
        differences: the largest difference of a peer's outputs from ours, relative to the largest
            value.
        failures: why a peer did not run.
    """

    threads: int
    batch: int
    macs: int
    timings: dict[str, Timing]
    peak_gflops: float
    versions: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def peers(self) -> list[str]:
        """The other engines that ran, the quickest first."""
        others = [name for name in self.timings if name != OURS]
        return sorted(others, key=lambda name: self.timings[name].best)

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
    compilation: Compilation, *, threads: int = 1, batch: int = 1, seconds: float = 2.0
) -> Result:
    """Time calls with random inputs, in this process.

    Args:
        compilation: the model.
        threads: of the network.
        batch: samples a call.
        seconds: how long it runs.

    Raises:
        InputError: several samples are wanted of a model that mixes them.
        TargetError: this machine cannot run the code.
    """
    inputs = batch_of(compilation, batch)
    with driver.build(compilation, threads=threads) as net:
        arrays = [inputs[port.name] for port in net.inputs]
        peaks = [peak_gflops(compilation.plan.target)]
        timings = interleaved({OURS: lambda: net(*arrays)}, seconds=seconds)
        peaks.append(peak_gflops(compilation.plan.target))
    return Result(threads, batch, compilation.plan.interface.macs, timings, max(peaks))


def measure_beside(
    compilation: Compilation,
    peers: Sequence[str],
    *,
    python: str = sys.executable,
    threads: int = 1,
    batch: int = 1,
    seconds: float = 2.0,
    file: Path | None = None,
) -> Result:
    """Time calls beside other engines, each in a process of its own, in interleaved rounds.

    Args:
        compilation: the model.
        peers: names of `cnncc.bench.peers.PEERS`.
        python: an interpreter that has them.
        threads: of each engine.
        batch: samples a call.
        seconds: how long each engine runs.
        file: the ONNX file that the model was read from, which peers then run as it is; of another
            model they get a translation.

    Raises:
        InputError: several samples are wanted of a model that mixes them.
        UnsupportedError: no such peer is known, or the model cannot be told to any.
        TargetError: this machine cannot run the code.
    """
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise UnsupportedError(
            f"`{unknown[0]}` is no known peer", hint=f"known: {', '.join(PEERS)}"
        )
    inputs = batch_of(compilation, batch)
    graph, interface = compilation.model.graph, compilation.plan.interface
    with TemporaryDirectory(prefix="cnncc-bench-") as place, ExitStack() as held:
        folder = Path(place)
        feeds: Mapping[str, Array] = inputs
        outputs = [port.name for port in interface.outputs]
        model = file
        if model is None:
            translated = onnx_model(graph, batch)
            model = folder / "model.onnx"
            model.write_bytes(translated)
            feeds = peer_feeds(graph, inputs)
            outputs = peer_outputs(graph)
        saved = folder / "ours.cnnc"
        with driver.build(compilation, threads=threads) as net:
            net.save(saved)
        mine = {port.name: inputs[port.name] for port in interface.inputs}
        key = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
        ours = Entry(OURS, sys.executable, saved, mine, outputs, threads, key, file)
        theirs = replace(ours, python=python, model=model, feeds=feeds)
        entries = [ours, *(replace(theirs, engine=name) for name in peers)]
        result = Result(threads, batch, interface.macs, {}, 0.0)
        running: dict[str, Contestant] = {}
        answers: dict[str, list[Array]] = {}
        for entry in entries:
            try:
                contestant = Contestant(entry, folder / entry.engine)
                held.callback(contestant.close)
                answers[entry.engine] = contestant.outputs()
            except UnsupportedError as error:
                if entry.engine == OURS:
                    raise
                hint = PEERS[entry.engine].install
                missing = "is not installed" in error.message
                advice = f"; pip install {hint}" if missing else ""
                result.failures[entry.engine] = f"{error.message}{advice}"
                continue
            running[entry.engine] = contestant
            result.versions[entry.engine] = contestant.version
            result.told[entry.engine] = contestant.told
        for name, answer in answers.items():
            if name != OURS:
                result.differences[name] = difference(interface.outputs, answers[OURS], answer)
        peaks = [peak_gflops(compilation.plan.target)]
        result.timings.update(_rounds(running, result.failures, seconds))
        peaks.append(peak_gflops(compilation.plan.target))
        return replace(result, peak_gflops=max(peaks))


def _rounds(
    running: dict[str, Contestant], failures: dict[str, str], seconds: float
) -> dict[str, Timing]:
    """Blocks of calls in turns, until each engine has had its time."""
    took: dict[str, list[float]] = {name: [] for name in running}
    rounds = max(1, round(seconds / PEER_BLOCK_SECONDS))
    block = min(PEER_BLOCK_SECONDS, seconds)
    for _ in range(rounds):
        for name, contestant in list(running.items()):
            try:
                took[name] += contestant.block(block)
            except UnsupportedError as error:
                if name == OURS:
                    raise
                failures[name] = error.message
                del running[name], took[name]
    return {name: Timing(tuple(sorted(times))) for name, times in took.items()}


def batch_of(compilation: Compilation, batch: int) -> dict[str, Array]:
    """Random inputs of a call, by name."""
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


def difference(ports: Sequence[Port], ours: list[Array], theirs: list[Array]) -> float:
    """The largest difference of outputs, relative to the largest value of theirs.

    What counts the rows of another output is ours alone; infinite where shapes differ.
    """
    counts = {port.rows for port in ports}
    named = [port for port in ports if port.name not in counts]
    if len(theirs) != len(named):
        return float("inf")
    worst = 0.0
    for port, mine, other in zip(named, ours, theirs, strict=True):
        same = mine.transpose(0, 3, 1, 2) if port.memory == "hwc" else mine
        if same.size != other.size:
            return float("inf")
        wide = other.astype(np.float64).reshape(same.shape)
        size = float(np.max(np.abs(wide), initial=1e-30))
        worst = max(worst, float(np.max(np.abs(same - wide), initial=0.0)) / size)
    return worst
