"""Fully connected layers: vectors, maps read where they lie, single pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.ir.op import NoAttrs
from cnncc.kernels.convolution.dense import Dense, panel_vectors
from cnncc.kernels.layout import FlatLayout
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, blocked, check, dense, each_target, make_site

KERNEL = Dense()


def judge(x, layout, units, target, steps=(), extras=(), bias=True, out_halo=(0, 0, 0, 0)):
    w = numbers(units, x.size, seed=2)
    arrays = [x, w, *([numbers(units, seed=3)] if bias else []), *extras]
    lanes = target.lanes()
    others = [None if a.ndim == 1 else blocked(a.shape, lanes) for a in extras]
    layouts = [layout, None, *([None] if bias else []), *others]
    out = blocked((1, units), lanes, halo=out_halo)
    site = make_site("dense", NoAttrs(), arrays, layouts, out, target, steps=steps)
    return check(KERNEL, site, arrays, splits=((1, 1), (3, -1)))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 8, 9, 16, 17, 33])
@pytest.mark.parametrize("units", [1, 4, 5, 16, 17, 33, 65])
def test_extents(depth, units):
    target = TARGETS[(depth + units) % 3]
    judge(numbers(1, depth), blocked((1, depth), target.lanes()), units, target)


@pytest.mark.parametrize("bias", [False, True])
@each_target
def test_chains_of_every_length(bias, target):
    """What is left over behind the unrolled chains, for every width of panel."""
    for blocks in (1, 2, 3, 4):
        for depth in range(1, 11):
            layout = blocked((1, depth), target.lanes())
            judge(numbers(1, depth), layout, blocks * target.lanes(), target, bias=bias)


@pytest.mark.parametrize("order", ["hwc", "chw"])
@each_target
def test_flattened_maps(order, target):
    """Read where they are: halo and padding lanes count for nothing."""
    for channels, segments in ((5, ()), (7, (3, 4)), (17, ()), (16, ())):
        layout = blocked((1, channels, 2, 3), target.lanes(), segments=segments, halo=(1, 0, 1, 2))
        x = numbers(1, channels * 6)
        judge(x, FlatLayout(layout, order), 9, target)


@pytest.mark.parametrize(
    ("names", "shapes"),
    [(("sigmoid",), ()), (("add", "prelu", "sigmoid"), ((1, 21), (21,))), (("mul",), ((1, 21),))],
)
@each_target
def test_epilogues(names, shapes, target):
    extras = tuple(numbers(*s, seed=i) for i, s in enumerate(shapes))
    x = numbers(1, 6)
    judge(x, blocked((1, 6), target.lanes()), 21, target, chain(3, *names), extras)
    judge(x, blocked((1, 6), target.lanes()), 21, target, chain(2, *names), extras, bias=False)


@each_target
def test_nan_and_infinities_leave_padding_lanes_zero(target):
    for special in (np.nan, np.inf, -np.inf):
        x = numbers(1, 6)
        x[0, 2] = special
        for steps in ((), chain(3, "relu")):
            judge(x, blocked((1, 6), target.lanes()), 5, target, steps)


@each_target
def test_a_convolution_of_one_pixel(target):
    run(KERNEL, Conv((9, 1, 1), 21, (1, 1), steps=chain(3, "relu")), target)
    segments = Conv((9, 1, 1), 21, (1, 1), segments=(4, 5), out_segments=(20, 1))
    run(KERNEL, replace(segments, halo=(1, 1, 1, 1), out_halo=(0, 1, 2, 0)), target)


def test_panels():
    assert [panel_vectors(n) for n in (1, 2, 3, 4, 5, 6, 8, 63)] == [1, 2, 3, 4, 1, 3, 4, 3]


def test_refusals():
    target = find("avx2")
    site = Conv((8, 1, 1), 8, (1, 1)).site(target)
    assert KERNEL.refuses(site) == ""
    assert "pixel" in KERNEL.refuses(Conv((8, 2, 1), 8, (1, 1)).site(target))
    assert "groups" in KERNEL.refuses(
        Conv((8, 1, 1), 8, (1, 1), Conv2dAttrs(groups=2)).site(target)
    )
    padded = Conv((8, 1, 1), 8, (1, 1), Conv2dAttrs(pads=(1, 0, 0, 0)))
    assert "padding" in KERNEL.refuses(padded.site(target))
    assert "run time" in KERNEL.refuses(replace(site, constants=(None,) * 3))
    callers = replace(site, layouts=(dense((1, 8)), None, None))
    assert "layout of the network" in KERNEL.refuses(callers)
    assert "8 channels" in KERNEL.refuses(replace(site, out=blocked((1, 8, 1, 1), 4)))


def test_estimate_counts_the_weights():
    estimate = KERNEL.estimate(Conv((512, 1, 1), 1000, (1, 1)).site(find("avx512")))
    assert estimate.figures["bytes"] == 512 * 1008 * 4
