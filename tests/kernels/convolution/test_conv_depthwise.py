"""Depthwise convolution: runs of pixels, every geometry, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_depthwise import ConvDepthwise, pack_depthwise
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, depthwise, numbers, run
from tests.kernels.harness import TARGETS, blocked, each_target

KERNEL = ConvDepthwise()


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 15, 16, 17, 33])
@each_target
def test_channels_around_the_lanes(channels, target):
    run(KERNEL, depthwise((channels, 3, 4)), target)


GEOMETRIES = {
    "one pixel": ((2, 1, 1), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "stride 2": ((2, 7, 8), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "stride beyond the kernel": ((2, 9, 10), (2, 2), (3, 4), (0, 0, 0, 0), (1, 1)),
    "strides differ": ((2, 6, 9), (3, 2), (1, 3), (1, 0, 0, 1), (1, 1)),
    "even window": ((2, 5, 6), (4, 2), (1, 1), (1, 0, 2, 1), (1, 1)),
    "dilation": ((2, 7, 9), (3, 3), (1, 1), (2, 3, 2, 3), (2, 3)),
    "kernel == map": ((2, 4, 3), (4, 3), (1, 1), (0, 0, 0, 0), (1, 1)),
    "asymmetric padding": ((2, 4, 4), (3, 3), (2, 1), (2, 0, 1, 3), (1, 1)),
    "1x1": ((2, 3, 5), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "7x7": ((2, 6, 17), (7, 7), (1, 1), (3, 3, 3, 3), (1, 1)),
    "9x9": ((2, 6, 17), (9, 9), (1, 1), (4, 4, 4, 4), (1, 1)),
    "31x31": ((2, 5, 19), (31, 31), (1, 1), (15, 15, 15, 15), (1, 1)),
    "5x27 of stride 2": ((2, 9, 40), (5, 27), (2, 2), (2, 13, 2, 13), (1, 1)),
    "3x25 of dilation 2": ((2, 9, 50), (3, 25), (1, 1), (3, 24, 5, 24), (3, 2)),
    "windows in the padding": ((2, 2, 3), (3, 3), (1, 1), (5, 2, 4, 2), (1, 1)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_geometry(name, target):
    run(KERNEL, depthwise(*GEOMETRIES[name]), target)
    run(KERNEL, depthwise(*GEOMETRIES[name], bias=False), target)


@pytest.mark.parametrize("channels", [1, 3, 8, 17])
@pytest.mark.parametrize("times", [2, 4])
@each_target
def test_several_filters_a_channel(channels, times, target):
    attrs = Conv2dAttrs(pads=(1, 1, 1, 1), groups=channels)
    run(KERNEL, Conv((channels, 3, 5), channels * times, (3, 3), attrs), target)
    attrs = Conv2dAttrs((2, 2), (0, 0, 0, 0), (1, 1), channels)
    run(KERNEL, Conv((channels, 5, 18), channels * times, (2, 4), attrs, bias=False), target)


@each_target
def test_segments_and_halos(target):
    segments = (3, 1, 9)
    conv = depthwise((13, 3, 4), segments=segments, out_segments=segments)
    run(KERNEL, replace(conv, halo=(1, 2, 0, 1), out_halo=(0, 1, 2, 1)), target)


@pytest.mark.parametrize("names", [("sigmoid",), ("relu",), ("add", "mul", "prelu", "sigmoid")])
@each_target
def test_epilogues(names, target):
    shapes = [(1, 5, 3, 4), (1, 5, 1, 1), (5,)]
    extras = tuple(numbers(*s, seed=i) for i, s in enumerate(shapes)) if len(names) > 1 else ()
    conv = depthwise((5, 3, 4), steps=chain(3, *names), extras=extras)
    run(KERNEL, conv, target)


def test_in_place():
    extras = (numbers(1, 5, 3, 4),)
    conv = depthwise((5, 3, 4), steps=chain(3, "add", "relu"), extras=extras, in_place=3)
    for target in TARGETS:
        run(KERNEL, conv, target)


def test_nan_and_infinities_stay_in_their_channels():
    x = depthwise((5, 4, 4), values="special")
    for target in TARGETS:
        result = run(KERNEL, x, target)
        assert np.isnan(result).any()
        assert np.isfinite(result).any()


def test_filters_by_slot():
    w = numbers(5, 1, 2, 3)
    packed = pack_depthwise(w, blocked((1, 5, 1, 1), 4, segments=(3, 2)))
    assert packed.shape == (2, 2, 3, 4)
    assert np.array_equal(packed[0, :, :, :3], w[:3, 0].transpose(1, 2, 0))
    assert np.array_equal(packed[1, :, :, :2], w[3:, 0].transpose(1, 2, 0))
    assert not packed[0, :, :, 3].any()
    assert not packed[1, :, :, 2:].any()


def test_refusals():
    target = find("avx2")
    site = depthwise((8, 4, 4)).site(target)
    assert KERNEL.refuses(site) == ""
    assert "depthwise" in KERNEL.refuses(Conv((8, 4, 4), 8, (3, 3)).site(target))
    for filters in (24, 128):
        several = Conv((8, 4, 4), filters, (3, 3), Conv2dAttrs(groups=8))
        assert "depthwise" in KERNEL.refuses(several.site(target))
    several = Conv((8, 4, 4), 16, (3, 3), Conv2dAttrs(groups=8), out_segments=(8, 8))
    assert "segments" in KERNEL.refuses(several.site(target))
    other = replace(site, out=blocked((1, 8, 4, 4), 8, segments=(3, 5)))
    assert "segments" in KERNEL.refuses(other)
    bare = replace(site, layouts=(blocked((1, 8, 4, 4), 8), None, None))
    assert "halo" in KERNEL.refuses(bare)
    assert "run time" in KERNEL.refuses(replace(site, constants=(None,) * 3))
