"""Pools over windows and whole maps, alone and with steps behind them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.op import NoAttrs
from cnncc.kernels.maps.global_pool import GlobalPool
from cnncc.kernels.maps.pool import Pool2d
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.fused import Step
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.cases import single, site_of
from tests.kernels.harness import TARGETS, blocked, check, each_target, make_site
from tests.strategies import op_case

KERNELS = {name: k for k in (Pool2d(), GlobalPool()) for name in sorted(k.anchors)}


@pytest.mark.parametrize("values", ["float", "special", "integers"])
@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_random(name, values, data):
    case = data.draw(op_case(name, values).filter(single))
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    check(KERNELS[name], site_of(case, target, rng), case.arrays, splits=((1, 1), (3, -1)))


def numbers(*shape):
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def pooled(op, attrs, x, out, target, steps=(), others=(), kernel=None):
    lanes = target.lanes()
    layouts = [blocked(x.shape, lanes, halo=(1, 1, 1, 1))]
    layouts += [blocked(o.shape, lanes) if o.ndim == 4 else None for o in others]
    site = make_site(
        op, attrs, [x, *others], layouts, blocked(out, lanes, halo=(1, 0, 2, 1)), target,
        steps=steps,
    )  # fmt: skip
    return check(kernel or KERNELS[op], site, [x, *others])


@each_target
def test_negative_maxima_at_the_edges(target):
    """Zeros of the halo must lose against nothing."""
    x = -1 - np.abs(numbers(1, 19, 6, 7))
    attrs = MaxPool2dAttrs((3, 3), (2, 2), (1, 1, 1, 1))
    assert pooled("max_pool2d", attrs, x, (1, 19, 3, 4), target).max() < 0


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@each_target
def test_wide_windows(op, target):
    x = numbers(1, 5, 11, 23)
    kind = MaxPool2dAttrs if op == "max_pool2d" else AvgPool2dAttrs
    for window, strides, pads, out in (
        ((11, 23), (1, 1), (0, 0, 0, 0), (1, 1)),
        ((2, 13), (3, 1), (0, 6, 1, 6), (4, 23)),
        ((11, 9), (1, 9), (5, 4, 5, 4), (11, 3)),
        ((1, 1), (2, 3), (0, 0, 0, 0), (6, 8)),
        ((5, 5), (1, 1), (2, 2, 2, 2), (11, 23)),
        ((13, 13), (1, 1), (6, 6, 6, 6), (11, 23)),
        ((5, 7), (2, 3), (2, 0, 1, 5), (5, 8)),
        ((11, 2), (1, 1), (0, 1, 0, 1), (1, 24)),
    ):
        pooled(op, kind(window, strides, pads), x, (1, 5, *out), target)


def test_nan_and_infinity():
    x = numbers(1, 4, 5, 5)
    x[0, 0, 2, 2], x[0, 1, 0, 0], x[0, 2, 4, 4] = np.nan, np.inf, -np.inf
    x[0, 3] = -np.inf
    for target in TARGETS:
        attrs = MaxPool2dAttrs((3, 3), (1, 1), (1, 1, 1, 1))
        pooled("max_pool2d", attrs, x, (1, 4, 5, 5), target)
        pooled("global_max_pool", NoAttrs(), x, (1, 4, 1, 1), target)


@pytest.mark.parametrize("op", sorted(KERNELS))
def test_epilogue(op):
    x, slope = numbers(1, 21, 6, 6), numbers(21)
    shape = (1, 21, 1, 1) if op.startswith("global") else (1, 21, 3, 3)
    attrs = {
        "max_pool2d": MaxPool2dAttrs((2, 2), (2, 2)),
        "avg_pool2d": AvgPool2dAttrs((2, 2), (2, 2)),
    }.get(op, NoAttrs())
    steps = (
        Step("prelu", NoAttrs(), (~0, 1)),
        Step("add", NoAttrs(), (~1, 2)),
        Step("clip", ClipAttrs(0.5, 2.0), (~2,)),
    )
    for target in TARGETS:
        pooled(op, attrs, x, shape, target, steps, [slope, numbers(*shape)])


def test_refusals():
    x = numbers(1, 8, 4, 4)
    attrs = MaxPool2dAttrs((2, 2), (2, 2))
    target = find("avx2")
    sites = {
        "blocks": (blocked(x.shape, 4), blocked((1, 8, 2, 2), 8)),
        "segments": (blocked(x.shape, 8, segments=(3, 5)), blocked((1, 8, 2, 2), 8)),
        "result's": (blocked(x.shape, 8), blocked((1, 8, 2, 2), 16)),
    }
    for word, (source, out) in sites.items():
        site = make_site("max_pool2d", attrs, [x], [source], out, target)
        assert word in Pool2d().refuses(site)
