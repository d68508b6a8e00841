"""A convolution and the depthwise one behind it as one: every geometry of both, and the ring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_block import ConvBlock
from cnncc.kernels.convolution.conv_depthwise import ConvDepthwise
from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.convolution.conv_pool import ConvPoolBand, ConvPoolTile
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, blocked, each_target

KERNEL = ConvBlock()


def block(
    x,
    channels,
    kernel=(3, 3),
    strides=(1, 1),
    pads=(1, 1, 1, 1),
    dilations=(1, 1),
    *,
    between=("relu",),
    behind=("relu",),
    first=(1, 1),
    extras=((), ()),
    **more,
):
    """A convolution of `channels` filters, steps, a depthwise one of this geometry, steps."""
    attrs = Conv2dAttrs(strides, pads, dilations, channels)
    weights = (numbers(channels, 1, *kernel, seed=5), numbers(channels, seed=6))
    steps = chain(3, *between, ("conv2d", attrs), *behind)
    return Conv(x, channels, first, steps=steps, extras=(*extras[0], *weights, *extras[1]), **more)


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 15, 16, 17, 33])
@each_target
def test_channels_around_the_lanes(channels, target):
    run(KERNEL, block((3, 3, 4), channels), target)


GEOMETRIES = {
    "one pixel": ((2, 1, 1), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "stride 2": ((2, 7, 8), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "stride beyond the kernel": ((2, 9, 10), (2, 2), (3, 4), (0, 0, 0, 0), (1, 1)),
    "rows and columns nobody reads": ((2, 8, 9), (3, 3), (4, 3), (0, 0, 0, 0), (1, 1)),
    "strides differ": ((2, 6, 9), (3, 2), (1, 3), (1, 0, 0, 1), (1, 1)),
    "even window": ((2, 5, 6), (4, 2), (1, 1), (1, 0, 2, 1), (1, 1)),
    "dilation": ((2, 7, 9), (3, 3), (1, 1), (2, 3, 2, 3), (2, 3)),
    "dilation and stride": ((2, 9, 11), (2, 3), (2, 2), (3, 0, 0, 2), (3, 2)),
    "kernel == map": ((2, 4, 3), (4, 3), (1, 1), (0, 0, 0, 0), (1, 1)),
    "asymmetric padding": ((2, 4, 4), (3, 3), (2, 1), (2, 0, 1, 3), (1, 1)),
    "1x1": ((2, 3, 5), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "1x1 with padding": ((2, 3, 5), (1, 1), (2, 2), (1, 1, 1, 1), (1, 1)),
    "7x7": ((2, 6, 17), (7, 7), (1, 1), (3, 3, 3, 3), (1, 1)),
    "padding beyond the kernel": ((2, 2, 2), (2, 2), (1, 1), (3, 3, 3, 3), (1, 1)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_geometry(name, target):
    x, *geometry = GEOMETRIES[name]
    run(KERNEL, block(x, 2 * target.lanes() + 1, *geometry), target)


@pytest.mark.parametrize("columns", range(1, 18))
def test_rows_of_every_width(columns):
    run(KERNEL, block((2, 2, columns), 9), TARGETS[columns % 3])


@each_target
def test_the_first_convolution_may_have_a_window_too(target):
    attrs = Conv2dAttrs((2, 2), (1, 1, 1, 1))
    conv = block((3, 9, 11), 5, first=(3, 3), attrs=attrs, narrow=True)
    run(KERNEL, conv, target)
    run(KERNEL, block((4, 7, 5), 4, first=(3, 1), attrs=Conv2dAttrs(dilations=(2, 1))), target)


def test_groups_of_the_first_convolution():
    """It may be a depthwise convolution itself where blocks have one lane a group."""
    target = find("x86-64")
    run(KERNEL, block((8, 5, 5), 8, attrs=Conv2dAttrs(groups=2)), target)


@each_target
def test_segments_and_halos(target):
    conv = block((13, 3, 4), 9, segments=(3, 1, 9), out_segments=(2, 7))
    run(KERNEL, replace(conv, halo=(1, 2, 0, 1), out_halo=(0, 1, 2, 1)), target)


@each_target
def test_steps_between_and_behind(target):
    """Residuals, gates and slopes on either side; what stands between is read for other pixels."""
    inner = (numbers(1, 5, 3, 4), numbers(1, 5, 1, 1, seed=1), numbers(5, seed=2))
    outer = (numbers(1, 5, 3, 4, seed=3), numbers(5, seed=4))
    conv = block(
        (3, 3, 4),
        5,
        between=("add", "mul", "prelu", "sigmoid"),
        behind=("hard_swish", "add", "prelu"),
        extras=(inner, outer),
    )
    run(KERNEL, conv, target)


@each_target
def test_steps_that_do_not_keep_zero(target):
    """Zeros around the map between are zeros, whatever the steps make of 0; padding lanes too."""
    run(KERNEL, block((3, 4, 4), 5, between=("sigmoid",), behind=("sigmoid",)), target)


@each_target
def test_in_place(target):
    conv = block((3, 3, 4), 5, behind=("add", "relu"), extras=((), (numbers(1, 5, 3, 4),)))
    run(KERNEL, replace(conv, in_place=5), target)


@each_target
def test_nan_and_infinities(target):
    """Also of a depthwise filter of zeros in the lanes that belong to no channel."""
    result = run(KERNEL, block((5, 8, 8), 5, values="special", between=()), target)
    assert np.isnan(result).any()
    assert np.isfinite(result).any()


@each_target
def test_every_split_gives_the_same_bits(target):
    """A call that begins in the middle of a panel computes the rows above its first one again."""
    conv = block((2, 7, 6), 2 * target.lanes(), strides=(2, 1))
    run(KERNEL, conv, target)


def test_estimate_counts_both_convolutions():
    target = find("avx512")
    site = block((16, 28, 28), 96).site(target)
    estimate = KERNEL.estimate(site)
    assert estimate.figures["cycles_first"] < estimate.figures["cycles"]
    wide = block((16, 28, 28), 96, (5, 5), pads=(2, 2, 2, 2)).site(target)
    assert KERNEL.estimate(wide).seconds > estimate.seconds


def test_refusals():
    target = find("avx2")
    conv = block((8, 4, 4), 8)
    site = conv.site(target)
    assert KERNEL.refuses(site) == ""
    for other in (ConvDirect(), ConvDepthwise(), ConvPoolTile(), ConvPoolBand()):
        assert other.refuses(site)
    assert "follows" in KERNEL.refuses(Conv((8, 4, 4), 8, (3, 3)).site(target))
    pooled = block((8, 4, 4), 8, behind=(("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))),))
    assert "follows" in KERNEL.refuses(pooled.site(target))
    grouped = Conv(
        (8, 4, 4),
        8,
        steps=chain(3, ("conv2d", Conv2dAttrs(groups=4))),
        extras=(numbers(8, 2, 1, 1), numbers(8)),
    )
    assert "not depthwise" in KERNEL.refuses(grouped.site(target))
    twice = block((8, 4, 4), 8, between=(("conv2d", Conv2dAttrs(groups=8)),),
                  extras=((numbers(8, 1, 1, 1), numbers(8)), ()))  # fmt: skip
    assert "more than two" in KERNEL.refuses(twice.site(target))
    runtime = replace(site, constants=(*site.constants[:3], None, None))
    assert "run time" in KERNEL.refuses(runtime)
    bare = replace(site, layouts=(blocked((1, 8, 4, 4), 4), *site.layouts[1:]))
    assert KERNEL.refuses(bare) == "" or "blocks" in KERNEL.refuses(bare)
    long = block((1, 3, 2000), 8).site(target)
    assert "ring" in KERNEL.refuses(long)
