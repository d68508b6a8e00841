"""A map times a gate and a 1x1 convolution as one: shapes at every edge, exactness, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.convolution.conv_gated import ConvGated
from cnncc.kernels.maps.pointwise import Pointwise
from cnncc.llvm.host import host_target
from cnncc.ops.conv import Conv2dAttrs
from cnncc.plan.nests import Nests
from cnncc.targets import find
from tests.kernels.conv_sites import NoAttrs, chain, numbers
from tests.kernels.harness import blocked, check, each_target, make_site
from tests.kernels.native import Native

KERNEL = ConvGated()
WIDE = find("x86-64-v4")


def gated(
    x, filters, target, *, attrs=None, behind=(), extras=(), swapped=False, values=None, **layout
):
    """The site of `conv(x * gate) -> behind`, and its arrays; `values` makes map, gate, filters."""
    attrs, values = attrs or Conv2dAttrs(), values or numbers
    channels, lanes = x[0], target.lanes()
    pair = [values(1, *x, seed=1), values(1, channels, 1, 1, seed=2)]
    kinds = [blocked(a.shape, lanes, segments=layout.get("segments", ())) for a in pair]
    kinds[1] = layout.get("gate", kinds[1])
    if swapped:
        pair, kinds = pair[::-1], kinds[::-1]
    arrays = [*pair, values(filters, channels, 1, 1, seed=3), numbers(filters, seed=4), *extras]
    rows, columns = (-(-n // s) for n, s in zip(x[1:], attrs.strides, strict=True))
    out = blocked((1, filters, rows, columns), lanes)
    others = [blocked(a.shape, lanes) if a.ndim == 4 else None for a in extras]
    steps = chain(2, ("conv2d", attrs), *behind)
    site = make_site(
        "mul", NoAttrs(), arrays, [*kinds, None, None, *others], out, target, steps=steps
    )
    return site, arrays


def whole(*shape, seed):
    """Whole numbers that f32 multiplies and adds without rounding."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 15, 16, 17, 24, 33, 72])
@each_target
def test_channels(channels, target):
    check(KERNEL, *gated((channels, 3, 5), 5, target))


@pytest.mark.parametrize("filters", [1, 8, 16, 17, 24, 40, 80])
@each_target
def test_panels(filters, target):
    """Each panel has gated filters of its own, whoever computes its first tile."""
    check(KERNEL, *gated((9, 4, 13), filters, target), splits=((1, 1), (3, -1), (7, 1)))


@pytest.mark.parametrize("x", [(5, 1, 1), (5, 1, 17), (5, 15, 2), (20, 7, 7), (6, 9, 31)])
@each_target
def test_maps(x, target):
    check(KERNEL, *gated(x, 18, target))


@each_target
def test_the_gate_may_come_first(target):
    check(KERNEL, *gated((7, 3, 4), 5, target, swapped=True))
    check(KERNEL, *gated((7, 1, 1), 5, target, swapped=True))


@each_target
def test_strides_and_steps_behind(target):
    attrs = Conv2dAttrs((2, 3))
    extras = (numbers(1, 6, 3, 3, seed=8), numbers(6, seed=9))
    check(
        KERNEL,
        *gated((11, 6, 8), 6, target, attrs=attrs, behind=("silu", "add", "prelu"), extras=extras),
    )


@each_target
def test_whole_numbers_are_exact(target):
    site, arrays = gated((37, 5, 9), 33, target, values=whole)
    x, gate, w, bias = (a.astype(np.float64) for a in arrays)
    exact = np.einsum("nchw,oc->nohw", x * gate, w[:, :, 0, 0]) + bias[None, :, None, None]
    np.testing.assert_array_equal(check(KERNEL, site, arrays), exact.astype(np.float32))


@each_target
def test_chains_that_are_cut(target):
    check(KERNEL, *gated((600, 2, 3), 20, target), splits=((1, 1),), proven=False)


