"""Shares of rows and panels cover all work once, whoever does it, panel by panel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.shares import each_panel, rows_pay
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.verify import verify


def cover(panels: int, rows: int, by_rows: bool):
    """A function that notes in which turn it meets each cell [panel,row] of a share."""
    b = Builder("cover")
    out = b.buffer("out", extent=panels * rows, writable=True)
    turn = b.buffer("turn", extent=1, writable=True)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    with (
        each_panel(b, (lo, hi), panels, rows, by_rows=by_rows) as (panel, first, end),
        b.loop(first, end) as loop,
    ):
        now = b.binary("add", b.load(turn, 0), b.const(1.0))
        b.store(turn, 0, now)
        at = b.iadd(b.imul(panel, rows), loop.iv)
        b.store(out, at, b.binary("add", b.load(out, at), now))
    return b.func


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_shares_cover_all_work_once(panels, rows, threads, by_rows):
    func, work = cover(panels, rows, by_rows), panels * rows
    ranges = {"lo": (0, work), "hi": (0, work)}
    assert not verify(func, ranges=ranges)
    seen, counts = np.zeros(work, bool), []
    for thread in range(threads):
        out, turn = np.zeros(work, np.float32), np.zeros(1, np.float32)
        interp.run(func, [out, turn, thread * work // threads, (thread + 1) * work // threads])
        met = out > 0
        assert not (seen & met).any()
        assert (np.diff(out[met]) > 0).all()  # panel by panel, row by row
        assert turn[0] == met.sum()
        seen |= met
        counts.append(met.sum())
        if by_rows and met.any():
            lines = np.flatnonzero(met.reshape(panels, rows).any(axis=0))
            assert len(lines) <= -(-counts[-1] // panels) + 1  # few rows are shared
    assert seen.all()
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("filters", "values", "extent", "tile", "pay"),
    [(100, 100, 56, 1, True), (300, 100, 56, 1, False), (1, 100, 7, 2, False), (1, 9, 14, 2, True)],
)
def test_rows_where_maps_outweigh_filters_and_tiles_fit(filters, values, extent, tile, pay):
    assert rows_pay(filters, values, extent, tile) is pay
