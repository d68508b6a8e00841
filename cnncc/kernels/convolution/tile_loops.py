"""Tiles over a feature map: where each one lies, and smaller ones at the far edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnncc.kernels.convolution.conv_tile import (
    Tile,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

Cases = tuple[int, tuple[Value, int] | None]
"""The usual size; where another one occurs also the test for it, and that size."""


def for_each_tile(
    b: Builder,
    rows: int,
    columns: int,
    tile: Tile,
    where: tuple[Index, Index],
    body: Callable[[Tile, Index, Index], None],
) -> None:
    """`body(tile, y, x)` for tile number `where` (down, across), smaller at the far edges."""
    down, across = where
    y, x = b.imul(down, tile.rows), b.imul(across, tile.columns)
    heights = _edge_cases(b, rows, tile.rows, down)
    widths = _edge_cases(b, columns, tile.columns, across)

    def across_cases(height: int) -> None:
        branch(b, widths, lambda width: body(replace(tile, rows=height, columns=width), y, x))

    branch(b, heights, across_cases)


def for_numbered_tile(
    b: Builder,
    rows: int,
    columns: int,
    tile: Tile,
    number: Index,
    body: Callable[[Tile, Index, Index], None],
) -> None:
    """`body(tile, y, x)` for one of the `tile.count` tiles of a map, those at its side last."""
    across = columns // tile.columns if tile.side else -(-columns // tile.columns)
    plain = replace(tile, side=0)

    def inside() -> None:
        where = (b.idiv(number, across), b.irem(number, across))
        for_each_tile(b, rows, min(columns, across * tile.columns), plain, where, body)

    if not tile.side:
        inside()
        return
    first = -(-rows // tile.rows) * across
    x = across * tile.columns
    strip = replace(plain, rows=tile.side, columns=columns - x)
    with b.when(b.compare("lt", number, first)):
        inside()
    with b.otherwise():
        where = (b.isub(number, first), 0)
        for_each_tile(b, rows, columns - x, strip, where, lambda part, y, _: body(part, y, x))


def _edge_cases(b: Builder, extent: int, size: int, number: Index) -> Cases:
    """Sizes of tiles of which the last may be smaller."""
    full, last = divmod(extent, size)
    if last == 0:
        return size, None
    if full == 0:
        return last, None
    return size, (b.compare("eq", number, full), last)


def phase_sizes(b: Builder, extent: int, phases: int, phase: Index) -> Cases:
    """Rows (or columns) of one of so many phases: every `phases`-th of all, from `phase` on."""
    least, more = divmod(extent, phases)
    if more == 0:
        return least, None
    return least + 1, (b.compare("ge", phase, more), least)


def branch(b: Builder, cases: Cases, body: Callable[[int], None]) -> None:
    """`body(size)` for each size that occurs."""
    usual, edge = cases
    if edge is None:
        body(usual)
        return
    is_last, size = edge
    with b.when(is_last):
        body(size)
    with b.otherwise():
        body(usual)
