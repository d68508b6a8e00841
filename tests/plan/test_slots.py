"""Segments in fewer runs keep every slot."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.layout import Layout
from cnncc.plan.slots import merge_segments


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.sampled_from((1, 4, 8, 16)))
def test_merging_keeps_the_slots(segments, block):
    plain, merged = (
        Layout(block, s, 1, 1) for s in (tuple(segments), merge_segments(segments, block))
    )
    assert np.array_equal(plain.channel_slots, merged.channel_slots)
    assert plain.blocks == merged.blocks
    assert all(s % block for s in merged.segments[:-1])
