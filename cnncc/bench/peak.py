"""Timings with the multiply-add peak of the machine measured between their rounds."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.bench.timing import Call, Timing, interleaved
from cnncc.llvm.peak import peak_gflops
from cnncc.targets import Target


def beside_peak(
    calls: Mapping[str, Call], target: Target, seconds: float
) -> tuple[dict[str, Timing], float]:
    """Interleaved timings, and the highest peak of one thread in that run, in GFLOP/s."""
    peaks: list[float] = []
    timings = interleaved(calls, seconds=seconds, after=lambda: peaks.append(peak_gflops(target)))
    return timings, max(peaks)
