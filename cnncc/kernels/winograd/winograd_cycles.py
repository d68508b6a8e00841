"""Choices with their cycles: filters transformed before, or while they are multiplied."""

from __future__ import annotations

from collections import Counter

from cnncc.kernels.convolution.conv_tile import Tile, tile_parts
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile, splat_cost
from cnncc.kernels.cost import tile_cycles
from cnncc.kernels.winograd.winograd_choice import WinogradChoice, fetches_ahead
from cnncc.kernels.winograd.winograd_expand import most_tiles, run_blocks
from cnncc.kernels.winograd.winograd_regions import Fringe
from cnncc.kernels.winograd.winograd_tiling import Tiling

_LEAST_EXPANDED = 2  # tiles in registers, where filters are made of taps
_BESIDE = 1.04  # times as long as multiply-adds alone, beside additions that make filters
_RUN_OVERHEAD = 40.0  # cycles of a register tile for each run of channels
_HIDDEN = 0.8  # share of arithmetic that streaming hides where both take as long


def transformed(t: Tiling, panel: int | None) -> WinogradChoice:
    """The choice whose filters were transformed before."""
    outs, depth, most_vectors = t.shape.out_blocks, t.depth, t.most_vectors(panel)
    regs = choose_tile(t.target, 1, t.block, outs, depth, most_vectors=most_vectors, sums=t.sums)
    wide = regs.tile.vectors
    tail = choose_tile(t.target, 1, t.last, outs, depth, most_vectors=wide, sums=t.sums)
    products = t.planes * (regs.cycles * (t.blocks - 1) + tail.cycles)
    if any(t.fringe):
        regs, products = _fringed(t, most_vectors)
    # Filters stream in while the first register tile of a block needs them, where nothing fetches
    # them before; the others find them in a cache.
    fetched = fetches_ahead(t.block, regs.tile)
    first = products if fetched else products / -(-t.block // regs.tile.columns)
    filters = t.filter_bytes(t.planes * depth)
    waited = _overlapped(first, t.streamed(filters))
    return t.choice(regs.tile, products - first + waited, filters)


def _fringed(t: Tiling, most_vectors: int | None) -> tuple[TileChoice, float]:
    """The register tile of planes with unlike numbers of tiles, and the cycles of all products."""
    outs = t.shape.out_blocks
    splat = splat_cost(t.target, t.sums)
    counts = tuple(Fringe(t.vertical, t.horizontal, t.down, t.across, *t.fringe).counts())

    def cycles(tile: Tile) -> float:
        return sum(
            planes * times * tile_cycles(t.target, columns, tile.vectors, t.depth, splat=splat)
            for planes, count in counts
            for _, columns, times in tile_parts(1, count, tile)
        ) * (outs // tile.vectors)

    found = [
        choose_tile(t.target, 1, count, outs, t.depth, most_vectors=most_vectors, sums=t.sums)
        for _, count in counts
    ]
    best = min(found, key=lambda choice: cycles(choice.tile))
    return best, cycles(best.tile)


def expanded(t: Tiling) -> list[WinogradChoice]:
    """The choice whose filters are made of taps while they are multiplied, if there is one.

    All registers are taken: where turns should be summed apart, they would not be.
    """
    most = most_tiles(t.target, t.horizontal)
    if most < _LEAST_EXPANDED or t.sums > 2:
        return []
    taps = t.vertical.taps * t.horizontal.taps
    filters = t.filter_bytes(taps * t.slots)
    runs = t.shape.in_blocks // run_blocks(t.target, t.shape.in_blocks, taps)
    counts = [t.block] * (t.blocks - 1) + [t.last]
    sizes = Counter(min(most, count - k) for count in counts for k in range(0, count, most))
    products = t.shape.out_blocks * sum(
        times * _expanded_cycles(t, size, runs) for size, times in sizes.items()
    )
    # The next run's taps come while this one's are multiplied.
    tile = Tile(1, min(most, t.block), 1)
    cycles = _overlapped(products, t.streamed(filters))
    return [t.choice(tile, cycles, filters, expands=True)]


def _expanded_cycles(t: Tiling, size: int, runs: int) -> float:
    """All planes of so many tiles and one vector of outputs."""
    machine, cycles = t.target.machine, 0.0
    for phase in t.horizontal.phases:
        held = size * phase.products
        # A number for all lanes is half the work of a whole vector.
        loads = (t.vertical.taps * phase.taps + held / 2) / machine.loads
        channel = max(_BESIDE * held / machine.fmas, loads, machine.fma_latency)
        cycles += t.slots * channel + _RUN_OVERHEAD * runs + 2 * held * (runs + (runs > 1))
    return t.vertical.products * cycles


def _overlapped(arithmetic: float, streaming: float) -> float:
    """Cycles of both together: the longer one, and all the more of the other the longer that is."""
    least, most = sorted((arithmetic, streaming))
    return most + (1 - _HIDDEN) * least * least / most
