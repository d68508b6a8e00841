"""A convolution with a pool behind it in one loop nest: every window, on both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_pool import ConvPoolBand, ConvPoolTile, band_rows
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target

BAND, TILE = ConvPoolBand(), ConvPoolTile()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))


def pooled(x, pool, filters=5, steps=("relu",), kernel=(3, 3), attrs=SAME, **more):
    op = "avg_pool2d" if isinstance(pool, AvgPool2dAttrs) else "max_pool2d"
    conv = Conv(x, filters, kernel, attrs, **more)
    return replace(conv, steps=chain(conv.first_extra, *steps, (op, pool)))


# window, strides, pads, ceil
WINDOWS = {
    "2x2/2": ((2, 2), (2, 2), (0, 0, 0, 0), False),
    "3x3/3": ((3, 3), (3, 3), (0, 0, 0, 0), False),
    "1x2/1x2": ((1, 2), (1, 2), (0, 0, 0, 0), False),
    "3x3/2 pad 1": ((3, 3), (2, 2), (1, 1, 1, 1), False),
    "3x3/1 pad 1": ((3, 3), (1, 1), (1, 1, 1, 1), False),
    "2x2/1": ((2, 2), (1, 1), (0, 0, 0, 0), False),
    "2x2/2 ceil": ((2, 2), (2, 2), (0, 0, 0, 0), True),
    "3x3/2 ceil": ((3, 3), (2, 2), (0, 0, 0, 0), True),
    "stride beyond the window": ((2, 2), (3, 3), (0, 0, 0, 0), False),
    "asymmetric": ((3, 2), (2, 3), (0, 1, 2, 0), False),
    "asymmetric ceil": ((2, 3), (3, 2), (1, 0, 1, 2), True),
    "the whole map": ((5, 7), (5, 7), (0, 0, 0, 0), False),
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("kind", ["max", "avg", "avg with padding"])
def test_windows(name, kind):
    window, strides, pads, ceil = WINDOWS[name]
    if kind == "max":
        pool = MaxPool2dAttrs(window, strides, pads, ceil)
    else:
        pool = AvgPool2dAttrs(window, strides, pads, ceil, count_pad=kind != "avg")
    target = TARGETS[len(name) % 3]
    conv = pooled((3, 5, 7), pool, out_halo=(1, 0, 0, 1))
    taken = 0
    for kernel in (BAND, TILE):
        if kernel.refuses(conv.site(target)) == "":
            run(kernel, conv, target)
            taken += 1
    assert taken
    overlaps = strides != window or any(pads) or ceil
    assert (TILE.refuses(conv.site(target)) != "") == (overlaps or np.prod(window) > 28)


@each_target
def test_last_rows_and_columns_that_no_window_reads(target):
    """Windows of 2 on odd maps: the convolution's last row and column are never computed."""
    pool = MaxPool2dAttrs((2, 2), (2, 2))
    for extent in ((3, 3), (2, 5), (5, 2), (7, 9)):
        for kernel in (BAND, TILE):
            run(kernel, pooled((2, *extent), pool), target)


@each_target
def test_bands(target):
    """More pooled rows than a band, so that bands meet; padding above and below."""
    pool = MaxPool2dAttrs((3, 3), (2, 2), (1, 1, 1, 1))
    assert -(-30 // band_rows(30, 3, 2)) > 1
    run(BAND, pooled((1, 60, 3), pool, kernel=(1, 1), attrs=Conv2dAttrs()), target)


def test_bands_compute_few_rows_twice():
    for rows in range(1, 120):
        for window, stride in ((2, 2), (3, 2), (3, 1), (5, 2), (7, 7)):
            band = band_rows(rows, window, stride)
            assert 1 <= band <= rows
            again = (-(-rows // band) - 1) * max(0, window - stride)
            assert again <= 0.25 * rows * stride


@each_target
def test_maxima_of_negative_numbers(target):
    """Neutral numbers and zeros of the halo must never win."""
    pool = MaxPool2dAttrs((3, 3), (2, 2), (1, 1, 1, 1))
    attrs = Conv2dAttrs()
    conv = pooled((2, 5, 5), pool, steps=(), kernel=(1, 1), attrs=attrs, bias=False)
    result = run(BAND, conv, target)
    assert (result < 0).any()


EPILOGUES = {
    "none": ((), ()),
    "sigmoid": (("sigmoid",), ()),
    "residual": (("add", "relu"), ((1, 19, 6, 6),)),
    "gate and prelu": (("mul", "prelu"), ((1, 19, 1, 1), (19,))),
}


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("kernel", [BAND, TILE], ids=lambda k: k.name)
@each_target
def test_epilogues_between(name, kernel, target):
    names, shapes = EPILOGUES[name]
    extras = tuple(numbers(*s, seed=i) for i, s in enumerate(shapes))
    for pool in (MaxPool2dAttrs((2, 2), (2, 2)), AvgPool2dAttrs((2, 2), (2, 2))):
        run(kernel, pooled((3, 6, 6), pool, 19, names, extras=extras), target)


@pytest.mark.parametrize("kernel", [BAND, TILE], ids=lambda k: k.name)
def test_nan_and_infinities(kernel):
    for target in TARGETS:
        for pool in (MaxPool2dAttrs((2, 2), (2, 2)), AvgPool2dAttrs((2, 2), (2, 2))):
            result = run(kernel, pooled((5, 8, 8), pool, values="special"), target)
            assert np.isnan(result).any()
            assert np.isfinite(result).any()


@pytest.mark.parametrize("kernel", [BAND, TILE], ids=lambda k: k.name)
def test_groups_narrow_blocks_and_segments(kernel):
    pool, target = MaxPool2dAttrs((2, 2), (2, 2)), find("x86-64")
    run(kernel, pooled((3, 5, 5), pool, narrow=True), target)
    attrs = Conv2dAttrs(groups=2)
    run(kernel, pooled((8, 5, 5), pool, 8, attrs=attrs), target)
    run(kernel, pooled((7, 5, 5), pool, segments=(3, 4), out_segments=(2, 3)), target)


def test_stem():
    """7x7 with stride 2, then 3x3 with stride 2: the first layers of residual networks."""
    pool = MaxPool2dAttrs((3, 3), (2, 2), (1, 1, 1, 1))
    attrs = Conv2dAttrs((2, 2), (3, 3, 3, 3))
    conv = pooled((3, 17, 18), pool, 4, kernel=(7, 7), attrs=attrs, narrow=True)
    for target in TARGETS:
        run(BAND, conv, target)


def test_refusals():
    target = TARGETS[0]
    plain = Conv((3, 5, 7), 5, (3, 3), SAME).site(target)
    for kernel in (BAND, TILE):
        assert kernel.refuses(plain) == "does not end in a pool"
    wide = pooled((1, 2, 9000), MaxPool2dAttrs((2, 2), (2, 2))).site(target)
    assert "ring" in BAND.refuses(wide)
    overlapping = pooled((3, 5, 7), MaxPool2dAttrs((3, 3), (2, 2))).site(target)
    assert "overlap" in TILE.refuses(overlapping)
    large = pooled((3, 8, 8), MaxPool2dAttrs((8, 8), (8, 8))).site(target)
    assert "does not fit" in TILE.refuses(large)