def test_zeros_and_numbers_that_are_not_finite():
    site, arrays = gated((20, 2, 3), 5, WIDE)
    arrays[1].reshape(-1)[:3] = 0.0, np.inf, np.nan
    assert np.isnan(check(KERNEL, site, arrays)).all()
    arrays[1][:] = 0.0
    same = np.broadcast_to(arrays[3][None, :, None, None], (1, 5, 2, 3))
    np.testing.assert_array_equal(check(KERNEL, site, arrays), same)


@pytest.mark.native
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_machine_code(data):
    """Random shapes, compiled for this machine."""
    draw = data.draw
    size = draw(st.integers(1, 70)), draw(st.integers(1, 9)), draw(st.integers(1, 33))
    stride = draw(st.integers(1, 3))
    target = host_target()
    site, arrays = gated(size, draw(st.integers(1, 70)), target, attrs=Conv2dAttrs((stride,) * 2))
    check(KERNEL, site, arrays, runner=Native(target))


def test_the_estimate_is_the_convolution_and_its_filters():
    """The more pixels, the more it saves; of few pixels the map is the one to multiply."""

    def saved(size: int) -> float:
        site, _ = gated((480, size, size), 80, WIDE)
        apart = [
            replace(site, steps=site.steps[:1], result=site.types[0], out=site.layouts[0]),
            replace(site, steps=(replace(site.steps[1], args=(0, 2, 3)),)),
        ]
        kernels = Pointwise(), ConvDirect()
        alone = sum(k.estimate(s).seconds for k, s in zip(kernels, apart, strict=True))
        assert KERNEL.estimate(site).seconds > kernels[1].estimate(apart[1]).seconds
        return alone - KERNEL.estimate(site).seconds

    assert saved(28) > saved(14) > saved(7)


def test_one_function_for_several_depths():
    """Calls differ in what they are told, not in the code."""
    nests = Nests()
    launches = [KERNEL.lower(gated((n, 4, 14), 40, WIDE)[0])[0] for n in (48, 96)]
    assert len({nests.named("test", launch).name for launch in launches}) == 1
    assert [launch.args[-2] for launch in launches] == [3, 6]


def test_refusals():
    site, _ = gated((20, 3, 4), 5, WIDE)
    conv = site.steps[1]
    assert KERNEL.refuses(site) == ""

    def refused(**changes) -> str:
        return KERNEL.refuses(replace(site, **changes))

    assert "no convolution" in refused(steps=site.steps[:1])
    own = replace(conv, args=(0, *conv.args[1:]))
    assert "no convolution" in refused(steps=(site.steps[0], own))
    grouped = replace(conv, attrs=Conv2dAttrs(groups=5))
    assert "one group" in refused(steps=(site.steps[0], grouped))
    again = (*site.steps, replace(site.steps[0], args=(~1, ~0)))
    assert "read again" in refused(steps=again)
    same = replace(site.steps[0], args=(1, 1))
    assert "gates a map" in refused(steps=(same, conv))
    fixed = (None, np.ones((1, 20, 1, 1), np.float32), *site.constants[2:])
    assert "gates a map" in refused(constants=fixed)
    two_maps = (site.types[0], site.types[0], *site.types[2:])
    assert "gates a map" in refused(types=two_maps)
    assert "run time" in refused(constants=(None,) * 4)
    for gate, words in (
        (blocked((1, 20, 1, 1), 16, segments=(4, 16)), "other segments"),
        (blocked((1, 20, 1, 1), 4), "other blocks"),
        (blocked((1, 20, 1, 1), 16, halo=(1, 0, 0, 0)), "a halo"),
    ):
        assert words in KERNEL.refuses(gated((20, 3, 4), 5, WIDE, gate=gate)[0])
    parts = {"segments": (4, 16), "gate": blocked((1, 20, 1, 1), 16, segments=(4, 16))}
    assert "left out" in KERNEL.refuses(gated((20, 3, 4), 5, WIDE, **parts)[0])
