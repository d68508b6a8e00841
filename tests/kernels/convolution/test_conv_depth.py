"""Which channels a reduction multiplies: hardly any that a block only pads with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_depth import Depth, DepthTable, depth_of
from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.layout import Layout
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, run


@pytest.mark.parametrize(
    ("block", "segments", "depth"),
    [
        (16, (64,), Depth(4, (4, 4, 4, 4))),
        (16, (24,), Depth(4, (4, 2))),
        (16, (58,), Depth(2, (8, 8, 8, 5))),
        (16, (6,), Depth(3, (2,))),
        (16, (17,), Depth(1, (16, 1))),
        (16, (12, 4, 32), Depth(4, (3, 1, 4, 4))),
        (3, (3,), Depth(3, (1,))),
        (8, (7,), Depth(1, (7,))),
    ],
)
def test_depths(block, segments, depth):
    assert depth_of(Layout(block, segments, 1, 1), 1) == depth


def test_groups_are_as_deep_as_the_deepest():
    assert depth_of(Layout(4, (4, 3, 4, 3), 1, 1), 2) == Depth(1, (4, 3))
    assert depth_of(Layout(4, (2, 2), 1, 1), 2) == Depth(2, (1,))


@given(st.sampled_from((1, 3, 4, 8, 16)), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_all_channels_are_reached_and_no_block_is_left(block, segments):
    """Each channel is multiplied once; no step reaches beyond its block."""
    layout = Layout(block, tuple(segments), 1, 1)
    depth = depth_of(layout, 1)
    columns = depth.columns(block)
    assert len(columns) == len(set(columns)) == depth.channels
    assert set(layout.channel_slots) <= set(columns)
    assert all(turns * depth.step <= block for turns in depth.turns)
    assert depth.channels < layout.channels + 4 * len(segments)


def test_a_table_of_turns():
    for depth in (Depth(4, (4, 4)), Depth(4, (4, 2, 1))):
        b, table = Builder("turns"), DepthTable(depth)
        out = b.buffer("out", extent=1, writable=True)
        args = table.declare(b)
        block = b.index_param("block")
        turns = table.turns(b, block)
        if isinstance(turns, int):
            assert depth.even
            assert not args
            continue
        with b.loop(0, turns, hint="i"):
            b.store(out, 0, b.binary("add", b.load(out, 0), b.const(1.0)))
        for number, expected in enumerate(depth.turns):
            count = np.zeros(1, np.float32)
            interp.run(b.func, [count, args[0].array, number])
            assert count[0] == expected


@pytest.mark.parametrize("segments", [(24,), (6,), (58,), (17, 3, 16), (1, 1)])
@pytest.mark.parametrize("name", ["x86-64", "x86-64-v4"])
def test_convolutions_of_uneven_depth(segments, name):
    same = Conv2dAttrs(pads=(1, 1, 1, 1))
    for kernel, attrs in (((1, 1), Conv2dAttrs()), ((3, 3), same)):
        for values in ("normal", "special"):
            conv = Conv((sum(segments), 3, 4), 5, kernel, attrs, segments=segments, values=values)
            run(ConvDirect(), conv, find(name))
