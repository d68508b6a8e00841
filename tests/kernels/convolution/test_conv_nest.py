"""What all convolutions share: halos, groups, packed filters, tiles at the edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.ir.op import lookup
from cnncc.ir.types import f32
from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.convolution.conv_nest import (
    conv_halo,
    for_each_tile,
    groups_aligned,
    pack_filters,
    pack_panels,
)
from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.layout import Layout
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.ops.conv import Conv2dAttrs
from tests.kernels.conv_sites import numbers


def test_halos_are_what_windows_reach():
    """Against the pixels that the definition reads, one by one."""
    for n, k, stride, dilation, before, after in itertools.product(
        (1, 4, 7), (1, 2, 3), (1, 2, 4), (1, 2), (0, 1, 3), (0, 2)
    ):
        if dilation * (k - 1) + 1 > n + before + after:
            continue
        attrs = Conv2dAttrs((stride, 1), (before, 0, after, 0), (dilation, 1))
        x, w = f32(1, 1, n, 1), f32(1, 1, k, 1)
        result = lookup("conv2d").infer([x, w], attrs)
        rows = [
            y * stride - before + t * dilation for y in range(result.shape[2]) for t in range(k)
        ]
        top, left, bottom, right = conv_halo(attrs, x, w, result)
        assert top == before  # addresses start at the first tap, read or not
        assert max(0, -min(rows)) <= top
        assert bottom == max(0, max(rows) - n + 1)
        assert left == right == 0


@pytest.mark.parametrize(
    ("segments", "groups", "aligned"),
    [
        ((8,), 1, True),
        ((5,), 1, True),
        ((8,), 2, True),
        ((8,), 4, False),
        ((12,), 2, False),
        ((6, 6), 2, True),
        ((3, 3, 3), 3, True),
        ((4, 8), 2, False),
        ((4, 4, 4), 3, True),
        ((3, 5), 2, False),
        ((9,), 2, False),
    ],
)
def test_groups_begin_on_blocks(segments, groups, aligned):
    assert groups_aligned(Layout(4, segments, 1, 1), groups) is aligned


segments = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)


@given(segments, segments, st.sampled_from((4, 8)), st.sampled_from((3, 4, 8)), st.integers(1, 3))
def test_packed_filters(outs, ins, lanes, block, columns):
    """Each weight lies at the place of its slots; all other places are zero."""
    source, out = Layout(block, ins, 1, 1), Layout(lanes, outs, 1, 1)
    w = 1 + np.abs(numbers(out.channels, source.channels, 2, columns))
    for vectors in (v for v in (1, 2, 3) if out.blocks % v == 0):
        packed = pack_filters(w, source, out, 1, vectors)
        width = vectors * lanes
        assert packed.shape == (out.blocks // vectors, source.blocks, 2, columns, block, width)
        assert np.count_nonzero(packed) == w.size
        for o, i in itertools.product({0, out.channels - 1}, {0, source.channels - 1}):
            panel, lane = divmod(int(out.channel_slots[o]), width)
            place, channel = divmod(int(source.channel_slots[i]), block)
            assert np.array_equal(packed[panel, place, :, :, channel, lane], w[o, i])


@given(segments, segments, st.sampled_from((3, 4, 8)))
def test_packed_panels_leave_out_what_is_not_multiplied(outs, ins, block):
    """In the order in which the reduction meets them; all weights are there."""
    source, out = Layout(block, ins, 1, 1), Layout(4, outs, 1, 1)
    w = 1 + np.abs(numbers(out.channels, source.channels, 2, 1))
    whole, panels = pack_filters(w, source, out, 1, 1), pack_panels(w, source, out, 1, 1)
    depth = depth_of(source, 1)
    assert panels.shape == (out.blocks, depth.channels * 2 * 4)
    assert np.count_nonzero(panels) == w.size
    met = [
        whole[:, place, row, 0, channel]
        for place, turns in enumerate(depth.turns)
        for row in range(2)
        for channel in range(turns * depth.step)
    ]
    assert np.array_equal(panels, np.stack(met, axis=1).reshape(panels.shape))


def test_packed_filters_of_groups():
    source, out = Layout(4, (3, 3), 1, 1), Layout(4, (5, 5), 1, 1)
    w = numbers(10, 3, 1, 1)
    packed = pack_filters(w, source, out, 2, 1)
    assert packed.shape == (4, 1, 1, 1, 4, 4)
    assert np.array_equal(packed[0, 0, 0, 0, :3], w[:4, :, 0, 0].T)
    assert np.array_equal(packed[3, 0, 0, 0, :3, 0], w[9, :, 0, 0])
    assert not packed[:, :, :, :, 3].any()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_tiles_cover_the_map_once(rows, columns, tile_rows, tile_columns):
    """Smaller at the far edges, never beyond them."""
    b = Builder("cover")
    out = b.buffer("out", extent=rows * columns, writable=True)
    down, across = b.index_param("down"), b.index_param("across")

    def body(tile, y, x):
        for row, column in np.ndindex(tile.rows, tile.columns):
            at = b.iadd(b.imul(b.iadd(y, row), columns), x)
            b.store(out, at, b.binary("add", b.load(out, at, offset=column), b.const(1.0)),
                    offset=column)  # fmt: skip

    for_each_tile(b, rows, columns, Tile(tile_rows, tile_columns, 1), (down, across), body)
    count = np.zeros(rows * columns, np.float32)
    for place in np.ndindex(-(-rows // tile_rows), -(-columns // tile_columns)):
        interp.run(b.func, [count, *place])
    assert (count == 1).all()
