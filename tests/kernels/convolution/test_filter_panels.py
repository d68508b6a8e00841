"""Filters by slot, panel by panel; what is not multiplied is left out."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.convolution.filter_panels import pack_filters, pack_panels
from cnncc.kernels.layout import Layout
from tests.kernels.conv_sites import numbers

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
