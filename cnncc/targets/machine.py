"""The record of a core that the cost model works with: rates, no behaviour.

Named targets carry nominal rates, so that their plans are the same wherever they are made; the host
has its own, measured once (`llvm/rates.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What one core does in a cycle.

    Attributes:
        hertz: cycles a second under vector load. It scales predictions and never changes a choice.
        fmas: vector multiply-adds that start in a cycle.
        loads: vector loads that start in a cycle.
        fma_latency: cycles until a multiply-add can be the addend of the next.
        l2_bytes_per_cycle: reading what lies in the level-2 cache.
        l3_bytes_per_cycle: reading what lies in the level-3 cache.
        memory_bytes_per_cycle: reading what lies in memory.
        store_bytes_per_cycle: writing what lies in memory, the line's way in and out included.
        l3_bytes: the level-3 cache that a core may fill.
        stage_cycles: call and return of a loop nest, and its loops' first turns.
        barrier_cycles: two threads that wait for each other.
    """

    hertz: float
    fmas: float
    loads: float
    fma_latency: float = 4.0
    l2_bytes_per_cycle: float = 28.0
    l3_bytes_per_cycle: float = 20.0
    memory_bytes_per_cycle: float = 5.6
    store_bytes_per_cycle: float = 3.0
    l3_bytes: int = 16 << 20
    stage_cycles: float = 150.0
    barrier_cycles: float = 400.0


# Registers of 512 bits go through both halves of the units of smaller ones.
WIDE = Machine(hertz=3.5e9, fmas=1.0, loads=1.0)
NARROW = Machine(hertz=3.5e9, fmas=2.0, loads=2.0)
SMALL = Machine(
    hertz=2.5e9,
    fmas=2.0,
    loads=2.0,
    l2_bytes_per_cycle=16.0,
    l3_bytes_per_cycle=8.0,
    memory_bytes_per_cycle=4.0,
    store_bytes_per_cycle=2.5,
    l3_bytes=2 << 20,
)
