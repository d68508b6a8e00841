"""Halos are what windows reach, and groups begin on blocks or are refused."""

from __future__ import annotations

import itertools

import pytest

from cnncc.ir.op import lookup
from cnncc.ir.types import f32
from cnncc.kernels.convolution.conv_geometry import conv_halo, groups_aligned
from cnncc.kernels.layout import Layout
from cnncc.ops.conv import Conv2dAttrs


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
