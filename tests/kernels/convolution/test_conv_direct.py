"""Direct convolution: shapes at every edge, epilogues, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.convolution.conv_geometry import conv_geometry
from cnncc.kernels.convolution.conv_nest import conv_tile_choice
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, blocked, each_target, make_site

KERNEL = ConvDirect()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
SMALL, WIDE = find("x86-64"), find("x86-64-v4")


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 8, 15, 16, 17, 33])
@pytest.mark.parametrize("filters", [1, 4, 7, 17, 33])
def test_channels_around_the_lanes(channels, filters):
    target = TARGETS[(channels + filters) % 3]
    run(KERNEL, Conv((channels, 2, 3), filters, (2, 2), Conv2dAttrs(pads=(0, 1, 1, 0))), target)


@pytest.mark.parametrize("x", [(3, 1, 1), (3, 1, 5), (3, 5, 1), (3, 2, 2), (3, 3, 3)])
@each_target
def test_tiny_maps(x, target):
    run(KERNEL, Conv(x, 5, (3, 3), SAME), target)
    run(KERNEL, Conv(x, 5, (1, 1)), target)
    run(KERNEL, Conv(x, 5, x[1:]), target)  # the kernel covers the whole map


GEOMETRIES = {
    "even window": ((2, 5, 6), (2, 4), Conv2dAttrs(pads=(1, 2, 0, 1))),
    "1 x n": ((2, 4, 7), (1, 5), Conv2dAttrs(pads=(0, 2, 0, 2))),
    "n x 1": ((2, 7, 4), (5, 1), Conv2dAttrs(pads=(2, 0, 2, 0))),
    "stride 2": ((2, 7, 8), (3, 3), Conv2dAttrs((2, 2), (1, 1, 1, 1))),
    "strides differ": ((2, 7, 8), (3, 2), Conv2dAttrs((3, 1), (1, 0, 1, 1))),
    "stride beyond the kernel": ((2, 9, 10), (2, 1), Conv2dAttrs((4, 3))),
    "1x1 stride 2": ((2, 5, 6), (1, 1), Conv2dAttrs((2, 2))),
    "dilation": ((2, 7, 7), (3, 2), Conv2dAttrs((1, 1), (2, 1, 2, 2), (2, 3))),
    "dilated beyond the map": ((2, 2, 3), (3, 3), Conv2dAttrs((1, 1), (2, 3, 2, 3), (2, 3))),
    "asymmetric padding": ((2, 4, 5), (3, 3), Conv2dAttrs((1, 2), (2, 0, 1, 3))),
    "padding beyond the kernel": ((2, 2, 2), (2, 2), Conv2dAttrs((1, 1), (3, 2, 0, 4))),
    "a window wholly in padding": ((1, 1, 1), (3, 3), Conv2dAttrs((1, 1), (4, 4, 4, 4))),
    "7x7 stride 2": ((3, 9, 11), (7, 7), Conv2dAttrs((2, 2), (3, 3, 3, 3))),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("narrow", [False, True])
def test_geometry(name, narrow):
    x, kernel, attrs = GEOMETRIES[name]
    for target in (SMALL, WIDE):
        run(KERNEL, Conv(x, 6, kernel, attrs, narrow=narrow, bias=not narrow), target)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_narrow_blocks(channels):
    run(KERNEL, Conv((channels, 4, 5), 17, (3, 3), SAME, narrow=True), WIDE)


@each_target
def test_tiles_of_every_edge(target):
    """Maps one pixel smaller and larger than the register tiles, in both directions."""
    for pixels, _ in target.tiles[:2]:
        for columns in (pixels - 1, pixels, pixels + 1):
            run(KERNEL, Conv((1, 1, columns), target.lanes(), (1, 1)), target)
            run(KERNEL, Conv((1, columns, 1), target.lanes(), (1, 1)), target)


@pytest.mark.parametrize("size", [(5, 4), (4, 5), (7, 7), (2, 7), (3, 13)])
@each_target
def test_tiles_at_the_side(target, size):
    """Last columns with tiles of their own; the model chooses them on some of these maps."""
    run(KERNEL, Conv((2, *size), 4 * target.lanes(), (3, 3), SAME), target)


def test_some_maps_have_tiles_at_the_side():
    site = Conv((16, 7, 7), 32, (3, 3), SAME).site(find("x86-64-v3"))
    assert conv_tile_choice(site, conv_geometry(site)).tile.side > 0


GROUPS = {
    "blocks of their own": (2, 8, 8, (), ()),
    "segments": (2, 6, 10, (3, 3), (5, 5)),
    "one channel a group": (3, 3, 3, (1, 1, 1), (1, 1, 1)),
    "multiplier": (3, 3, 6, (1, 1, 1), (2, 2, 2)),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups(name):
    groups, channels, filters, segments, out_segments = GROUPS[name]
    attrs = Conv2dAttrs(pads=(1, 1, 1, 1), groups=groups)
    conv = Conv((channels, 3, 4), filters, (3, 3), attrs)
    run(KERNEL, replace(conv, segments=segments, out_segments=out_segments), SMALL)


def test_segments_of_a_concatenation():
    conv = Conv((11, 3, 3), 10, (3, 3), SAME, segments=(3, 1, 7), out_segments=(2, 5, 3))
    for target in TARGETS:
        run(KERNEL, conv, target)


@each_target
def test_halos_beyond_need(target):
    """Another reader of the input may want a wider one; the result has one of its own."""
    conv = Conv((3, 3, 4), 5, (3, 3), SAME, halo=(1, 0, 2, 3), out_halo=(1, 2, 0, 1))
    run(KERNEL, conv, target)


@pytest.mark.parametrize("filters", [1, 8, 9, 20, 24, 40, 72])
def test_narrow_last_vectors(filters):
    """Half a vector of output channels, alone, in the only panel and in the last of several."""
    for x in ((5, 1, 1), (5, 3, 17)):
        run(KERNEL, Conv(x, filters, (3, 3), SAME, values="special"), WIDE)
        conv = Conv(x, filters, (3, 3), SAME, extras=(numbers(1, filters, *x[1:]),), in_place=3)
        run(KERNEL, replace(conv, steps=chain(3, "add", "sigmoid")), WIDE)


def test_narrow_last_vectors_of_groups():
    attrs = Conv2dAttrs(pads=(1, 1, 1, 1), groups=2)
    for filters in (16, 48):
        half = filters // 2
        conv = Conv((8, 3, 15), filters, (3, 3), attrs, segments=(4, 4), out_segments=(half, half))
        run(KERNEL, conv, WIDE)


EPILOGUES = {
    "relu": (("relu",), ()),
    "sigmoid leaves no zero": (("sigmoid",), ()),
    "residual": (("add", "relu"), ((1, 5, 3, 4),)),
    "gate": (("mul",), ((1, 5, 1, 1),)),
    "prelu": (("prelu",), ((5,),)),
    "residual, gate, prelu": (
        ("add", "mul", "prelu", ("clip", ClipAttrs(-0.5, 2.0))),
        ((1, 5, 3, 4), (1, 5, 1, 1), (5,)),
    ),
    "clip above zero": ((("clip", ClipAttrs(0.5, 2.0)),), ()),
    "silu": (("silu",), ()),
    "residual, gate, gelu": (("add", "mul", "gelu"), ((1, 5, 3, 4), (1, 5, 1, 1))),
}


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("bias", [False, True])
def test_epilogues(name, bias):
    names, shapes = EPILOGUES[name]
    extras = tuple(numbers(*s, seed=i) for i, s in enumerate(shapes))
    conv = Conv((3, 3, 4), 5, (3, 3), SAME, bias=bias, extras=extras, out_halo=(0, 1, 1, 0))
    for target in TARGETS:
        run(KERNEL, replace(conv, steps=chain(conv.first_extra, *names)), target)


@each_target
def test_long_epilogues_on_tiles_of_several_rows_and_their_edges(target):
    extras = (numbers(1, 37, 5, 7), numbers(37))
    conv = Conv((3, 5, 7), 37, (1, 1), extras=extras, out_halo=(1, 0, 2, 1), out_segments=(20, 17))
    run(KERNEL, replace(conv, steps=chain(3, "mul", "sigmoid", "prelu")), target)


@each_target
def test_in_place(target):
    """The result overwrites the residual that it adds."""
    conv = Conv((3, 3, 4), 19, (3, 3), SAME, extras=(numbers(1, 19, 3, 4),), in_place=3)
    run(KERNEL, replace(conv, steps=chain(3, "add", "sigmoid")), target)


@each_target
def test_nan_and_infinities(target):
    for kernel, attrs in (((1, 1), Conv2dAttrs()), ((3, 3), SAME)):
        result = run(KERNEL, Conv((5, 4, 4), 6, kernel, attrs, values="special"), target)
        assert np.isnan(result).any()
        assert np.isfinite(result).any()


def test_refusals():
    conv, target = Conv((8, 4, 4), 8, (3, 3), SAME), find("avx2")
    site = conv.site(target)
    assert KERNEL.refuses(site) == ""
    x, out = site.layouts[0], site.out
    computed = replace(site, constants=(None, None, site.constants[2]))
    assert "computed at run time" in KERNEL.refuses(computed)
    bare = replace(site, layouts=(x.with_halo((1, 1, 1, 0)), None, None))
    assert "halo of (1, 1, 1, 1)" in KERNEL.refuses(bare)
    assert "8 channels" in KERNEL.refuses(replace(site, out=blocked((1, 8, 4, 4), 4)))
    pools = chain(3, "relu", ("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))))
    assert KERNEL.refuses(replace(conv, steps=pools).site(target)) == "does not pool"
    groups = Conv((8, 4, 4), 8, (3, 3), Conv2dAttrs(pads=(1, 1, 1, 1), groups=2)).site(target)
    assert "block boundary" in KERNEL.refuses(groups)
    arrays = conv.arrays()
    dense = make_site("conv2d", SAME, arrays, [x, None, None], blocked((1, 8, 4, 4), 8), target)
    assert KERNEL.refuses(dense) == ""
    assert out == dense.out


@each_target
def test_estimate_is_the_model_of_its_tile(target):
    estimate = KERNEL.estimate(Conv((64, 14, 14), 64, (3, 3), SAME).site(target))
    assert "pixels" in estimate.choice
    assert 0.3 < estimate.figures["utilisation"] <= 1
    larger = KERNEL.estimate(Conv((128, 14, 14), 64, (3, 3), SAME).site(target))
    assert larger.seconds > 1.5 * estimate.seconds
