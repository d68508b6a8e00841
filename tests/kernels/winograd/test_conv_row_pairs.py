"""Pairs of rows by minimal filtering over planes: widths, pools, channels, panels, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.winograd.conv_row_pairs import ConvRowPairs
from cnncc.llvm.host import host_target
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.native import Native

KERNEL = ConvRowPairs()
WIDE = find("x86-64-v4")
MEAN, MOST = AvgPool2dAttrs((2, 2), (2, 2)), MaxPool2dAttrs((2, 2), (2, 2))


def planes(x, filters, kernel=(5, 5), pads=(2, 2, 2, 2), **more) -> Conv:
    return Conv(x, filters, kernel, Conv2dAttrs(pads=pads), block=1, **more)


def pooled(conv: Conv, pool, *steps) -> Conv:
    op = "avg_pool2d" if isinstance(pool, AvgPool2dAttrs) else "max_pool2d"
    return replace(conv, steps=chain(conv.first_extra, *steps, (op, pool)))


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 12, 13, 16, 17, 33])
@each_target
def test_widths_around_the_tiles(columns, target):
    run(KERNEL, planes((2, 4, columns), 3), target)
    run(KERNEL, planes((2, 2, columns + 2), 3, (3, 3), (1, 0, 1, 0), out_halo=(1, 2, 0, 1)), target)


@pytest.mark.parametrize("columns", [2, 3, 8, 15])
@pytest.mark.parametrize("pool", [MEAN, MOST])
@each_target
def test_pools(columns, pool, target):
    """Odd maps as well: the last row and column belong to no window."""
    run(KERNEL, pooled(planes((2, 5, columns), 3), pool, "relu"), target)


@pytest.mark.parametrize("window", [(1, 2), (2, 1), (2, 3), (1, 4)])
def test_pooling_windows(window):
    done = 0
    for target in TARGETS:
        for pool in (AvgPool2dAttrs(window, window), MaxPool2dAttrs(window, window)):
            conv = pooled(planes((2, 6, 13), 2), pool)
            if KERNEL.refuses(conv.site(target)) == "":
                run(KERNEL, conv, target)
                done += 1
    assert done >= 2


@pytest.mark.parametrize("kernel", [(3, 1), (3, 3), (5, 2), (7, 7), (7, 4)], ids=str)
@each_target
def test_windows(kernel, target):
    """With padding on some sides, and filters that see nothing but padding at the edges."""
    run(KERNEL, planes((3, 9 + kernel[0] % 2, 9), 5, kernel, (1, 0, 3, 2)), target)
    run(KERNEL, planes((2, 1, 1), 2, kernel, (kernel[0] // 2 + 1, 3, kernel[0] // 2, 3)), target)


@pytest.mark.parametrize(("channels", "filters"), [(3, 16), (6, 16), (4, 17), (17, 4), (2, 40)])
@each_target
def test_channels_and_filters(channels, filters, target):
    run(KERNEL, planes((channels, 4, 7), filters, bias=channels != 6), target)


def test_epilogues():
    for target in TARGETS:
        conv = planes((2, 4, 9), 3, extras=(numbers(3, seed=1),))
        run(KERNEL, replace(conv, steps=chain(3, "prelu", "sigmoid")), target)
        run(KERNEL, pooled(planes((2, 4, 9), 3), MEAN, "tanh"), target)
        residual = planes((2, 4, 9), 3, extras=(numbers(1, 3, 4, 9),))
        run(KERNEL, replace(residual, steps=chain(3, "add", "relu")), target)


@each_target
def test_nan_and_infinities(target):
    result = run(KERNEL, planes((2, 12, 19), 2, values="special"), target)
    assert np.isnan(result).any()
    assert np.isfinite(result).any()


@pytest.mark.native
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_machine_code(data):
    """Random shapes, compiled for this machine."""
    draw = data.draw
    window = draw(st.sampled_from(((3, 3), (3, 1), (5, 5), (7, 2))))
    size = (draw(st.integers(2, 7)), 2 * draw(st.integers(4, 6)), draw(st.integers(6, 40)))
    down, right = window[0] // 2, window[1] // 2
    conv = planes(size, draw(st.integers(1, 34)), window, (down, right, down, right))
    if draw(st.booleans()):
        conv = pooled(conv, draw(st.sampled_from((MEAN, MOST))), "tanh")
    target = host_target()
    run(KERNEL, conv, target, Native(target))


def test_refusals():
    conv = planes((2, 4, 6), 3)
    site = conv.site(WIDE)
    assert KERNEL.refuses(site) == ""
    assert "planes" in KERNEL.refuses(replace(conv, block=None).site(WIDE))
    assert "blocks must have" in KERNEL.refuses(replace(conv, out_block=1).site(WIDE))
    for attrs in (Conv2dAttrs((1, 2), (2, 2, 2, 2)), Conv2dAttrs((1, 1), (4, 4, 4, 4), (2, 2))):
        assert "strides" in KERNEL.refuses(replace(conv, attrs=attrs).site(WIDE))
    assert "pairs" in KERNEL.refuses(planes((2, 5, 6), 3).site(WIDE))
    assert "pairs" in KERNEL.refuses(
        pooled(planes((2, 6, 6), 3), MaxPool2dAttrs((3, 3), (3, 3))).site(WIDE)
    )
    assert "one channel" in KERNEL.refuses(planes((1, 4, 6), 3).site(WIDE))
    over = pooled(conv, MaxPool2dAttrs((2, 2), (1, 1)))
    assert "overlap" in KERNEL.refuses(over.site(WIDE))
    assert "saves" in KERNEL.refuses(planes((2, 4, 6), 3, (2, 2), (0, 0, 1, 1)).site(WIDE))
    bare = replace(site, layouts=(replace(site.blocked(0), halo=(0, 0, 0, 0)), *site.layouts[1:]))
    assert "halo" in KERNEL.refuses(bare)
    weights = site.constant(1).copy()
    weights[0, 0, 0, 0] = np.inf
    constants = (site.constants[0], weights, *site.constants[2:])
    assert "finite" in KERNEL.refuses(replace(site, constants=constants))
    computed = replace(site, constants=(None,) * len(site.constants))
    assert "run time" in KERNEL.refuses(computed)
