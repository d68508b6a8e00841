"""Filters that are transformed while they are multiplied: all windows, edges of tiles and runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.template import PackedArg
from cnncc.kernels.winograd.conv_winograd import ConvWinograd, winograd_shape
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_expand import run_blocks
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import SPLITS, Conv, chain, numbers
from tests.kernels.harness import check

KERNEL = ConvWinograd()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
ROOM = (0, 0, 8, 8)  # a halo in which whole tiles of every size fit
WIDE, ARM = find("x86-64-v4"), find("aarch64")
BOTH = pytest.mark.parametrize("target", [WIDE, ARM], ids=lambda t: t.name)


def _site(conv, target, outputs=None):
    """The site of the first choice that expands, with tiles of so many outputs if it is given."""
    site = conv.site(target)
    for pick, choice in enumerate(KERNEL._choices(site)):
        tile = (choice.vertical.outputs, choice.horizontal.outputs)
        if choice.expands and outputs in (None, tile):
            return replace(site, pick=pick)
    raise AssertionError("nothing expands filters")


def _run(conv, target, outputs=None):
    return check(KERNEL, _site(conv, target, outputs), conv.arrays(), splits=SPLITS)


@pytest.mark.parametrize("outputs", [(2, 2), (2, 4), (4, 2), (4, 4)], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (3, 7), (5, 4), (9, 13)], ids=str)
def test_maps_around_the_tiles(size, outputs):
    target = (WIDE, ARM)[sum(size) % 2]
    channels = 65 if outputs == (4, 4) else 17  # fewer of large tiles are summed by turns
    _run(Conv((channels, *size), 6, attrs=SAME, halo=ROOM), target, outputs)


@BOTH
@pytest.mark.parametrize("channels", [1, 17, 33, 64])
def test_channels_around_runs(channels, target):
    _run(Conv((channels, 5, 6), 17, attrs=SAME, halo=ROOM), target)


@BOTH
@pytest.mark.parametrize(
    "kernel", [(3, 3), (1, 3), (3, 1), (5, 5), (1, 5), (7, 1), (1, 7)], ids=str
)
def test_windows(kernel, target):
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    _run(Conv((4, 8, 11), 6, kernel, Conv2dAttrs(pads=pads), halo=ROOM), target)


@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5)], ids=str)
def test_strides(strides, kernel):
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    conv = Conv((20, 9, 12), 6, kernel, Conv2dAttrs(strides, pads), halo=ROOM)
    if strides[0] != strides[1]:
        assert winograd_choices(WIDE, winograd_shape(conv.site(WIDE))) == ()
    else:
        _run(conv, WIDE)


def test_groups_with_a_residual_and_a_pool():
    attrs = Conv2dAttrs(pads=(1, 1, 1, 1), groups=2)
    steps = chain(3, "add", "relu", ("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))))
    residual = numbers(1, 32, 9, 8)
    _run(Conv((32, 9, 8), 32, attrs=attrs, steps=steps, extras=(residual,), halo=ROOM), WIDE)


def test_integers_are_exact_with_two_outputs_a_tile():
    conv = Conv((20, 6, 5), 5, attrs=SAME, halo=ROOM, bias=False, values="whole")
    site = _site(conv, WIDE, (2, 2))
    made = check(KERNEL, site, conv.arrays(), splits=SPLITS)
    x, w = (a.astype(np.float64) for a in conv.arrays())
    seen = np.lib.stride_tricks.sliding_window_view(
        np.pad(x[0], ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2)
    )
    assert (made[0] == np.einsum("chwpq,ocpq->ohw", seen, w)).all()


def test_a_filter_takes_as_much_memory_as_its_taps():
    conv = Conv((80, 7, 7), 48, attrs=SAME, halo=ROOM)
    (launch,) = KERNEL.lower(_site(conv, WIDE, (4, 4)))
    sizes = [arg.array.size for arg in launch.args if isinstance(arg, PackedArg)]
    assert max(sizes) == 80 * 48 * 9


def test_runs_divide_the_channels_and_fit_a_cache():
    for blocks in (1, 2, 3, 7, 32, 60):
        for taps in (3, 9, 25, 49):
            run = run_blocks(WIDE, blocks, taps)
            assert blocks % run == 0
            assert run == 1 or run * taps * 16 * 64 < WIDE.l1_bytes
    assert run_blocks(WIDE, 32, 9) == 2
