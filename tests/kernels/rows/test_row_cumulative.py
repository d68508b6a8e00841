"""Running sums and products along any axis, forwards and backwards."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.rows.row_cumulative import RowCumulative
from tests.kernels.harness import TARGETS
from tests.kernels.rows.row_sites import check, row_site
from tests.strategies import general_op_case

KERNEL = RowCumulative()


@pytest.mark.parametrize("name", sorted(RowCumulative.anchors))
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_random(name, data):
    case = data.draw(general_op_case(name))
    target = data.draw(st.sampled_from(TARGETS))
    site = row_site(name, case.attrs, case.arrays, target)
    check(KERNEL, site, case.arrays, splits=((1, 1), (3, -1)))
