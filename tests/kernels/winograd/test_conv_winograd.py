"""Convolution by minimal filtering: every edge of tiles, what is fused, and how far it rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.ir.types import f32
from cnncc.kernels.winograd.conv_winograd import (
    ConvWinograd,
    winograd_halo,
    winograd_shape,
)
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target, reference

KERNEL = ConvWinograd()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
ROOM = (0, 0, 8, 8)  # a halo in which whole tiles of every size fit
WIDE = find("x86-64-v4")


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9])
@pytest.mark.parametrize("columns", [1, 2, 4, 6, 7, 13])
def test_maps_around_the_tiles(rows, columns):
    target = TARGETS[(rows + columns) % 3]
    run(KERNEL, Conv((5, rows, columns), 6, attrs=SAME, halo=ROOM), target)


@pytest.fixture
def small_tiles(monkeypatch):
    """The quickest choice that has smaller tiles at the edges."""

    def choices(site):
        found = winograd_choices(site.target, winograd_shape(site))
        return [next(choice for choice in found if any(choice.fringe))]

    monkeypatch.setattr(ConvWinograd, "_choices", staticmethod(choices))


@pytest.mark.parametrize("rows", [5, 6, 7, 8, 14])
@pytest.mark.parametrize("columns", [5, 9, 10])
def test_smaller_tiles_at_the_edges(small_tiles, rows, columns):
    """At the lower edge, at the right one and at both, with one or two results."""
    target = TARGETS[(rows + columns) % 3]
    run(KERNEL, Conv((5, rows, columns), 6, attrs=SAME, halo=ROOM, out_halo=(1, 0, 2, 3)), target)


@each_target
def test_smaller_tiles_and_what_follows(small_tiles, target):
    conv = Conv((33, 6, 10), 18, attrs=SAME, halo=ROOM)
    residual = (numbers(1, 18, 6, 10),)
    run(KERNEL, replace(conv, steps=chain(3, "add", "silu"), extras=residual), target)
    pool = chain(3, "relu", ("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))))
    run(KERNEL, replace(conv, steps=pool), target)
    run(KERNEL, replace(conv, attrs=Conv2dAttrs(pads=(0, 2, 4, 0))), target)
    run(KERNEL, replace(conv, values="special"), target)


@pytest.mark.parametrize("kernel", [(1, 3), (3, 1)], ids=str)
def test_smaller_tiles_of_one_axis(small_tiles, kernel):
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    for target in TARGETS:
        run(KERNEL, Conv((3, 9, 10), 5, kernel, Conv2dAttrs(pads=pads), halo=ROOM), target)


@pytest.mark.parametrize("channels", [1, 4, 15, 17, 33])
@pytest.mark.parametrize("filters", [1, 16, 33])
def test_channels_around_the_lanes(channels, filters):
    target = TARGETS[(channels + filters) % 3]
    run(KERNEL, Conv((channels, 5, 6), filters, attrs=SAME, halo=ROOM), target)


@pytest.mark.parametrize(
    "kernel", [(1, 3), (3, 1), (5, 1), (1, 5), (1, 7), (7, 1), (5, 5), (3, 5)], ids=str
)
@each_target
def test_windows(kernel, target):
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    conv = Conv((3, 9, 10), 5, kernel, Conv2dAttrs(pads=pads), halo=ROOM)
    run(KERNEL, conv, target)


@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 3), (5, 5)], ids=str)
@pytest.mark.parametrize("size", [(9, 12), (7, 7), (3, 20)], ids=str)
def test_strides(strides, kernel, size):
    target = TARGETS[sum(size) % 3]
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    conv = Conv((4, *size), 6, kernel, Conv2dAttrs(strides, pads), halo=ROOM)
    if winograd_choices(target, winograd_shape(conv.site(target))):
        run(KERNEL, conv, target)


@pytest.mark.parametrize("dilations", [(2, 2), (4, 3), (1, 5), (8, 2)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 3), (3, 1), (5, 5)], ids=str)
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 9), (12, 31)], ids=str)
def test_dilations(dilations, kernel, size):
    """Phases of like and of different numbers of rows and columns."""
    target = TARGETS[(sum(size) + sum(dilations)) % 3]
    pads = tuple(k // 2 * d for k, d in zip(kernel, dilations, strict=True)) * 2
    attrs = Conv2dAttrs((1, 1), pads, dilations)
    conv = Conv((3, *size), 5, kernel, attrs, halo=(0, 0, 64, 64), out_halo=(1, 0, 2, 3))
    if winograd_choices(target, winograd_shape(conv.site(target))):
        run(KERNEL, conv, target)


@pytest.mark.parametrize("pads", [(0, 1, 0, 3), (3, 2, 4, 0)], ids=str)
def test_dilations_with_other_paddings_and_what_follows(pads):
    """Numbers that are not finite stay in the tiles of their phase."""
    attrs = Conv2dAttrs((1, 1), pads, (2, 3))
    rows, columns = 14 + pads[0] + pads[2] - 4, 19 + pads[1] + pads[3] - 6
    steps = chain(3, "add", "silu")
    extras = (numbers(1, 18, rows, columns),)
    conv = Conv(
        (6, 14, 19), 18, attrs=attrs, steps=steps, extras=extras, halo=(0, 0, 32, 32),
        out_halo=(1, 1, 2, 2),
    )  # fmt: skip
    for target in TARGETS:
        run(KERNEL, conv, target)
    made = run(KERNEL, replace(conv, steps=(), extras=(), values="special"), WIDE)
    assert np.isfinite(made).any()
    assert not np.isfinite(made).all()


def test_a_dilated_convolution_refuses_strides_and_pools():
    strided = Conv((4, 16, 16), 4, attrs=Conv2dAttrs((2, 2), (2, 2, 2, 2), (2, 2)), halo=ROOM)
    assert "no transform" in KERNEL.refuses(strided.site(WIDE))
    steps = chain(3, ("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))))
    same = Conv2dAttrs((1, 1), (2, 2, 2, 2), (2, 2))
    pooled = Conv((4, 16, 16), 4, attrs=same, halo=ROOM, steps=steps)
    assert "no transform" in KERNEL.refuses(pooled.site(WIDE))


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (2, 0, 1, 3), (4, 4, 4, 4), (0, 2, 3, 0)], ids=str)
def test_paddings(pads):
    run(KERNEL, Conv((4, 6, 7), 5, attrs=Conv2dAttrs(pads=pads), halo=ROOM), WIDE)


@pytest.mark.parametrize("sums", [1, 2, 3])
@pytest.mark.parametrize("spare", [0, 1, 9])
@each_target
def test_sums_in_pieces(monkeypatch, sums, spare, target):
    """Four blocks, the last one not full, summed in memory, by blocks and by turns."""
    lanes = target.lanes()
    conv = Conv((4 * lanes - min(spare, lanes - 1), 5, 4), lanes, attrs=SAME, halo=ROOM)
    choice = replace(KERNEL._choices(conv.site(target))[0], sums=sums)
    monkeypatch.setattr(ConvWinograd, "_choices", lambda self, site: [choice])
    run(KERNEL, conv, target)


@pytest.mark.parametrize(("channels", "best"), [(64, 3), (128, 2)])
def test_more_registers_round_less(monkeypatch, channels, best):
    """F(4x4, 3x3) with sums in memory, of blocks and of turns."""
    conv = Conv((channels, 8, 8), 16, attrs=SAME, halo=ROOM, bias=False)
    site = conv.site(WIDE)
    exact, _ = reference(site, conv.arrays())
    choice = next(c for c in KERNEL._choices(site) if c.sums == best and c.planes == 36)
    gaps = []
    for sums in (1, best):
        used = replace(choice, sums=sums)
        monkeypatch.setattr(ConvWinograd, "_choices", lambda self, site, used=used: [used])
        gaps.append(float(np.linalg.norm(run(KERNEL, conv, WIDE) - exact)))
    assert gaps[1] < 0.95 * gaps[0]


def test_more_tiles_than_go_together():
    for target in TARGETS:
        conv = Conv((2, 21, 42), 3, attrs=SAME, halo=ROOM, bias=False)
        choice = winograd_choices(target, winograd_shape(conv.site(target)))[0]
        assert choice.block < choice.tiles
        run(KERNEL, conv, target)


def test_groups_and_segments():
    grouped = Conv2dAttrs(pads=(1, 1, 1, 1), groups=2)
    lanes = WIDE.lanes()
    run(KERNEL, Conv((2 * lanes, 5, 5), 2 * lanes, attrs=grouped, halo=ROOM), WIDE)
    segments = Conv((10, 5, 5), 9, attrs=SAME, halo=ROOM, segments=(3, 7), out_segments=(4, 5))
    run(KERNEL, segments, WIDE)


def test_epilogue_with_a_residual_in_place():
    steps = chain(3, "add", "relu", ("clip", ClipAttrs(-1.0, 2.0)))
    conv = Conv(
        (6, 7, 9), 18, attrs=SAME, steps=steps, extras=(numbers(1, 18, 7, 9),), halo=ROOM,
        out_halo=(1, 1, 2, 2),
    )  # fmt: skip
    for target in TARGETS:
        run(KERNEL, conv, target)
        run(KERNEL, replace(conv, in_place=3), target)


@pytest.mark.parametrize("pool", [("max_pool2d", MaxPool2dAttrs), ("avg_pool2d", AvgPool2dAttrs)])
@pytest.mark.parametrize("window", [(2, 2), (1, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (9, 5), (13, 14)], ids=str)
def test_pools(pool, window, size):
    name, attrs = pool
    steps = chain(3, "relu", (name, attrs(window, window)))
    target = TARGETS[sum(size) % 3]
    run(KERNEL, Conv((3, *size), 5, attrs=SAME, steps=steps, halo=ROOM), target)


def test_numbers_that_are_not_finite_stay_in_their_tiles():
    conv = Conv((4, 12, 12), 6, attrs=SAME, halo=ROOM, values="special")
    made = run(KERNEL, conv, WIDE)
    assert np.isfinite(made).any()
    assert not np.isfinite(made).all()


def test_integers_are_exact_with_two_outputs_a_tile():
    """F(2x2, 3x3) adds, subtracts and halves: whole numbers stay whole, up to quarters."""
    target, rng = WIDE, np.random.default_rng(5)
    conv = Conv((4, 2, 2), 5, attrs=SAME, halo=ROOM)
    site = conv.site(target)
    assert winograd_choices(target, winograd_shape(site))[0].vertical.outputs == 2
    whole = [rng.integers(-32, 33, a.shape).astype(np.float32) for a in conv.arrays()]

    class Whole(Conv):
        def arrays(self):
            return whole

    made = run(KERNEL, Whole(conv.x, conv.filters, attrs=SAME, halo=ROOM), target)
    assert (made == np.round(made)).all()


REFUSED = {
    "strides": (
        Conv((4, 8, 8), 4, attrs=Conv2dAttrs((3, 3), (1, 1, 1, 1)), halo=ROOM),
        "no transform",
    ),
    "1x1": (Conv((4, 8, 8), 4, (1, 1), Conv2dAttrs(), halo=ROOM), "no transform"),
    "narrow": (Conv((3, 8, 8), 4, attrs=SAME, halo=ROOM, narrow=True), "narrow"),
    "no room": (Conv((4, 7, 7), 4, attrs=SAME), "does not hold whole tiles"),
    "overlap": (
        Conv((4, 8, 8), 4, attrs=SAME, halo=ROOM,
             steps=chain(3, ("max_pool2d", MaxPool2dAttrs((3, 3), (2, 2))))),
        "overlap",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    conv, reason = REFUSED[name]
    assert reason in KERNEL.refuses(conv.site(WIDE))


def test_filters_that_are_not_finite_are_refused():
    site = Conv((4, 8, 8), 4, attrs=SAME, halo=ROOM).site(WIDE)
    spoilt = np.array(site.constants[1])
    spoilt[0, 0, 0, 0] = np.inf
    site = replace(site, constants=(site.constants[0], spoilt, *site.constants[2:]))
    assert "not finite" in KERNEL.refuses(site)


def test_the_halo_is_wanted_where_it_pays():
    types, result = (f32(1, 64, 14, 14), f32(64, 64, 3, 3)), f32(1, 64, 14, 14)
    assert winograd_halo(WIDE, SAME, types, result, (1, 1)) == (1, 1, 3, 3)
    few = (f32(1, 3, 14, 14), f32(64, 3, 3, 3))
    assert winograd_halo(WIDE, SAME, few, result, (1, 1)) == (0, 0, 0, 0)
    dilated = Conv2dAttrs((1, 1), (2, 2, 2, 2), (2, 2))
    assert winograd_halo(WIDE, dilated, types, result, (1, 1)) == (2, 2, 4, 4)
