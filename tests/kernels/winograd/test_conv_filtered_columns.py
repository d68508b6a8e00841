"""Minimal filtering with lanes of columns: widths around the runs, pools, panels, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_columns import ConvColumns
from cnncc.kernels.winograd.conv_filtered_columns import ConvFilteredColumns
from cnncc.llvm.host import host_target
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.native import Native

KERNEL = ConvFilteredColumns()
WIDE = find("x86-64-v4")
MEAN, MOST = AvgPool2dAttrs((2, 2), (2, 2)), MaxPool2dAttrs((2, 2), (2, 2))


def planes(x, filters, kernel=(5, 5), pads=(2, 2, 2, 2), **more) -> Conv:
    return Conv(x, filters, kernel, Conv2dAttrs(pads=pads), block=1, out_block=1, **more)


def pooled(conv: Conv, pool, *steps) -> Conv:
    op = "avg_pool2d" if isinstance(pool, AvgPool2dAttrs) else "max_pool2d"
    return replace(conv, steps=chain(conv.first_extra, *steps, (op, pool)))


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 9, 15, 16, 17, 33])
@each_target
def test_widths_around_the_runs(columns, target):
    run(KERNEL, planes((2, 4, columns), 2), target)
    conv = planes((2, 2, columns + 2), 3, (3, 3), (1, 0, 1, 0), out_halo=(1, 2, 0, 1))
    run(KERNEL, conv, target)


@pytest.mark.parametrize("columns", [2, 3, 8, 15, 28, 34])
@pytest.mark.parametrize("pool", [MEAN, MOST])
@each_target
def test_pools(columns, pool, target):
    """Odd maps as well: the last row and column belong to no window."""
    run(KERNEL, pooled(planes((2, 5, columns), 2), pool, "relu"), target)
    run(KERNEL, pooled(planes((2, 7, columns), 2), pool), target)


@pytest.mark.parametrize("window", [(1, 2), (2, 1), (4, 1), (1, 4), (2, 3)])
def test_pooling_windows(window):
    done = 0
    for target in TARGETS:
        for pool in (AvgPool2dAttrs(window, window), MaxPool2dAttrs(window, window)):
            conv = pooled(planes((2, 8, 19), 2), pool)
            if KERNEL.refuses(conv.site(target)) == "":
                run(KERNEL, conv, target)
                done += 1
    assert done >= 2


@pytest.mark.parametrize("kernel", [(3, 1), (3, 3), (5, 2), (7, 7)], ids=str)
@pytest.mark.parametrize("rows", [6, 8])
@each_target
def test_windows(kernel, rows, target):
    """Two or four rows at a time, with padding on some sides, or nothing but padding."""
    run(KERNEL, planes((3, rows + kernel[0] - 5, 9), 5, kernel, (1, 0, 3, 2)), target)
    run(KERNEL, planes((2, 1, 1), 2, kernel, (kernel[0] // 2 + 1, 3, kernel[0] // 2, 3)), target)


@pytest.mark.parametrize("filters", [1, 2, 5, 6, 7, 12, 13, 25])
@each_target
def test_panels_of_filters(filters, target):
    run(KERNEL, planes((2, 2, 9), filters), target)
    run(KERNEL, pooled(planes((1, 4, 9), filters, bias=False), MEAN), target)


def test_epilogues():
    for target in TARGETS:
        conv = planes((2, 4, 18), 3, extras=(numbers(3, seed=1),))
        run(KERNEL, replace(conv, steps=chain(3, "prelu", "sigmoid")), target)
        run(KERNEL, pooled(planes((1, 4, 18), 3), MEAN, "tanh"), target)


@each_target
def test_nan_and_infinities(target):
    result = run(KERNEL, planes((2, 16, 19), 2, values="special"), target)
    assert np.isnan(result).any()
    assert np.isfinite(result).any()


@pytest.mark.native
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_machine_code(data):
    """Random shapes, compiled for this machine."""
    draw = data.draw
    window = draw(st.sampled_from(((3, 3), (3, 1), (5, 5), (7, 2))))
    size = (draw(st.integers(2, 4)), 2 * draw(st.integers(4, 6)), draw(st.integers(6, 40)))
    down, right = window[0] // 2, window[1] // 2
    conv = planes(size, draw(st.integers(1, 14)), window, (down, right, down, right))
    if draw(st.booleans()):
        conv = pooled(conv, draw(st.sampled_from((MEAN, MOST))), "tanh")
    target = host_target()
    run(KERNEL, conv, target, Native(target))


def test_fewer_products_are_fewer_cycles():
    """Where rows come in fours, F(4, 5); in pairs, F(2, 5); both before the definition."""
    by_rows = {rows: KERNEL.estimate(planes((3, rows, 28), 6).site(WIDE)) for rows in (28, 30)}
    assert by_rows[28].choice == "F(4x1, 5x5), 6 filters at once"
    assert by_rows[30].choice == "F(2x1, 5x5), 6 filters at once"
    for rows, estimate in by_rows.items():
        direct = ConvColumns().estimate(planes((3, rows, 28), 6).site(WIDE))
        assert estimate.seconds < direct.seconds


def test_refusals():
    conv = planes((2, 4, 6), 3)
    site = conv.site(WIDE)
    assert KERNEL.refuses(site) == ""
    assert "planes" in KERNEL.refuses(replace(conv, block=None).site(WIDE))
    assert "planes" in KERNEL.refuses(replace(conv, out_block=None).site(WIDE))
    for attrs in (Conv2dAttrs((2, 1), (2, 2, 2, 2)), Conv2dAttrs((1, 1), (4, 4, 4, 4), (2, 2))):
        assert "strides" in KERNEL.refuses(replace(conv, attrs=attrs).site(WIDE))
    single = planes((1, 4, 6), 3)
    assert "one channel" in KERNEL.refuses(single.site(WIDE))
    assert "one channel" in KERNEL.refuses(pooled(single, MOST).site(WIDE))
    assert KERNEL.refuses(pooled(single, MEAN).site(WIDE)) == ""
    assert "no transform" in KERNEL.refuses(planes((2, 5, 6), 3).site(WIDE))
    assert "no transform" in KERNEL.refuses(planes((2, 4, 6), 3, (2, 2), (0, 0, 1, 1)).site(WIDE))
    third = pooled(planes((2, 6, 6), 3), MaxPool2dAttrs((3, 3), (3, 3)))
    assert "no transform" in KERNEL.refuses(third.site(WIDE))
    residual = replace(conv, extras=(numbers(1, 3, 4, 6),), steps=chain(3, "add"))
    assert "besides constants" in KERNEL.refuses(residual.site(WIDE))
    weights = site.constant(1).copy()
    weights[0, 0, 0, 0] = np.nan
    constants = (site.constants[0], weights, *site.constants[2:])
    assert "finite" in KERNEL.refuses(replace(site, constants=constants))
