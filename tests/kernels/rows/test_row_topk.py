"""The k largest or smallest along any axis, with ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_topk import RowTopK
from cnncc.ops.selection import TopKAttrs
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.rows.row_sites import check, row_site
from tests.strategies import general_op_case

KERNEL = RowTopK()


@pytest.mark.parametrize("name", sorted(RowTopK.anchors))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random(name, data):
    case = data.draw(general_op_case(name))
    target = data.draw(st.sampled_from(TARGETS))
    site = row_site(name, case.attrs, case.arrays, target)
    check(KERNEL, site, case.arrays, splits=((1, 1), (3, -1)), proven=False)


@each_target
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [1, 7, 200])
@pytest.mark.parametrize("name", sorted(RowTopK.anchors))
def test_many_equal_ones(name, k, largest, target):
    x = np.random.default_rng(k).integers(-9, 9, (2, 200)).astype(np.float32)
    x[1, ::13] = np.nan
    x[0, ::7] = np.inf
    site = row_site(name, TopKAttrs(k, 1, largest), [x], target)
    check(KERNEL, site, [x], proven=False, splits=((1, 1), (2, -1)))


def test_unsigned_numbers_above_half_the_range():
    x = np.array([[1, 2**64 - 1, 2**63, 5]], np.uint64)
    site = row_site("topk_values", TopKAttrs(2, 1), [x], TARGETS[0])
    assert DType.of(x.dtype) is DType.U64
    found = check(KERNEL, site, [x], proven=False)
    assert found.tolist() == [[2**64 - 1, 2**63]]
