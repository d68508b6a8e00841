"""Convolution by zones of taps: every way a window can hang over the edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.zones.conv_zones import ConvZones
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target

KERNEL = ConvZones()
WIDE = find("x86-64-v4")


def dilated(rate, strides=(1, 1), groups=1):
    return Conv2dAttrs(strides, (rate,) * 4, (rate, rate), groups)


@pytest.mark.parametrize("rate", [2, 3, 5, 7])
@pytest.mark.parametrize("size", [(3, 3), (8, 8), (7, 9), (13, 6)], ids=str)
def test_dilations(rate, size):
    conv = Conv((5, *size), 19, attrs=dilated(rate), out_halo=(1, 0, 2, 1))
    target = TARGETS[(rate + sum(size)) % 3]
    if not KERNEL.refuses(conv.site(target)):
        run(KERNEL, conv, target)


GEOMETRIES = {
    "even window": ((2, 3, 4), (2, 4), Conv2dAttrs(pads=(1, 2, 1, 2))),
    "strides": ((3, 9, 8), (3, 3), Conv2dAttrs((2, 1), (4, 5, 4, 5), (4, 5))),
    "one axis": ((3, 4, 17), (1, 3), Conv2dAttrs((1, 1), (0, 8, 0, 8), (1, 8))),
    "asymmetric": ((3, 6, 7), (3, 3), Conv2dAttrs((1, 1), (4, 0, 4, 6), (3, 3))),
    "windows wholly in padding": ((1, 1, 1), (3, 3), Conv2dAttrs((1, 1), (4, 4, 4, 4))),
    "same 5x5 on a small map": ((3, 4, 4), (5, 5), Conv2dAttrs(pads=(2, 2, 2, 2))),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("narrow", [False, True])
def test_geometry(name, narrow):
    x, kernel, attrs = GEOMETRIES[name]
    for target in TARGETS:
        run(KERNEL, Conv(x, 6, kernel, attrs, narrow=narrow), target)


TRANSPOSED = {
    "one pixel": ((5, 1, 1), (7, 7), Conv2dTransposeAttrs()),
    "one row": ((5, 1, 9), (4, 4), Conv2dTransposeAttrs((2, 2), (1, 1, 1, 1))),
    "strides": ((3, 2, 3), (5, 4), Conv2dTransposeAttrs((3, 2), (1, 0, 2, 1))),
    "dilations": ((3, 3, 2), (3, 3), Conv2dTransposeAttrs((1, 1), (0, 1, 1, 0), (2, 3))),
    "both": ((3, 2, 2), (4, 3), Conv2dTransposeAttrs((2, 3), (1, 1, 1, 1), (3, 2))),
    "results that no input reaches": ((3, 2, 2), (1, 2), Conv2dTransposeAttrs((3, 3))),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@each_target
def test_transposed(name, target):
    x, kernel, attrs = TRANSPOSED[name]
    conv = Conv(x, 21, kernel, attrs)
    if name == "results that no input reaches":
        assert "hardly any tap" in KERNEL.refuses(conv.site(target))
    else:
        run(KERNEL, conv, target)
        run(KERNEL, replace(conv, steps=chain(3, "silu")), target)


@pytest.mark.parametrize("channels", [1, 15, 17, 33])
@pytest.mark.parametrize("filters", [1, 16, 48])
def test_channels_around_the_lanes(channels, filters):
    target = TARGETS[(channels + filters) % 3]
    run(KERNEL, Conv((channels, 6, 6), filters, attrs=dilated(4)), target)


def test_groups_segments_and_what_follows():
    lanes = WIDE.lanes()
    run(KERNEL, Conv((2 * lanes, 6, 6), 2 * lanes, attrs=dilated(4, groups=2)), WIDE)
    parts = Conv((10, 6, 6), 9, attrs=dilated(4), segments=(3, 7), out_segments=(4, 5))
    run(KERNEL, parts, WIDE)
    steps = chain(3, "add", "silu", ("clip", ClipAttrs(-1.0, 2.0)))
    extras = (numbers(1, 18, 8, 8),)
    for target in TARGETS:
        run(KERNEL, Conv((6, 8, 8), 18, attrs=dilated(5), steps=steps, extras=extras), target)


def test_integers_are_exact():
    run(KERNEL, Conv((7, 9, 9), 20, attrs=dilated(5), values="whole"), WIDE)


def test_a_number_that_is_not_finite_stays_where_it_is_seen():
    made = run(KERNEL, Conv((4, 9, 9), 6, attrs=dilated(6), values="special"), WIDE)
    assert np.isfinite(made).any()


REFUSED = {
    "inside": (Conv((4, 32, 32), 4, attrs=dilated(1)), "hardly any tap"),
    "pool": (
        Conv((4, 6, 6), 4, attrs=dilated(4),
             steps=chain(3, ("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))))),
        "pool",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    conv, reason = REFUSED[name]
    assert reason in KERNEL.refuses(conv.site(WIDE))
