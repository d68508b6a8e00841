"""Reductions over any axes, of every kind and type, in an order that the shape alone decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_reduce import RowReduce
from cnncc.ops.reduction import ReduceAttrs
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.rows.row_sites import check, computed, numbers, row_site

KERNEL = RowReduce()
KINDS = ("sum", "prod", "max", "min", "mean")
WIDE = (DType.F32, DType.F64, DType.I64, DType.I32, DType.U32)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.lists(st.sampled_from((1, 2, 3, 5, 8, 17, 70)), max_size=4),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(WIDE),
    keepdims=st.booleans(),
    target=st.sampled_from(TARGETS),
    data=st.data(),
)
def test_random(shape, kind, dtype, keepdims, target, data):
    while np.prod(shape, dtype=int) > 20000:
        shape[int(np.argmax(shape))] //= 3
    axes = [axis for axis in range(len(shape)) if data.draw(st.booleans())]
    x = numbers(1, dtype, shape)
    site = row_site("reduce", ReduceAttrs(kind, tuple(axes), keepdims), [x], target)
    check(KERNEL, site, [x])


@each_target
@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.BOOL])
@pytest.mark.parametrize("axes", [(1,), (0,)])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_narrow_extremes(kind, axes, dtype, target):
    x = numbers(1, dtype, (3, 37))
    check(KERNEL, row_site("reduce", ReduceAttrs(kind, axes), [x], target), [x])


@each_target
@pytest.mark.parametrize("axes", [(1,), (0,)])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_nan_goes_through(kind, axes, target):
    x = numbers(1, DType.F32, (70, 67))
    x[3, 5] = x[69, 66] = np.nan
    x[:, 2] = x[40] = {"max": -np.inf, "min": np.inf}[kind]
    found = check(KERNEL, row_site("reduce", ReduceAttrs(kind, axes), [x], target), [x])
    assert np.isnan(found).sum() == 2


@each_target
def test_whole_numbers_are_summed_exactly(target):
    x = np.random.default_rng(1).integers(-1000, 1000, (5, 333)).astype(np.float32)
    for axes in ((1,), (0,), (0, 1)):
        site = row_site("reduce", ReduceAttrs("sum", axes, False), [x], target)
        np.testing.assert_array_equal(computed(KERNEL, site, [x]), x.sum(axes))
