"""Strided convolutions of few channels over phases: edges, pools, where the input lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.ir.types import f32
from cnncc.kernels.winograd.conv_phases import ConvPhases, phase_shape, phases_pay
from cnncc.kernels.winograd.phase_choice import phase_choice
from cnncc.kernels.winograd.phase_nest import cut, pack_phases
from cnncc.llvm.host import missing
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Shuffle
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target, interpret
from tests.kernels.native import Native

KERNEL = ConvPhases()
WIDE = find("x86-64-v4")
STEM = Conv2dAttrs((2, 2), (3, 3, 3, 3))
POOL = ("max_pool2d", MaxPool2dAttrs((3, 3), (2, 2), (1, 1, 1, 1)))
CEIL = ("max_pool2d", MaxPool2dAttrs((3, 3), (2, 2), (0, 0, 0, 0), True))


def _stem(size: tuple[int, int, int], filters: int = 5, **more) -> Conv:
    return Conv(size, filters, (7, 7), STEM, outside=True, **more)


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 12, 13])
@pytest.mark.parametrize("columns", [3, 11, 12, 14])
def test_maps_around_the_tiles(rows, columns):
    run(KERNEL, _stem((3, rows, columns)), TARGETS[(rows + columns) % 3])


@pytest.mark.parametrize("columns", [90, 96, 97, 200])
@each_target
def test_rows_around_whole_vectors_of_tiles(columns, target):
    run(KERNEL, _stem((1, 4, columns), 2), target)


@pytest.mark.parametrize(
    ("kernel", "strides"),
    [((5, 5), (2, 2)), ((6, 7), (2, 2)), ((11, 11), (4, 4)), ((8, 9), (2, 3)), ((7, 7), (3, 2))],
    ids=str,
)
@each_target
def test_windows_and_strides(kernel, strides, target):
    conv = Conv((2, 19, 23), 3, kernel, Conv2dAttrs(strides, (2, 1, 0, 3)), outside=True)
    run(KERNEL, conv, target)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("filters", [1, 16, 17, 70])
def test_channels_and_filters(channels, filters):
    run(KERNEL, _stem((channels, 9, 10), filters), TARGETS[filters % 3])


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (6, 6, 6, 6), (0, 2, 5, 1)], ids=str)
def test_paddings(pads):
    conv = Conv((3, 14, 15), 5, (7, 7), Conv2dAttrs((2, 2), pads), outside=True)
    run(KERNEL, conv, WIDE)


@pytest.mark.parametrize("halo", [(0, 0, 0, 0), (2, 1, 3, 5)], ids=str)
def test_planes_of_the_network(halo):
    conv = Conv((3, 12, 17), 5, (7, 7), STEM, block=1, halo=halo, out_halo=(1, 1, 2, 2))
    for target in TARGETS:
        run(KERNEL, conv, target)


@pytest.mark.parametrize("pool", [POOL, CEIL], ids=["padded", "ceil"])
@pytest.mark.parametrize("size", [(7, 7), (18, 18), (20, 22), (23, 26), (31, 9)], ids=str)
@each_target
def test_overlapping_pools(pool, size, target):
    run(KERNEL, _stem((2, *size), 18, steps=chain(3, "relu", pool)), target)


@pytest.mark.parametrize(
    "attrs",
    [
        MaxPool2dAttrs((2, 2), (2, 2)),
        MaxPool2dAttrs((3, 2), (3, 1), (1, 0, 1, 1)),
        MaxPool2dAttrs((2, 3), (1, 3), (1, 2, 0, 0), True),
        MaxPool2dAttrs((1, 1), (2, 2)),
        MaxPool2dAttrs((3, 3), (1, 1), (2, 2, 2, 2)),
    ],
    ids=str,
)
def test_other_pools(attrs):
    for target, size in zip(TARGETS, ((25, 30), (24, 20), (13, 41)), strict=True):
        run(KERNEL, _stem((1, *size), 3, steps=chain(3, ("max_pool2d", attrs))), target)


def test_a_long_epilogue_and_a_residual():
    steps = chain(3, "silu", "add", ("clip", ClipAttrs(-1.0, 2.0)))
    conv = _stem((3, 13, 15), 18, steps=steps, extras=(numbers(1, 18, 7, 8),))
    for target in TARGETS:
        run(KERNEL, conv, target)
        run(KERNEL, replace(conv, in_place=3, bias=True), target)


def test_numbers_that_are_not_finite_stay_in_their_tiles():
    made = run(KERNEL, _stem((3, 40, 40), values="special"), WIDE)
    assert np.isfinite(made).any()
    assert not np.isfinite(made).all()


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_on_machine_code(seed):
    rng = np.random.default_rng(seed)
    target = TARGETS[seed % 3]
    if missing(target):
        pytest.skip(f"this machine has no {target.name}")
    kernel, stride = ((5, 2), (7, 2), (11, 4), (8, 2), (9, 3))[rng.integers(5)]
    size = int(rng.integers(1, 5)), *(int(n) for n in rng.integers(kernel, 90, 2))
    pads = tuple(int(n) for n in rng.integers(0, kernel, 4))
    attrs = Conv2dAttrs((stride, stride), pads)
    steps = chain(3, "relu", POOL) if rng.integers(2) and min(size[1:]) > 3 * stride else ()
    conv = Conv(
        size, int(rng.integers(1, 70)), (kernel, kernel), attrs, steps=steps, outside=True,
        seed=seed,
    )  # fmt: skip
    run(KERNEL, conv, target, Native(target))


REFUSED = {
    "stride 1": (Conv((3, 9, 9), 4, (7, 7), Conv2dAttrs(pads=(3, 3, 3, 3)), outside=True), "no tr"),
    "3x3": (Conv((3, 9, 9), 4, (3, 3), Conv2dAttrs((2, 2)), outside=True), "no transform"),
    "channels": (Conv((5, 9, 9), 4, (7, 7), STEM, outside=True), "no transform"),
    "groups": (
        Conv((2, 9, 9), 4, (7, 7), Conv2dAttrs((2, 2), (3, 3, 3, 3), groups=2), outside=True),
        "groups",
    ),
    "blocks": (Conv((3, 9, 9), 4, (7, 7), STEM), "does not lie in planes"),
    "means": (_stem((3, 9, 9), steps=chain(3, ("avg_pool2d", AvgPool2dAttrs((2, 2), (2, 2))))),
              "maxima only"),
    "tall windows": (
        _stem((3, 40, 40), steps=chain(3, ("max_pool2d", MaxPool2dAttrs((5, 5), (2, 2))))),
        "more rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    conv, reason = REFUSED[name]
    assert reason in KERNEL.refuses(conv.site(WIDE))


def test_filters_that_are_not_finite_are_refused():
    site = _stem((3, 9, 9)).site(WIDE)
    spoilt = np.full_like(site.constants[1], np.inf)
    site = replace(site, constants=(site.constants[0], spoilt, *site.constants[2:]))
    assert "not finite" in KERNEL.refuses(site)


def test_it_pays_for_large_windows_only():
    types = [f32(1, 3, 224, 224), f32(64, 3, 7, 7)]
    for target in TARGETS:
        assert phases_pay(target, STEM, types)
    small = [f32(1, 3, 224, 224), f32(64, 3, 3, 3)]
    assert not phases_pay(WIDE, Conv2dAttrs((2, 2), (1, 1, 1, 1)), small)


def test_filters_of_one_tap_are_a_column_of_the_transform():
    """Only phase (1, 0) of a filter with one tap at (1, 0) is not zero."""
    conv = _stem((1, 9, 9), 1, bias=False)
    site = conv.site(WIDE)
    tap = np.zeros((1, 1, 7, 7), np.float32)
    tap[0, 0, 1, 0] = 1.0
    site = replace(site, constants=(None, tap))
    choice = phase_choice(WIDE, phase_shape(WIDE, STEM, list(site.types)))
    packed = pack_phases(site, choice).reshape(choice.planes, choice.depth, -1)
    first = choice.vertical.core.filter_matrix[:, 0]
    wanted = np.outer(first, choice.horizontal.core.filter_matrix[:, 0]).reshape(-1)
    np.testing.assert_allclose(packed[:, 2, 0], wanted, rtol=1e-6)
    packed[:, 2, 0] = 0
    assert not packed.any()


@pytest.mark.parametrize(
    ("step", "lanes", "shuffles"),
    [(1, 4, 0), (2, 4, 2), (5, 4, 20), (6, 16, 18), (8, 4, 24), (9, 8, 36), (16, 8, 64)],
)
def test_every_so_manyth_lane(step, lanes, shuffles):
    source = np.arange(step * lanes, dtype=np.float32)
    b = Builder("f")
    x = b.buffer("x", extent=source.size)
    out = b.buffer("out", extent=source.size, writable=True)
    vectors = [b.load(x, v * lanes, lanes) for v in range(step)]
    for number, value in enumerate(cut(b, vectors, lanes)):
        b.store(out, number * lanes, value)
    made = np.zeros_like(source)
    interpret(b.func, [source, made])
    for first, line in enumerate(made.reshape(step, lanes)):
        np.testing.assert_array_equal(line, source[first::step])
    assert sum(isinstance(s, Shuffle) for s in b.func.body) == shuffles
