"""Convolutions with lanes of columns: widths around the runs, pools, panels, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_columns import ConvColumns, suits_columns
from cnncc.llvm.host import host_target
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.fused import Step
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.native import Native

KERNEL = ConvColumns()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
WIDE = find("x86-64-v4")
MEAN, MOST = AvgPool2dAttrs((2, 2), (2, 2)), MaxPool2dAttrs((2, 2), (2, 2))


def planes(x, filters, kernel=(3, 3), attrs=SAME, **more) -> Conv:
    return Conv(x, filters, kernel, attrs, block=1, out_block=1, **more)


def pooled(conv: Conv, pool, *steps) -> Conv:
    op = "avg_pool2d" if isinstance(pool, AvgPool2dAttrs) else "max_pool2d"
    return replace(conv, steps=chain(conv.first_extra, *steps, (op, pool)))


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 9, 15, 16, 17, 33])
@each_target
def test_widths_around_the_runs(columns, target):
    run(KERNEL, planes((1, 2, columns), 2), target)
    run(KERNEL, planes((2, 2, columns), 3, (1, 1), Conv2dAttrs(), out_halo=(1, 2, 0, 1)), target)


@pytest.mark.parametrize("columns", [2, 3, 8, 15, 28, 34])
@pytest.mark.parametrize("pool", [MEAN, MOST])
@each_target
def test_pools(columns, pool, target):
    """Odd maps as well: the last row and column belong to no window."""
    run(KERNEL, pooled(planes((1, 5, columns), 2), pool, "relu"), target)


WINDOWS = [(1, 2), (2, 1), (3, 3), (4, 1), (1, 4), (3, 2)]


@pytest.mark.parametrize("window", WINDOWS)
def test_pooling_windows(window):
    for target in TARGETS:
        for pool in (AvgPool2dAttrs(window, window), MaxPool2dAttrs(window, window)):
            conv = pooled(planes((1, 7, 19), 2), pool)
            if KERNEL.refuses(conv.site(target)) == "":
                run(KERNEL, conv, target)
    assert KERNEL.refuses(pooled(planes((1, 7, 19), 2), MEAN).site(WIDE)) == ""


@pytest.mark.parametrize("filters", [1, 2, 5, 6, 7, 12, 13, 25])
@each_target
def test_panels_of_filters(filters, target):
    run(KERNEL, planes((1, 2, 9), filters), target)
    run(KERNEL, pooled(planes((1, 4, 9), filters), MEAN), target)


GEOMETRIES = {
    "5x5": ((1, 9, 20), (5, 5), Conv2dAttrs(pads=(2, 2, 2, 2))),
    "stride of rows": ((2, 7, 18), (3, 2), Conv2dAttrs((3, 1), (1, 0, 1, 1))),
    "dilation": ((2, 7, 9), (3, 2), Conv2dAttrs((1, 1), (2, 1, 2, 2), (2, 3))),
    "asymmetric padding": ((3, 4, 5), (3, 3), Conv2dAttrs((1, 1), (2, 0, 1, 3))),
    "a window wholly in padding": ((3, 1, 1), (3, 3), Conv2dAttrs((1, 1), (4, 4, 4, 4))),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_geometry(name, target):
    x, kernel, attrs = GEOMETRIES[name]
    conv = planes(x, 3, kernel, attrs, bias=False, halo=(1, 0, 0, 2))
    run(KERNEL, conv, target)
    if x[1] > 1:
        run(KERNEL, pooled(conv, MOST, "relu"), target)


def test_epilogues():
    for target in TARGETS:
        conv = planes((2, 4, 18), 3, extras=(numbers(3, seed=1),))
        run(KERNEL, replace(conv, steps=chain(3, "prelu", "sigmoid")), target)
        run(KERNEL, pooled(planes((1, 4, 18), 3), MEAN, "tanh"), target)


@each_target
def test_nan_and_infinities(target):
    result = run(KERNEL, planes((2, 4, 9), 2, values="special"), target)
    assert np.isnan(result).any()
    assert np.isfinite(result).any()


def test_whole_numbers_are_exact():
    for target in TARGETS:
        run(KERNEL, planes((3, 5, 21), 7, (5, 3), values="whole"), target)
        run(KERNEL, pooled(planes((3, 6, 21), 7, values="whole"), MOST), target)


@pytest.mark.native
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_machine_code(data):
    """Random shapes, compiled for this machine."""
    draw = data.draw
    window = draw(st.sampled_from(((1, 1), (3, 3), (1, 5), (4, 2), (5, 5))))
    size = (draw(st.integers(1, 4)), draw(st.integers(6, 9)), draw(st.integers(6, 40)))
    attrs = Conv2dAttrs((draw(st.integers(1, 2)), 1), (window[0] // 2, window[1] // 2) * 2)
    conv = planes(size, draw(st.integers(1, 14)), window, attrs)
    if draw(st.booleans()):
        conv = pooled(conv, draw(st.sampled_from((MEAN, MOST))), "tanh")
    target = host_target()
    run(KERNEL, conv, target, Native(target))


def test_when_it_suits():
    """6 filters of 28 columns leave an eighth of the lanes empty; 10 columns or 16 filters more."""
    conv = Step("conv2d", SAME, (0, 1))
    overlap = MaxPool2dAttrs((3, 3), (2, 2))
    assert suits_columns(WIDE, [conv], (28, 28), 6)
    assert suits_columns(WIDE, [conv, Step("avg_pool2d", MEAN, (~0,))], (28, 28), 6)
    assert not suits_columns(WIDE, [conv, Step("max_pool2d", overlap, (~0,))], (28, 28), 6)
    assert not suits_columns(WIDE, [conv], (10, 10), 6)
    assert not suits_columns(WIDE, [conv], (28, 28), 16)
    strided = Step("conv2d", replace(SAME, strides=(1, 2)), (0, 1))
    assert not suits_columns(WIDE, [strided], (28, 28), 6)


def test_refusals():
    conv = planes((2, 4, 4), 3)
    site = conv.site(WIDE)
    assert KERNEL.refuses(site) == ""
    assert "planes" in KERNEL.refuses(replace(conv, out_block=None).site(WIDE))
    assert "planes" in KERNEL.refuses(replace(conv, block=None).site(WIDE))
    strided = replace(conv, attrs=replace(SAME, strides=(1, 2)))
    assert "neighbouring columns" in KERNEL.refuses(strided.site(WIDE))
    over = pooled(conv, MaxPool2dAttrs((3, 3), (1, 1)))
    assert "overlap" in KERNEL.refuses(over.site(WIDE))
    large = pooled(planes((1, 9, 9), 2), MaxPool2dAttrs((5, 5), (5, 5)))
    assert "registers" in KERNEL.refuses(large.site(WIDE))
    residual = replace(conv, extras=(numbers(1, 3, 4, 4),), steps=chain(3, "add"))
    assert "besides constants" in KERNEL.refuses(residual.site(WIDE))
    bare = replace(site, layouts=(replace(site.blocked(0), halo=(0, 0, 0, 0)), *site.layouts[1:]))
    assert "halo" in KERNEL.refuses(bare)
    computed = replace(site, constants=(None,) * len(site.constants))
    assert "run time" in KERNEL.refuses(computed)
