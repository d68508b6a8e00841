"""Pairs of register tiles that `conv_strassen` multiplies together: which, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.cost import pace, tile_cycles
from cnncc.kernels.shares import rows_pay
from cnncc.targets.target import Target

PRODUCTS = 7
LONE_PRODUCTS = 4
_BAND_BYTES = 256 << 10  # sums of a band: they stay in L2
_SECOND = 0.25  # share of the time that the second of two threads waits at the end
_PASSING = 3.0  # cycles for a vector that is parked and read again
_VISIBLE = 0.3  # share of reading sums from L3 that is not hidden
_FIRST_LINE = 72.0  # cycles that the first line of a run of pixels shows, if it comes from L3
_REMOTE = 8.0  # cycles for a line that another core has written
_SUMMING = 5.0  # cycles for a vector of inputs
_WAITING = 1.03  # for tiles that are further away than a definition's


@dataclass(frozen=True, slots=True)
class Pairing:
    """How a map falls into pairs of register tiles.

    Attributes:
        tile: the larger register tile of one half; the other lies below it.
        band: pairs of rows of tiles whose sums are made together.
        by_rows: whether threads share the rows of pairs, and not the panels.
        cycles: predicted time of one thread, and some of what a second one would wait.
    """

    tile: Tile
    band: int
    by_rows: bool
    cycles: float

    @property
    def unit(self) -> Tile:
        """Both tiles of a pair as one."""
        return replace(self.tile, rows=2 * self.tile.rows)

    def __str__(self) -> str:
        return f"7 products for 8, pairs of {self.tile}, bands of {self.band} rows of pairs"


@dataclass(frozen=True, slots=True)
class Half:
    """Rows of a pair of tiles that have partners, or the one that has none.

    Attributes:
        tile: the tile above.
        row: its first row.
        below: rows from it to its partner; 0 where there is none.
        line: the first row of its sums.
    """

    tile: Tile
    row: int
    below: int
    line: int


def halves_of(part: Tile) -> Iterator[Half]:
    """What a pair of tiles consists of."""
    half, lone = divmod(part.rows, 2)
    if half:
        yield Half(replace(part, rows=half), 0, half, 0)
    if lone:
        yield Half(replace(part, rows=1), 2 * half, 0, half)


def whole_pairs(blocks: int) -> int:
    """So many blocks, or one more, which fall into halves."""
    return blocks + blocks % 2


@cache
def choose_pairing(
    target: Target, rows: int, columns: int, in_blocks: int, out_blocks: int
) -> Pairing:
    """The pairs of tiles with the fewest predicted cycles.

    Args:
        target: its `tiles` table says which tiles stay in registers.
        rows: rows of the result, at least two.
        columns: columns of it.
        in_blocks: blocks of input channels, an even number.
        out_blocks: blocks of output channels; where they are odd, the last one has no partner.
    """
    found = []
    for held, vectors in target.tiles:
        # The last block may have no partner: panels of one vector are there or not.
        if whole_pairs(out_blocks) % (2 * vectors) or (out_blocks % 2 and vectors > 1):
            continue
        for r in range(1, min(rows // 2, held) + 1):
            for c in range(1, min(columns, held // r) + 1):
                tile = Tile(r, c, vectors)
                blocks = in_blocks, whole_pairs(out_blocks)
                found.append(_paired(target, rows, columns, blocks, tile))
    return min(found, key=lambda p: (p.cycles, p.tile.rows, -p.tile.vectors))


def _paired(
    target: Target, rows: int, columns: int, blocks: tuple[int, int], tile: Tile
) -> Pairing:
    """What pairs of a tile take."""
    lanes, vectors = target.lanes(), tile.vectors
    depth, panels = blocks[0] // 2 * lanes, blocks[1] // 2 // vectors
    cycles = 0.0
    for height, down in _heights(rows, tile.rows):
        for width, across in _runs(columns, tile.columns):
            cycles += down * across * panels * _quad_cycles(target, height, width, vectors, depth)
    row_bytes = 2 * depth * columns * 4 * tile.rows
    units = -(-rows // (2 * tile.rows))
    band = max(1, min(units, _BAND_BYTES // row_bytes))
    bands = -(-units // band)
    band = -(-units // bands)
    summing = _SUMMING * rows * columns * blocks[0]
    cycles += summing
    sums = rows * columns * 2 * depth * 4
    far = max(0.0, 1 - 0.75 * target.l2_bytes / (2 * band * row_bytes))  # of inputs and sums
    cycles += far * (panels + 1) * sums / 64 * _line_cycles(target, columns, tile)
    filters = PRODUCTS * depth * panels * vectors * target.vector_bits // 8
    if bands > 1 and filters > target.l2_bytes // 2:
        cycles += 0.5 * (bands - 1) * filters / pace(target, filters)
    by_rows = rows_pay(filters, sums, rows, 2 * tile.rows)
    items = units * panels
    late = (2 * -(-items // 2) / items - 1) * cycles
    if not by_rows or units == 1:  # both of two threads read and sum all inputs
        late += summing + sums / 64 * _REMOTE
    elif items // 2 % panels:
        late += summing / units
    return Pairing(tile, band, by_rows, _WAITING * (cycles + _SECOND * late))


def _line_cycles(target: Target, columns: int, tile: Tile) -> float:
    """What shows of a line's way from L3: the prefetcher fetches the others of a run of pixels."""
    run = tile.columns if tile.columns < columns else tile.rows * tile.columns
    return _FIRST_LINE / run + _VISIBLE * 64 / target.machine.l3_bytes_per_cycle


def _runs(extent: int, size: int) -> Iterator[tuple[int, int]]:
    """Sizes of parts and how many there are of each."""
    full, last = divmod(extent, size)
    yield from ((s, n) for s, n in ((size, full), (last, 1)) if s * n)


def _heights(rows: int, half: int) -> Iterator[tuple[int, int]]:
    """Rows of pairs of tiles, and how many there are of each."""
    return _runs(rows, 2 * half)


def tiles_of(pairing: Pairing, rows: int, columns: int) -> Iterator[tuple[Tile, bool]]:
    """The register tiles of a map, by their size and whether they have a partner."""
    for height, _ in _heights(rows, pairing.tile.rows):
        for width, _ in _runs(columns, pairing.tile.columns):
            for half in halves_of(replace(pairing.tile, rows=height, columns=width)):
                yield half.tile, half.below > 0


def _quad_cycles(target: Target, height: int, width: int, vectors: int, depth: int) -> float:
    """A pair of tiles with a pair of panels; the last row of an odd height has no partner."""
    total = 0.0
    for rows, products, kept in ((height // 2, PRODUCTS, 3), (height % 2, LONE_PRODUCTS, 1)):
        if rows:
            pixels = rows * width
            total += products * tile_cycles(target, pixels, vectors, depth)
            total += kept * _PASSING * pixels * vectors
    return total


def partners(rows: int, half: int) -> NDArray[np.int64]:
    """The other row of each row's pair; itself where there is none."""
    found = np.arange(rows)
    start = 0
    for height, count in _heights(rows, half):
        for _ in range(count):
            h = height // 2
            found[start : start + h] += h
            found[start + h : start + 2 * h] -= h
            start += height
    return found
