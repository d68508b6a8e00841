"""Long rows of taps by minimal filtering: widths, pieces, channels, panels, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import f32
from cnncc.kernels.winograd.conv_long_rows import ConvLongRows, long_rows_halo
from cnncc.kernels.winograd.long_rows_choice import PIECE
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target

KERNEL = ConvLongRows()
BEYOND = (0, 0, 0, 2 * PIECE.taps)  # room for whole tiles


def long_rows(x, filters=5, taps=9, pads=None, **more) -> Conv:
    pads = (0, taps // 2, 0, taps // 2) if pads is None else pads
    return Conv(x, filters, (1, taps), Conv2dAttrs(pads=pads), halo=BEYOND, **more)


@pytest.mark.parametrize("columns", [7, 8, 9, 10, 41, 42, 43, 91])
@each_target
def test_widths_around_the_tiles(columns, target):
    run(KERNEL, long_rows((2, 1, columns)), target)
    run(KERNEL, long_rows((2, 2, columns), out_halo=(1, 2, 0, 1), bias=False), target)


@pytest.mark.parametrize("taps", [8, 9, 10, 15, 16, 31])
@each_target
def test_pieces(taps, target):
    """Pieces that are whole, and those that lack a tap or two; padding on one side as well."""
    run(KERNEL, long_rows((3, 1, 40), taps=taps), target)
    run(KERNEL, long_rows((3, 2, 64), taps=taps, pads=(0, 0, 0, 0)), target)
    run(KERNEL, long_rows((3, 1, 40), taps=taps, pads=(0, taps - 1, 0, 3)), target)


@pytest.mark.parametrize(
    ("channels", "filters"), [(4, 16), (5, 3), (16, 33), (17, 4), (33, 48), (70, 2)]
)
@each_target
def test_channels_and_filters(channels, filters, target):
    run(KERNEL, long_rows((channels, 1, 20), filters), target)


def test_several_blocks():
    """Blocks of tiles that fit in the cache, the last one smaller."""
    target = replace(find("x86-64"), l2_bytes=4096)
    run(KERNEL, long_rows((4, 2, 100), 4), target)


def test_rows_of_padding():
    for target in TARGETS:
        run(KERNEL, long_rows((2, 1, 20), pads=(1, 4, 1, 4)), target)


def test_epilogues():
    extras = (numbers(3, seed=1), numbers(1, 3, 1, 20, seed=2))
    for target in TARGETS:
        conv = long_rows((2, 1, 20), 3, extras=extras)
        run(KERNEL, replace(conv, steps=chain(3, "prelu", "add", "sigmoid")), target)


def test_nan_and_infinities():
    for target in TARGETS:
        result = run(KERNEL, long_rows((5, 1, 60), values="special"), target)
        assert np.isnan(result).any()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 3),
    st.integers(1, 50),
    st.integers(1, 20),
    st.integers(8, 26),
    st.integers(0, 12),
    st.sampled_from(TARGETS),
)
def test_random(channels, rows, columns, filters, taps, pad, target):
    conv = long_rows((channels, rows, columns + taps), filters, taps, (0, pad, 0, pad))
    if KERNEL.refuses(conv.site(target)) == "":
        run(KERNEL, conv, target)


def test_the_halo_is_what_the_kernel_needs():
    target = find("x86-64-v4")
    conv = Conv((64, 1, 200), 64, (1, 15), Conv2dAttrs(pads=(0, 7, 0, 7)))
    types = [f32(1, 64, 1, 200), f32(64, 64, 1, 15)]
    halo = long_rows_halo(target, conv.attrs, types, f32(1, 64, 1, 200))
    assert halo == (0, 7, 0, 8)
    assert "halo" in KERNEL.refuses(conv.site(target))
    assert KERNEL.refuses(replace(conv, halo=(0, 0, 0, 1)).site(target)) == ""
    assert long_rows_halo(target, Conv2dAttrs(strides=(1, 2)), types, f32(1, 64, 1, 93)) == (0,) * 4


def test_refusals():
    target = find("avx2")
    assert KERNEL.refuses(long_rows((8, 1, 40)).site(target)) == ""
    assert "short" in KERNEL.refuses(long_rows((8, 1, 40), taps=7).site(target))
    assert "short" in KERNEL.refuses(long_rows((8, 1, 16), taps=15, pads=(0,) * 4).site(target))
    for attrs in (Conv2dAttrs(strides=(1, 2)), Conv2dAttrs(dilations=(1, 2))):
        conv = Conv((8, 1, 60), 8, (1, 9), attrs, halo=BEYOND)
        assert "single rows" in KERNEL.refuses(conv.site(target))
    assert "single rows" in KERNEL.refuses(Conv((8, 40, 1), 8, (9, 1), halo=BEYOND).site(target))
    groups = Conv((16, 1, 40), 16, (1, 9), Conv2dAttrs(groups=2), halo=BEYOND)
    assert "groups" in KERNEL.refuses(groups.site(target))
    pooled = chain(3, "relu", ("max_pool2d", MaxPool2dAttrs((1, 2), (1, 2))))
    assert "pool" in KERNEL.refuses(replace(long_rows((8, 1, 40)), steps=pooled).site(target))
    site = long_rows((8, 1, 40)).site(target)
    filters = np.array(site.constants[1])
    filters[0, 0, 0, 0] = np.inf
    spoilt = replace(site, constants=(None, filters, *site.constants[2:]))
    assert "finite" in KERNEL.refuses(spoilt)
