"""Rows of planes in scratch memory: framed with zeros, whatever their width and their order."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, Layout, Picked
from cnncc.kernels.winograd.plane_rows import PlaneRows, refuses_planes
from cnncc.loopir.build import Builder
from tests.kernels.harness import interpret

HEIGHT = 5


def _rows(layout, picture, *, rows, pads, width, lanes, parts):
    """The ring after rows of `parts` were filled one after the other, [rows,channels,width]."""
    b = Builder("f")
    x = b.buffer("x", extent=layout.elems)
    ring = PlaneRows(layout, rows, pads, width, lanes)
    ring.declare(b)
    ring.clear(b)
    for start, end in parts:
        ring.fill(b, x, start, end)
    held = np.full(rows * layout.channels * ring.pitch, np.nan, np.float32)
    array = picture.reshape(-1) if isinstance(layout, DenseLayout) else layout.pack(picture)
    interpret(b.func, [array.copy(), held])
    return held.reshape(rows, layout.channels, ring.pitch)


@pytest.mark.parametrize("width", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("halo", [None, (0, 0, 0, 0), (1, 2, 3, 4)], ids=str)
def test_every_row_has_its_frame(width, halo):
    picture = np.random.default_rng(width).standard_normal((2, HEIGHT, width)).astype(np.float32)
    layout = DenseLayout(DType.F32, 2, HEIGHT, width, "chw")
    if halo is not None:
        layout = Layout(1, (2,), HEIGHT, width, halo)
    framed = np.pad(picture, ((0, 0), (2, 4), (3, 30)))
    ring = _rows(
        layout, picture, rows=4, pads=(2, 3), width=width + 7, lanes=4,
        parts=[(0, 4), (4, 6), (6, 8), (8, 10)],
    )  # fmt: skip
    for number in range(6, 10):
        wanted = framed[:, number, : ring.shape[2]]
        np.testing.assert_array_equal(ring[number % 4], wanted)


def test_rows_are_replaced_one_by_one():
    picture = np.arange(1, 2 * HEIGHT * 6 + 1, dtype=np.float32).reshape(2, HEIGHT, 6)
    layout = DenseLayout(DType.F32, 2, HEIGHT, 6, "chw")
    ring = _rows(layout, picture, rows=3, pads=(0, 0), width=6, lanes=4, parts=[(0, 3), (3, 4)])
    for slot, row in ((0, 3), (1, 1), (2, 2)):
        np.testing.assert_array_equal(ring[slot, :, :6], picture[:, row])


def test_what_is_no_planes():
    assert refuses_planes(DenseLayout(DType.F32, 3, 4, 4, "chw")) == ""
    assert refuses_planes(Layout(1, (3,), 4, 4)) == ""
    for layout in (
        DenseLayout(DType.F32, 3, 4, 4, "hwc"),
        DenseLayout(DType.U8, 3, 4, 4, "chw"),
        Layout(3, (3,), 4, 4),
        Picked((Layout(1, (3,), 4, 4),), ((0, 0),)),
        None,
    ):
        assert "planes" in refuses_planes(layout)
