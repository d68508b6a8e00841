"""Updates at named places: order, joins, negative and impossible indices, slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.rows.row_scatter import RowScatter
from cnncc.ops.scatter import ScatterElementsAttrs, ScatterNdAttrs
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.rows.row_sites import check, computed, constant_operands, row_site
from tests.strategies import general_op_case

KERNEL = RowScatter()


@pytest.mark.parametrize("name", sorted(RowScatter.anchors))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random(name, data):
    case = data.draw(general_op_case(name))
    target = data.draw(st.sampled_from(TARGETS))
    constants = constant_operands(data.draw, case)
    site = row_site(name, case.attrs, case.arrays, target, constants=constants)
    check(KERNEL, site, case.arrays, splits=((1, 1), (3, -1)), proven=False)


@each_target
def test_the_last_of_several_updates_stays(target):
    x, updates = np.zeros((2, 40), np.float32), np.arange(12, dtype=np.float32).reshape(2, 6)
    places = np.array([[3, -37, 3, 99, -99, 0]] * 2)
    site = row_site("scatter_elements", ScatterElementsAttrs(1), [x, places, updates], target)
    found = computed(KERNEL, site, [x, places, updates], proven=False)
    assert found[0, 3] == 2
    assert found[1, 0] == 11
    assert np.count_nonzero(found) == 4


@each_target
def test_wide_slices_are_joined_in_vectors(target):
    x, updates = np.ones((5, 77), np.int32), np.arange(3 * 77, dtype=np.int32).reshape(3, 77)
    places = np.array([[1], [-4], [4]])
    site = row_site("scatter_nd", ScatterNdAttrs("add"), [x, places, updates], target)
    check(KERNEL, site, [x, places, updates], proven=False)
