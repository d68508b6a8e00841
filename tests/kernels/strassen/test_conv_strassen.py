"""1x1 convolution with seven products: pairs of every shape, what is fused, how far it rounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.strassen import strassen_pairs
from cnncc.kernels.strassen.conv_strassen import ConvStrassen, rounding_of
from cnncc.kernels.strassen.strassen_pairs import choose_pairing
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target

KERNEL = ConvStrassen()
WIDE = find("x86-64-v4")


def product(target, size=(4, 5), ins=2, outs=2, **more):
    """A 1x1 convolution of so many blocks of channels, the last output block not full."""
    lanes = target.lanes()
    attrs = more.pop("attrs", Conv2dAttrs())
    rows = (size[0] - 1) * attrs.strides[0] + 1
    columns = (size[1] - 1) * attrs.strides[1] + 1
    return Conv((ins * lanes, rows, columns), outs * lanes - 1, (1, 1), attrs, **more)


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 7, 9])
@pytest.mark.parametrize("columns", [1, 6, 7, 15, 29])
def test_maps_around_the_pairs(rows, columns):
    run(
        KERNEL,
        product(TARGETS[(rows + columns) % 3], (rows, columns)),
        TARGETS[(rows + columns) % 3],
    )


@each_target
def test_a_last_row_without_partner_below_a_pair(target):
    """Seven rows in pairs of two: the last three are a pair of single rows and one more."""
    size = next(
        (7, columns)
        for columns in range(2, 8)
        if choose_pairing(target, 7, columns, 2, 4).tile.rows == 2
    )
    run(KERNEL, product(target, size, 2, 4), target)


@pytest.mark.parametrize("ins", [2, 4, 6])
@pytest.mark.parametrize("outs", [1, 2, 3, 4, 6, 7])
def test_channels(ins, outs):
    target = TARGETS[(ins // 2 + outs) % 3]
    run(KERNEL, product(target, (5, 4), ins, outs), target)


@pytest.mark.parametrize("strides", [(2, 2), (1, 3), (2, 1)], ids=str)
@each_target
def test_strides_and_halos(strides, target):
    conv = product(target, (5, 7), attrs=Conv2dAttrs(strides), halo=(1, 2, 0, 1))
    run(KERNEL, replace(conv, out_halo=(2, 1, 1, 0)), target)


@pytest.mark.parametrize("segments", [(32, 32), (19, 29)], ids=str)
def test_segments(segments):
    conv = Conv((sum(segments), 5, 7), 40, (1, 1), bias=False, segments=segments)
    run(KERNEL, replace(conv, out_segments=(17, 23)), WIDE)


@pytest.fixture
def short_bands(monkeypatch):
    monkeypatch.setattr(strassen_pairs, "_BAND_BYTES", 1000)
    choose_pairing.cache_clear()
    yield
    choose_pairing.cache_clear()


@pytest.mark.usefixtures("short_bands")
@each_target
def test_more_rows_than_a_band(target):
    conv = product(target, (15, 14), 2, 4)
    choice = choose_pairing(target, 15, 14, 2, 4)
    assert 2 * choice.tile.rows * choice.band < 15
    run(KERNEL, conv, target)


@each_target
def test_epilogues_with_a_residual_in_place(target):
    conv = product(target, (5, 6))
    residual = numbers(1, conv.filters, 5, 6)
    for names in (("add", "relu"), ("silu", "add")):
        fused = replace(conv, steps=chain(3, *names), extras=(residual,), out_halo=(1, 1, 2, 2))
        run(KERNEL, fused, target)
        run(KERNEL, replace(fused, in_place=3), target)


def test_numbers_that_are_not_finite_reach_partners_only():
    made = run(KERNEL, product(WIDE, (6, 9), values="special"), WIDE)
    assert np.isfinite(made).any()
    assert not np.isfinite(made).all()


@each_target
def test_whole_numbers_are_exact(target):
    conv = product(target, (7, 6), 4, 2, values="whole", bias=False)
    made = run(KERNEL, conv, target)
    x, w = (a.astype(np.float64) for a in conv.arrays())
    np.testing.assert_array_equal(made, np.einsum("oc,nchw->nohw", w[:, :, 0, 0], x[:, :, :7, :6]))


REFUSED = {
    "window": (product(WIDE), {"kernel": (3, 3)}, "no product of two matrices"),
    "padding": (product(WIDE), {"attrs": Conv2dAttrs(pads=(1, 1, 1, 1))}, "no product"),
    "narrow": (product(WIDE), {"x": (3, 4, 5), "narrow": True}, "narrow"),
    "odd inputs": (product(WIDE, ins=3), {}, "halves"),
    "one row": (product(WIDE, (1, 9)), {}, "single row"),
    "pool": (
        product(WIDE),
        {"steps": chain(3, ("max_pool2d", MaxPool2dAttrs((2, 2), (2, 2))))},
        "does not pool",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    conv, change, reason = REFUSED[name]
    assert reason in KERNEL.refuses(replace(conv, **change).site(WIDE))


def test_filters_that_are_not_finite_are_refused():
    site = product(WIDE).site(WIDE)
    spoilt = np.array(site.constants[1])
    spoilt[0, 0, 0, 0] = np.nan
    site = replace(site, constants=(site.constants[0], spoilt, *site.constants[2:]))
    assert "not finite" in KERNEL.refuses(site)


def test_the_bound_is_that_of_the_pair():
    lanes = WIDE.lanes()
    conv = product(WIDE, (2, 1), bias=False)
    site = conv.site(WIDE)
    x, w = np.zeros((1, 2 * lanes, 2, 1)), np.zeros((2 * lanes - 1, 2 * lanes, 1, 1))
    x[0, 3, 1, 0], w[5, lanes + 3] = 2.0, 3.0
    bound = KERNEL.algorithm(site)("conv2d", conv.attrs, [x, w])
    expected = 2.0**-24 * rounding_of(2 * lanes) * 6
    np.testing.assert_array_equal(np.flatnonzero(bound[0, :, 0, 0]), [5, lanes + 5])
    np.testing.assert_allclose(bound[0, [5, lanes + 5]], expected)
    x[0, 0, 0, 0] = np.nan
    assert np.isposinf(KERNEL.algorithm(site)("conv2d", conv.attrs, [x, w])).all()
    assert KERNEL.algorithm(site)("relu", None, [x]) is None


def test_it_is_chosen_where_channels_are_many():
    deep = Conv((512, 14, 14), 256, (1, 1), Conv2dAttrs()).site(WIDE)
    assert KERNEL.estimate(deep).seconds < ConvDirect().estimate(deep).seconds
    flat = Conv((64, 14, 14), 64, (1, 1), Conv2dAttrs()).site(WIDE)
    assert KERNEL.estimate(flat).seconds > ConvDirect().estimate(flat).seconds


def test_few_panels_wait_for_their_filters():
    """The first panel's filters come late, and there are not many behind it."""
    for outs, pays in ((128, False), (512, True)):
        site = Conv((832, 7, 7), outs, (1, 1), Conv2dAttrs()).site(WIDE)
        assert (KERNEL.estimate(site).seconds < ConvDirect().estimate(site).seconds) is pays


def test_work_falls_into_halves():
    """One band of the only pair of panels would leave the second of two threads without work."""
    for outs in (4, 12):
        site = Conv((512, 14, 14), outs * WIDE.lanes(), (1, 1), Conv2dAttrs()).site(WIDE)
        (launch,) = KERNEL.lower(site)
        larger = -(-launch.work // 2)
        assert larger <= 4 / 7 * launch.work
