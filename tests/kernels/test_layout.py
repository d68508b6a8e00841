"""Layouts: where elements lie; packing and unpacking are inverse to each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout, Picked
from cnncc.loopir import interp
from cnncc.loopir.build import Builder

halos = st.tuples(*[st.integers(0, 3)] * 4)
layouts = st.builds(
    Layout,
    st.sampled_from((1, 2, 3, 4, 8, 16)),
    st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    st.integers(1, 4),
    st.integers(1, 4),
    halos,
)


def distinct(layout: Layout) -> np.ndarray:
    shape = (layout.channels, layout.height, layout.width)
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


@given(layouts)
def test_pack_and_unpack(layout):
    array = distinct(layout)
    buffer = layout.pack(array)
    assert buffer.shape == (layout.elems,)
    assert np.array_equal(layout.unpack(buffer), array)
    assert np.count_nonzero(buffer) == array.size  # everything else is zero


@given(layouts)
def test_slots_and_channels_are_inverse(layout):
    assert np.array_equal(layout.slot_channels[layout.channel_slots], np.arange(layout.channels))
    spare = np.count_nonzero(layout.slot_channels < 0)
    assert spare == layout.blocks * layout.block - layout.channels
    assert layout.has_padding_lanes == (spare > 0)
    start = 0
    for size in layout.segments:
        assert layout.channel_slots[start] % layout.block == 0
        start += size


@given(layouts)
def test_addresses_are_those_of_the_packed_buffer(layout):
    """`index` and `offset` lead to the element that `pack` put there, halo included."""
    array = distinct(layout)
    buffer = layout.pack(array)
    b = Builder("f")
    out = b.buffer("out", writable=True)
    block, y, x = (b.index_param(n) for n in ("block", "y", "x"))
    b.store(out, layout.index(b, block, y, x), b.const(1.0))
    for channel in (0, layout.channels - 1):
        number, lane = divmod(int(layout.channel_slots[channel]), layout.block)
        for row, column in ((0, 0), (layout.height - 1, layout.width - 1)):
            mark = np.zeros(layout.elems, np.float32)
            interp.run(b.func, [mark, number, row, column])
            at = int(np.flatnonzero(mark)[0])
            assert buffer[at + lane] == array[channel, row, column]
            assert at == layout.origin + layout.offset(number, row, column)
    if layout.halo[0] and layout.halo[1]:
        mark = np.zeros(layout.elems, np.float32)
        interp.run(b.func, [mark, 0, -layout.halo[0], -layout.halo[1]])
        assert mark[0] == 1


@pytest.mark.parametrize("order", ["hwc", "chw"])
@given(layout=layouts)
def test_flat_positions(order, layout):
    array = distinct(layout)
    flat = FlatLayout(layout, order)
    logical = array if order == "chw" else array.transpose(1, 2, 0)
    assert np.array_equal(layout.pack(array)[flat.positions()], logical.reshape(-1))
    assert flat.elems == layout.elems


def test_dense_pitches():
    array = np.arange(24).reshape(2, 3, 4)  # [C,H,W]
    for memory, flat in (("chw", array), ("hwc", array.transpose(1, 2, 0))):
        layout = DenseLayout(DType.F32, 2, 3, 4, memory)
        c, y, x = layout.pitches
        for place in np.ndindex(2, 3, 4):
            at = place[0] * c + place[1] * y + place[2] * x
            assert flat.reshape(-1)[at] == array[place]
        assert layout.elems == 24


def test_words():
    plain = Layout(8, (3,), 2, 2)
    assert str(plain) == "NCHW8c"
    segments = Layout(8, (3, 5), 2, 2, (1, 0, 1, 0))
    assert str(segments) == "NCHW8c segments=3+5 halo=1,0,1,0"
    assert str(FlatLayout(plain, "hwc")) == "flat(hwc) NCHW8c"
    assert str(DenseLayout(DType.U8, 3, 2, 2, "hwc")) == "hwc u8"


def test_picked_channels():
    """Two channels of one buffer and one of another, which lies before it."""
    parts = (Layout(4, (5,), 2, 3, (1, 0, 0, 2)), Layout(4, (3,), 2, 3, (1, 0, 0, 2)))
    layout = Picked(parts, ((0, 4), (1, 2), (0, 1)))
    assert layout.starts == (0, parts[0].elems)
    assert (layout.channels, layout.height, layout.width, layout.block) == (3, 2, 3, 4)
    assert layout.elems == sum(p.elems for p in parts)
    moved = Picked(parts, layout.picks, (parts[1].elems + 16, 0))
    arrays = [distinct(p) * sign for p, sign in zip(parts, (1, -1), strict=True)]
    for made in (layout, moved):
        buffer = np.zeros(made.elems, np.float32)
        for start, part, array in zip(made.starts, parts, arrays, strict=True):
            buffer[start : start + part.elems] = part.pack(array)
        assert np.array_equal(made.unpack(buffer), [arrays[0][4], arrays[1][2], arrays[0][1]])
        packed = made.pack(made.unpack(buffer))
        assert np.array_equal(made.unpack(packed), made.unpack(buffer))
        assert np.count_nonzero(np.isfinite(packed)) == 3 * 2 * 3
    assert str(layout) == "3 channels of 2 x NCHW4c"
