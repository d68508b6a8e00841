"""Pointwise operators on row-major arrays: broadcasting, chains, tails, pieces, work in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout
from cnncc.kernels.rows.row_pointwise import RowPointwise
from cnncc.loopir import interp
from cnncc.ops.activation import ClipAttrs
from cnncc.ops.fused import Step
from cnncc.targets import find
from tests.kernels.harness import TARGETS, blocked, each_target, make_site
from tests.kernels.rows.row_sites import check, numbers, row_site

KERNEL = RowPointwise()
FIXTURE = (HealthCheck.function_scoped_fixture,)


def f32(*shape, seed=3):
    return numbers(seed, DType.F32, shape)


@st.composite
def broadcast_shapes(draw):
    """Two or three shapes that broadcast to one another, of rank 0 to 5."""
    whole = draw(st.lists(st.integers(1, 5), max_size=5))
    if whole and draw(st.booleans()):
        whole[-1] = draw(st.integers(1, 70))
    shapes = []
    for _ in range(draw(st.integers(1, 2))):
        shape = [n if draw(st.booleans()) else 1 for n in whole]
        shapes.append(tuple(shape[draw(st.integers(0, len(shape))) :]))
    return [tuple(whole), *shapes] if draw(st.booleans()) else [*shapes, tuple(whole)]


@each_target
@pytest.mark.parametrize("shape", [(1, 5), (3, 37), (2, 3, 4, 64), (1, 9001), (20001,), (1,)])
def test_one_operand(shape, target):
    if len(shape) == 1:
        shape = (1, *shape)
    x = f32(*shape)
    check(KERNEL, row_site("relu", NoAttrs(), [x], target), [x])


@each_target
def test_chain_in_place(target):
    x, y = f32(2, 3, 50), f32(2, 3, 50, seed=4)
    steps = (
        Step("sigmoid", NoAttrs(), (~0,)),
        Step("mul", NoAttrs(), (~1, 1)),
        Step("clip", ClipAttrs(-0.25, 0.5), (~2,)),
    )
    for in_place in (None, 0, 1):
        site = row_site("relu", NoAttrs(), [x, y], target, steps=steps, in_place=in_place)
        check(KERNEL, site, [x, y])


@each_target
def test_one_value_a_channel(target):
    x, w, bias = f32(1, 6, 3, 7), f32(6, seed=4), f32(6, seed=5)
    site = row_site("scale", NoAttrs(), [x, w, bias], target, constants=(1, 2))
    check(KERNEL, site, [x, w, bias])


def test_one_buffer_for_both_operands_and_the_result():
    x = f32(3, 50)
    site = row_site("add", NoAttrs(), [x, x], find("avx2"), in_place=0)
    [launch] = KERNEL.lower(site)
    buffer = x.reshape(-1).copy()
    interp.run(launch.func, [buffer, buffer, buffer, 0, launch.work])
    np.testing.assert_array_equal(buffer.reshape(x.shape), 2 * x)


def test_refuses_blocks_and_other_orders():
    x, target = f32(1, 8, 4, 4), find("avx2")
    layout = blocked(x.shape, 8)
    site = make_site("relu", NoAttrs(), [x], [layout], layout, target)
    assert "row-major order" in KERNEL.refuses(site)
    hwc = DenseLayout(DType.F32, 8, 4, 4, "hwc")
    site = make_site("relu", NoAttrs(), [x], [hwc], hwc, target)
    assert "row-major order" in KERNEL.refuses(site)
    chw = DenseLayout(DType.F32, 8, 4, 4, "chw")
    assert KERNEL.refuses(make_site("relu", NoAttrs(), [x], [chw], chw, target)) == ""


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE)
@given(shapes=broadcast_shapes(), data=st.data())
def test_broadcasting(shapes, data, small_ops):
    arrays = [numbers(i, DType.F32, s) for i, s in enumerate(shapes)]
    pair = [arrays[0], arrays[-1]]
    target = data.draw(st.sampled_from(TARGETS))
    constants = (1,) if data.draw(st.booleans()) else ()
    if len(arrays) < 3:
        check(KERNEL, row_site("test_join", NoAttrs(), pair, target, constants=constants), pair)
        return
    site = row_site("test_pick", NoAttrs(), arrays, target, constants=constants)
    check(KERNEL, site, arrays)
