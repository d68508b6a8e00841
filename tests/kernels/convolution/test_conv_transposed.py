"""Transposed convolution: phases, geometry of every kind, and what it refuses."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_transposed import ConvTransposed, axis_phases
from cnncc.ops.conv import Conv2dTransposeAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, blocked, each_target

KERNEL = ConvTransposed()


def deconv(x, filters=5, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), **more):
    given = {k: more.pop(k) for k in ("dilations", "groups", "output_pads") if k in more}
    attrs = Conv2dTransposeAttrs(strides=strides, pads=pads, **given)
    return Conv(x, filters, kernel, attrs, **more)


@pytest.mark.parametrize("channels", [1, 4, 5, 16, 17, 33])
@pytest.mark.parametrize("filters", [1, 4, 17])
def test_channels_around_the_lanes(channels, filters):
    run(KERNEL, deconv((channels, 2, 3), filters), TARGETS[(channels + filters) % 3])


GEOMETRIES = {
    "one pixel": deconv((3, 1, 1), kernel=(3, 3)),
    "stride 1": deconv((3, 3, 4), kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1)),
    "3x3/2": deconv((3, 3, 4), kernel=(3, 3), pads=(1, 1, 1, 1), output_pads=(1, 1)),
    "4x4/2": deconv((3, 3, 4), kernel=(4, 4), pads=(1, 1, 1, 1)),
    "stride beyond the kernel": deconv((3, 3, 4), kernel=(2, 1), strides=(3, 4)),
    "only gaps in a phase": deconv((3, 2, 2), kernel=(1, 1), strides=(3, 3), output_pads=(2, 2)),
    "strides differ": deconv((3, 4, 3), kernel=(3, 2), strides=(1, 3), pads=(0, 1, 1, 0)),
    "asymmetric padding": deconv((3, 4, 4), kernel=(4, 3), pads=(2, 0, 1, 1)),
    "padding beyond the kernel": deconv((3, 4, 4), kernel=(2, 2), pads=(3, 2, 2, 3)),
    "dilation": deconv((3, 3, 3), kernel=(3, 3), dilations=(2, 3), strides=(1, 1)),
    "dilation and stride": deconv((3, 3, 3), kernel=(3, 2), dilations=(2, 3), strides=(2, 2)),
    "even dilation and stride": deconv((2, 3, 3), kernel=(3, 3), dilations=(4, 2), strides=(2, 4)),
    "1 x n": deconv((3, 1, 4), kernel=(1, 3), strides=(1, 2)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_geometry(name, target):
    run(KERNEL, GEOMETRIES[name], target)
    run(KERNEL, replace(GEOMETRIES[name], bias=False, out_halo=(1, 0, 2, 1)), target)


def test_groups():
    target = find("x86-64")
    run(KERNEL, deconv((8, 2, 3), 8, groups=2), target)
    segments = {"segments": (3, 3), "out_segments": (5, 5)}
    run(KERNEL, deconv((6, 2, 3), 10, groups=2, **segments), target)
    ones = {"segments": (1, 1, 1), "out_segments": (1, 1, 1)}
    run(KERNEL, deconv((3, 2, 3), 3, groups=3, kernel=(3, 3), **ones), target)


@each_target
def test_epilogues(target):
    """A phase's pixels lie a stride apart; so do the residual's."""
    extras = (numbers(1, 5, 6, 6), numbers(1, 5, 1, 1), numbers(5))
    steps = chain(3, "add", "mul", "prelu", "sigmoid")
    run(KERNEL, deconv((3, 3, 3), steps=steps, extras=extras), target)
    gaps = deconv((3, 2, 2), kernel=(1, 1), strides=(3, 3), output_pads=(2, 2), extras=extras)
    run(KERNEL, replace(gaps, steps=steps), target)


def test_in_place():
    conv = deconv((3, 3, 3), steps=chain(3, "add"), extras=(numbers(1, 5, 6, 6),), in_place=3)
    for target in TARGETS:
        run(KERNEL, conv, target)


@each_target
def test_nan_and_infinities(target):
    result = run(KERNEL, deconv((5, 3, 4), values="special", steps=chain(3, "relu")), target)
    assert np.isnan(result).any()
    assert np.isfinite(result).any()


def test_phases_are_the_definition():
    """Each (input, kernel row) pair reaches the result row that the definition says."""
    for stride, dilation, pad, kernel, n in itertools.product(
        (1, 2, 3, 4), (1, 2, 3), (0, 1, 2), (1, 2, 3, 5), (1, 4)
    ):
        extent = (n - 1) * stride + dilation * (kernel - 1) + 1 - pad
        if extent < 1:
            continue
        reached = set()
        step = dilation // np.gcd(stride, dilation)
        phases = axis_phases(stride, dilation, pad, kernel, extent)
        assert sum(p.extent for p in phases) == extent
        for p in phases:
            for q, (t, tap) in itertools.product(range(p.extent), enumerate(p.taps)):
                iy = p.first + q - t * int(step)
                if 0 <= iy < n:
                    reached.add((iy, tap, q * stride + p.phase))
        defined = {
            (iy, k, iy * stride - pad + k * dilation) for iy in range(n) for k in range(kernel)
        }
        assert reached == {d for d in defined if 0 <= d[2] < extent}


def test_phases_of_equal_size_share_their_code():
    site = deconv((3, 4, 4), kernel=(4, 4), pads=(1, 1, 1, 1)).site(TARGETS[0])
    launches = KERNEL.lower(site)
    assert len(launches) == 4
    assert len({str([type(s) for s in x.func.body]) for x in launches}) == 1


def test_refusals():
    target = find("avx2")
    site = deconv((8, 3, 3), 8, (3, 3), pads=(0, 0, 0, 0)).site(target)
    assert KERNEL.refuses(site) == ""
    bare = replace(site, layouts=(blocked((1, 8, 3, 3), 8), None, None))
    assert "halo" in KERNEL.refuses(bare)
    assert "run time" in KERNEL.refuses(replace(site, constants=(None,) * 3))
    grouped = deconv((8, 3, 3), 8, groups=2).site(target)
    assert "block boundary" in KERNEL.refuses(grouped)


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_what_the_choice_is_explained_with(name, target):
    """Cycles are of all phases, also those that other tiles would take: none is quicker."""
    figures = KERNEL.estimate(GEOMETRIES[name].site(target)).figures
    assert 0 < figures["utilisation"] <= 1
    others = [c for word, c in figures.items() if word.startswith("cycles of")]
    assert all(c >= figures["cycles"] for c in others)
