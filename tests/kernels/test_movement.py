"""Offsets as formulas or tables, groups of channels, and the shuffles of the copy loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.errors import InternalError
from cnncc.kernels.layout import Layout
from cnncc.kernels.movement import AxisMap, Cells, OffsetTable, movement
from cnncc.kernels.moves.copy_loops import interleaved, transposed
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Kind

affine = st.builds(
    lambda start, step, count, repeat: np.repeat(start + step * np.arange(count), repeat),
    st.integers(0, 50), st.integers(0, 20), st.integers(1, 9), st.integers(1, 3),
)  # fmt: skip
anything = st.lists(st.integers(-1, 99), min_size=1, max_size=12).map(np.array)


def read_all(axis: AxisMap, count: int) -> np.ndarray:
    """What the code of the map gives for every index."""
    b = Builder("offsets")
    axis.declare(b, "table")
    out = b.buffer("out", Kind.I32, count, writable=True)
    with b.loop(0, count) as loop:
        offset = axis.at(b, loop.iv)
        b.store(out, loop.iv, b.convert(offset, Kind.I32))
    result = np.zeros(count, np.int32)
    tables = [] if axis.table is None else [axis.table.array]
    interp.run(b.func, [*tables, result])
    return result


@given(affine)
def test_regular_offsets_need_no_table(offsets):
    axis = AxisMap(offsets)
    assert axis.table is None
    np.testing.assert_array_equal(read_all(axis, len(offsets)), offsets)


@given(anything)
def test_any_offsets(offsets):
    np.testing.assert_array_equal(read_all(AxisMap(offsets), len(offsets)), offsets)


@given(anything.filter(lambda o: (o >= 0).any()))
def test_filled_offsets_are_legal_everywhere(offsets):
    found = read_all(AxisMap(offsets, fill=True), len(offsets))
    there = offsets >= 0
    np.testing.assert_array_equal(found[there], offsets[there])
    assert set(found[~there]) <= set(offsets[there])


def test_table_bounds():
    with pytest.raises(InternalError, match="31 bits"):
        OffsetTable(np.array([2**31]))


def test_sides_must_agree():
    small, large = (Cells.of(Layout(4, (c,), 2, 2)) for c in (3, 4))
    with pytest.raises(InternalError, match="movement of"):
        movement(small, large)


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_transposed(lanes):
    b = Builder("square")
    x = b.buffer("x", extent=lanes * lanes)
    y = b.buffer("y", extent=lanes * lanes, writable=True)
    rows = [b.load(x, i * lanes, lanes) for i in range(lanes)]
    for i, row in enumerate(transposed(b, rows)):
        b.store(y, i * lanes, row)
    source = np.arange(lanes * lanes, dtype=np.float32)
    result = np.zeros_like(source)
    interp.run(b.func, [source, result])
    np.testing.assert_array_equal(result.reshape(lanes, lanes), source.reshape(lanes, lanes).T)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_interleaved(lanes, count):
    b = Builder("planes")
    x = b.buffer("x", extent=count * lanes)
    y = b.buffer("y", extent=count * lanes, writable=True)
    planes = [b.load(x, i * lanes, lanes) for i in range(count)]
    for v in range(count):
        b.store(y, v * lanes, interleaved(b, planes, lanes, v))
    source = np.arange(count * lanes, dtype=np.float32)
    result = np.zeros_like(source)
    interp.run(b.func, [source, result])
    np.testing.assert_array_equal(result, source.reshape(count, lanes).T.reshape(-1))
