"""Depthwise transposed convolution: phases, geometry of every kind, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_depthwise_transposed import ConvDepthwiseTransposed
from cnncc.ops.conv import Conv2dTransposeAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, blocked, each_target

KERNEL = ConvDepthwiseTransposed()


def deconv(x, kernel=(4, 4), strides=(2, 2), pads=(1, 1, 1, 1), **more):
    given = {k: more.pop(k) for k in ("dilations", "output_pads") if k in more}
    attrs = Conv2dTransposeAttrs(strides=strides, pads=pads, groups=x[0], **given)
    return Conv(x, x[0], kernel, attrs, **more)


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 15, 16, 17, 33])
@each_target
def test_channels_around_the_lanes(channels, target):
    run(KERNEL, deconv((channels, 3, 4)), target)


GEOMETRIES = {
    "one pixel": deconv((3, 1, 1), kernel=(3, 3), pads=(0, 0, 0, 0)),
    "stride 1": deconv((3, 3, 4), kernel=(3, 3), strides=(1, 1)),
    "3x3/2": deconv((3, 3, 4), kernel=(3, 3), output_pads=(1, 1)),
    "4x4/2": deconv((3, 5, 17)),
    "16x16/8": deconv((3, 3, 4), kernel=(16, 16), strides=(8, 8), pads=(4, 4, 4, 4)),
    "stride beyond the kernel": deconv((3, 3, 4), (2, 1), (3, 4), (0, 0, 0, 0)),
    "only gaps": deconv((3, 2, 2), (1, 1), (3, 3), (0, 0, 0, 0), output_pads=(2, 2)),
    "strides differ": deconv((3, 4, 3), (3, 2), (1, 3), (0, 1, 1, 0)),
    "asymmetric padding": deconv((3, 4, 4), (4, 3), (2, 2), (2, 0, 1, 1)),
    "padding beyond the kernel": deconv((3, 4, 4), (2, 2), (2, 2), (3, 2, 2, 3)),
    "1 x n": deconv((3, 1, 40), (1, 5), (1, 2), (0, 2, 0, 2)),
    "wide filters": deconv((3, 4, 20), (3, 31), (1, 1), (1, 15, 1, 15)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_geometry(name, target):
    run(KERNEL, GEOMETRIES[name], target)
    run(KERNEL, replace(GEOMETRIES[name], bias=False, out_halo=(1, 0, 2, 1)), target)


@each_target
def test_segments_and_halos(target):
    segments = (3, 1, 9)
    conv = deconv((13, 3, 4), segments=segments, out_segments=segments)
    run(KERNEL, replace(conv, halo=(1, 2, 1, 1), out_halo=(0, 1, 2, 1)), target)


@pytest.mark.parametrize("names", [("sigmoid",), ("relu",), ("add", "mul", "prelu", "sigmoid")])
@each_target
def test_epilogues(names, target):
    """A run's pixels lie a stride apart; so do the residual's."""
    shapes = [(1, 5, 6, 8), (1, 5, 1, 1), (5,)]
    extras = tuple(numbers(*s, seed=i) for i, s in enumerate(shapes)) if len(names) > 1 else ()
    run(KERNEL, deconv((5, 3, 4), steps=chain(3, *names), extras=extras), target)


def test_in_place():
    conv = deconv((5, 3, 4), steps=chain(3, "add"), extras=(numbers(1, 5, 6, 8),), in_place=3)
    for target in TARGETS:
        run(KERNEL, conv, target)


def test_nan_and_infinities_stay_in_their_channels():
    for target in TARGETS:
        result = run(KERNEL, deconv((5, 4, 4), values="special"), target)
        assert np.isnan(result).any()
        assert np.isfinite(result).any()


def test_refusals():
    target = find("avx2")
    site = deconv((8, 4, 4)).site(target)
    assert KERNEL.refuses(site) == ""
    assert "depthwise" in KERNEL.refuses(deconv((8, 4, 4), dilations=(2, 1)).site(target))
    several = Conv((8, 4, 4), 16, (4, 4), Conv2dTransposeAttrs(strides=(2, 2), groups=8))
    assert "depthwise" in KERNEL.refuses(several.site(target))
    height, width = site.result.shape[2:]
    other = replace(site, out=blocked((1, 8, height, width), 8, segments=(3, 5)))
    assert "segments" in KERNEL.refuses(other)
    bare = replace(site, layouts=(blocked((1, 8, 4, 4), 8), None, None))
    assert "halo" in KERNEL.refuses(bare)
    assert "run time" in KERNEL.refuses(replace(site, constants=(None,) * 3))
