"""Every pointwise operator as a loop nest of its own, chains of them, gates, and work in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.op import NoAttrs
from cnncc.kernels.maps.pointwise import Pointwise
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.fused import Step
from cnncc.ops.norm import BatchNormAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.cases import map_case, site_of, takes_maps
from tests.kernels.harness import TARGETS, blocked, check, each_target, interpret, make_site
from tests.strategies import GENERAL


@pytest.mark.parametrize("values", ["float", "special"])
@pytest.mark.parametrize(
    "name", sorted(n for n in Pointwise.anchors if n not in GENERAL or takes_maps(n))
)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_random(name, values, data):
    case = data.draw(map_case(name, values))
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    in_place = 0 if data.draw(st.booleans()) else None
    if case.arrays[0].shape != np.broadcast_shapes(*(a.shape for a in case.arrays if a.ndim > 1)):
        in_place = None
    site = site_of(case, target, rng, in_place=in_place)
    check(Pointwise(), site, case.arrays, splits=((1, 1), (3, -1)))


def numbers(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@each_target
@pytest.mark.parametrize("gate_first", [False, True])
def test_gate_on_either_side(target, gate_first):
    x, gate = numbers(1, 21, 3, 7), numbers(1, 21, 1, 1)
    arrays = [gate, x] if gate_first else [x, gate]
    layouts = [blocked(a.shape, target.lanes(), halo=(1, 1, 1, 1)) for a in arrays]
    out = blocked(x.shape, target.lanes())
    site = make_site("mul", NoAttrs(), arrays, layouts, out, target)
    check(Pointwise(), site, arrays, vacuous=False)


@each_target
def test_chain(target):
    x, other, scale, bias = numbers(1, 21, 3, 7), numbers(1, 21, 3, 7), numbers(21), numbers(21)
    mean, var = numbers(21), np.abs(numbers(21))
    steps = (
        Step("sigmoid", NoAttrs(), (~0,)),
        Step("add", NoAttrs(), (~1, 5)),
        Step("clip", ClipAttrs(0.25, 4.0), (~2,)),
    )
    arrays = [x, scale, bias, mean, var, other]
    lanes = target.lanes()
    layouts = [blocked(x.shape, lanes), *[None] * 4, blocked(x.shape, lanes, halo=(0, 1, 0, 0))]
    site = make_site(
        "batch_norm",
        BatchNormAttrs(),
        arrays,
        layouts,
        blocked(x.shape, lanes),
        target,
        steps=steps,
    )
    check(Pointwise(), site, arrays, vacuous=False)


def pooled(target, pool, size, *, gate=False, halo=(0, 0, 0, 0)):
    """Batch norm, SiLU and a gate on [1,21,*size], then a pool."""
    op = "max_pool2d" if isinstance(pool, MaxPool2dAttrs) else "avg_pool2d"
    x = numbers(1, 21, *size)
    arrays = [x, numbers(21), numbers(21), numbers(21), np.abs(numbers(21))]
    steps = [Step("silu", NoAttrs(), (~0,))]
    if gate:
        arrays.append(numbers(1, 21, 1, 1))
        steps.append(Step("mul", NoAttrs(), (~1, 5)))
    steps.append(Step(op, pool, (~(len(steps)),)))
    lanes = target.lanes()
    layouts = [blocked(x.shape, lanes, halo=halo), *[None] * 4]
    layouts += [blocked((1, 21, 1, 1), lanes)] * gate
    rows, columns = (n // k for n, k in zip(size, pool.window, strict=True))
    out = blocked((1, 21, rows, columns), lanes, halo=(1, 0, 2, 0))
    site = make_site("batch_norm", BatchNormAttrs(), arrays, layouts, out, target, steps=steps)
    return site, arrays


@each_target
@pytest.mark.parametrize("kind", [MaxPool2dAttrs, AvgPool2dAttrs])
@pytest.mark.parametrize(
    ("size", "window"), [((6, 10), (2, 2)), ((7, 5), (2, 2)), ((3, 8), (1, 3)), ((2, 4), (2, 4))]
)
def test_a_pool_behind_a_chain(target, kind, size, window):
    site, arrays = pooled(target, kind(window, window), size, gate=size == (7, 5))
    check(Pointwise(), site, arrays, vacuous=False)


def test_a_chain_reads_behind_a_halo_before_its_pool():
    pool = AvgPool2dAttrs((2, 2), (2, 2))
    site, arrays = pooled(TARGETS[-1], pool, (4, 4), halo=(1, 2, 3, 4))
    check(Pointwise(), site, arrays, vacuous=False)


def test_windows_that_overlap_are_none_of_its():
    site, _ = pooled(TARGETS[-1], MaxPool2dAttrs((2, 2), (2, 2)), (4, 4))
    assert Pointwise().refuses(site) == ""
    overlapping = Step("max_pool2d", MaxPool2dAttrs((3, 3), (1, 1)), site.steps[-1].args)
    site = replace(site, steps=(*site.steps[:-1], overlapping))
    assert "overlap" in Pointwise().refuses(site)


def test_variance_zero_leaves_padding_lanes_zero():
    x, ones = numbers(1, 5, 2, 3), np.ones(5, np.float32)
    for target in TARGETS:
        layout = blocked(x.shape, target.lanes())
        arrays = [x, ones, ones, ones, ones]
        site = make_site(
            "batch_norm", BatchNormAttrs(0.0), arrays, [layout, *[None] * 4], layout, target
        )
        check(Pointwise(), site, arrays)


def test_one_buffer_for_both_operands_and_the_result():
    x, target = numbers(1, 8, 3, 5), find("avx2")
    layout = blocked(x.shape, 8)
    site = make_site("add", NoAttrs(), [x, x], [layout, layout], layout, target, in_place=0)
    [launch] = Pointwise().lower(site)
    buffer = layout.pack(x[0])
    interpret(launch.func, [buffer] * len(launch.args) + [0, launch.work])
    np.testing.assert_array_equal(layout.unpack(buffer), 2 * x[0])


def test_refusals():
    x, kernel, target = numbers(1, 8, 4, 4), Pointwise(), find("avx2")
    layout = blocked(x.shape, 8)
    whole = make_site("add", NoAttrs(), [x, x], [layout, None], layout, target)
    assert "more than one value" in kernel.refuses(whole)
    cut = blocked(x.shape, 8, segments=(4, 4))
    assert "segments" in kernel.refuses(
        make_site("add", NoAttrs(), [x, x], [layout, cut], layout, target)
    )
