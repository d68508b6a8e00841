"""Resizing along any axis with constant taps: copies, weighted sums, weights of 0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_resample import RowResample
from cnncc.ops.resample import ResampleAttrs
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.rows.row_sites import check, computed, numbers, row_site
from tests.strategies import general_op_case

KERNEL = RowResample()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_random(data):
    case = data.draw(general_op_case("resample"))
    target = data.draw(st.sampled_from(TARGETS))
    site = row_site("resample", case.attrs, case.arrays, target, constants=(1, 2))
    check(KERNEL, site, case.arrays, splits=((1, 1), (3, -1)), proven=False)


@each_target
@pytest.mark.parametrize("axis", [0, 2, 3])
@pytest.mark.parametrize("taps", [1, 2, 4, 7])
def test_every_axis(taps, axis, target):
    x = numbers(1, DType.F32, (2, 3, 5, 19))
    rng = np.random.default_rng(taps)
    indices = rng.integers(0, x.shape[axis], (18, taps))
    weights = rng.standard_normal(indices.shape).astype(np.float32)
    arrays = [x, indices, weights]
    site = row_site("resample", ResampleAttrs(axis), arrays, target, constants=(1, 2))
    check(KERNEL, site, arrays, proven=False, splits=((1, 1), (2, -1)))


@each_target
@pytest.mark.parametrize("axis", [1, 2])
def test_twice_as_large_is_a_copy(axis, target):
    x = numbers(1, DType.F32, (18, 20, 3 if axis == 1 else 20))
    x[2, 5, 1] = np.nan
    indices = np.arange(40)[:, None] // 2
    arrays = [x, indices, np.ones(indices.shape, np.float32)]
    site = row_site("resample", ResampleAttrs(axis), arrays, target, constants=(1, 2))
    found = computed(KERNEL, site, arrays, proven=False)
    np.testing.assert_array_equal(found, x.repeat(2, axis))


@each_target
@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_of_0_leaves_infinity_out(axis, target):
    x = np.full((4, 4), np.inf, np.float32)
    x[1, 1] = 3.0
    arrays = [x, np.array([[0, 1], [2, 1]]), np.array([[0, 2], [0, 2]], np.float32)]
    site = row_site("resample", ResampleAttrs(axis), arrays, target, constants=(1, 2))
    found = computed(KERNEL, site, arrays, proven=False)
    assert not np.isnan(found).any()
    assert (found == 6).sum() == 2


def test_refuses_what_is_not_constant():
    arrays = [
        numbers(1, DType.F32, (4, 4)),
        np.zeros((2, 1), np.int64),
        np.ones((2, 1), np.float32),
    ]
    site = row_site("resample", ResampleAttrs(0), arrays, TARGETS[0])
    assert "constants" in KERNEL.refuses(site)
