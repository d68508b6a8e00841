"""Concatenation of any axis and type: one launch an operand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_concat import RowConcat
from cnncc.ops.shape import ConcatAttrs
from tests.kernels.harness import TARGETS
from tests.kernels.rows.row_sites import check, numbers, row_site

KERNEL = RowConcat()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.sampled_from((1, 2, 3, 5, 17, 70)), min_size=1, max_size=3),
    extents=st.lists(st.sampled_from((1, 2, 3, 16, 33)), min_size=1, max_size=3),
    dtype=st.sampled_from([d for d in DType if d is not DType.F16]),
    target=st.sampled_from(TARGETS),
    data=st.data(),
)
def test_random(shape, extents, dtype, target, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    arrays = []
    for seed, extent in enumerate(extents):
        arrays.append(numbers(seed, dtype, (*shape[:axis], extent, *shape[axis + 1 :])))
    constants = (0,) if data.draw(st.booleans()) else ()
    site = row_site("concat", ConcatAttrs(axis), arrays, target, constants=constants)
    check(KERNEL, site, arrays)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_long_runs_are_cut(target):
    arrays = [numbers(i, DType.F32, (2, n)) for i, n in enumerate((9001, 20))]
    site = row_site("concat", ConcatAttrs(1), arrays, target)
    assert KERNEL.lower(site)[0].work > 2
    found = check(KERNEL, site, arrays)
    np.testing.assert_array_equal(found, np.concatenate(arrays, 1))
