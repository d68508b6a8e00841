"""Shares of work in two dimensions: rows of a map, and panels of output channels (or blocks).

By rows, work items are numbered row by row, each with all its panels: a share is some rows, the
first and the last perhaps not for all panels. Then a thread reads mostly what it has written
itself, and its stores meet few lines that another core holds, but it reads the filters of all
panels. By panels it is the other way around. Panels are the outermost loop either way, as one
thread wants it (`docs/decisions/047-shares-of-rows.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

_MOST_UNEVEN = 1.04  # rows with those that a last tile lacks, over rows
_FAR = 2.0  # what another core holds comes so much slower than filters, which are fetched ahead


@contextmanager
def each_panel(
    b: Builder, share: tuple[Index, Index], panels: int, rows: int, *, by_rows: bool = True
) -> Iterator[tuple[Index, Index, Index]]:
    """A loop over panels: the panel's number, its first row in the share and the end of its rows.

    Args:
        b: where the code goes.
        share: the first work item and the end, of `panels * rows`.
        panels: of each row.
        rows: of each panel.
        by_rows: how items are numbered.
    """
    if panels == 1:
        yield 0, *share
        return
    lo, hi = share
    begin, stop = (0, panels) if by_rows else (b.idiv(lo, rows), b.idiv(b.iadd(hi, rows - 1), rows))
    with b.loop(begin, stop, hint="panel") as loop:
        panel = loop.iv
        if by_rows:
            behind = b.isub(panels - 1, panel)
            first, end = (b.idiv(b.iadd(item, behind), panels) for item in share)
        else:
            before = b.imul(panel, rows)
            first, end = b.imax(0, b.isub(lo, before)), b.imin(rows, b.isub(hi, before))
        yield panel, first, end


def rows_pay(filters: float, values: float, extent: int, tile: int) -> bool:
    """Whether threads should share the rows of a map, rather than the panels of its result.

    Args:
        filters: bytes of a convolution's packed filters.
        values: bytes of the map that it reads.
        extent: rows of its result.
        tile: rows that are computed together.
    """
    even = -(-extent // tile) * tile <= _MOST_UNEVEN * extent
    return even and filters <= _FAR * values
