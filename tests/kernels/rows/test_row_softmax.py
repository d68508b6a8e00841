"""Softmax along any axis of values of any rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_softmax import RowSoftmax
from cnncc.ops.norm import SoftmaxAttrs
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.rows.row_sites import check, numbers, row_site

KERNEL = RowSoftmax()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.sampled_from((1, 2, 3, 8, 17, 37)), min_size=2, max_size=3),
    target=st.sampled_from(TARGETS),
    data=st.data(),
)
def test_random(shape, target, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    x = 4 * numbers(data.draw(st.integers(0, 99)), DType.F32, shape)
    check(KERNEL, row_site("softmax", SoftmaxAttrs(axis), [x], target), [x])


@each_target
@pytest.mark.parametrize("axis", [0, 1])
def test_extremes(axis, target):
    x = np.tile(np.array([[1e30, -1e30, 0.0, -np.inf, 88.0]], np.float32), (6, 4))
    x[1] = np.nan
    x[2] = -np.inf
    x[3] = 1000.0
    check(KERNEL, row_site("softmax", SoftmaxAttrs(axis), [x], target), [x])
