"""Taking times: interleaved rounds, with the garbage collector off, kept one by one."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

Call = Callable[[], object]
BLOCK_SECONDS = 0.02  # each contestant runs at least so long before the next has its turn
REST_SECONDS = 0.002  # lets the threads of the last one fall asleep
_WARM_CALLS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """The durations of single calls, in seconds, in rising order."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The shortest."""
        return self.seconds[0]

    @property
    def median(self) -> float:
        """Half of them are shorter."""
        return self.percentile(50)

    def percentile(self, share: float) -> float:
        """The duration that `share` per cent of the calls do not exceed, by nearest rank."""
        rank = -(-len(self.seconds) * share // 100)
        return self.seconds[max(int(rank) - 1, 0)]

    def figures(self) -> dict[str, float | int]:
        """What a report shows, in milliseconds."""
        shown = {f"p{share}": self.percentile(share) for share in (50, 90, 99)}
        times = {"min": self.best, **shown}
        return {"calls": len(self.seconds)} | {k: round(v * 1e3, 6) for k, v in times.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection inside."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def interleaved(
    calls: Mapping[str, Call],
    *,
    seconds: float = 1.0,
    rounds: int = 5,
    after: Callable[[], None] | None = None,
) -> dict[str, Timing]:
    """Time contestants in turns, A B A B, so that all of them meet the same machine.

    Args:
        calls: what is timed, by name.
        seconds: about how long each of them runs in all.
        rounds: turns that each gets at least.
        after: called after each round.
    """
    took: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(_WARM_CALLS):
            call()
    spent = dict.fromkeys(calls, 0.0)
    with quiet():
        for done in itertools.count(1):
            for name, call in calls.items():
                time.sleep(REST_SECONDS)
                spent[name] += _block(call, took[name])
            if after is not None:
                after()
            if done >= rounds and min(spent.values()) >= seconds:
                break
    return {name: Timing(tuple(sorted(times))) for name, times in took.items()}


def _block(call: Call, took: list[float]) -> float:
    """Run for `BLOCK_SECONDS`, once at least; the first call wakes caches and threads up."""
    call()
    clock = time.perf_counter
    start = before = clock()
    while True:
        call()
        now = clock()
        took.append(now - before)
        if now - start >= BLOCK_SECONDS:
            return now - start
        before = now
