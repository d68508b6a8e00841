"""Bilinear upsampling: random cases, and special values as in the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.maps.upsample_bilinear import UpsampleBilinear
from cnncc.ops.resize import Upsample2dAttrs
from tests.kernels.cases import single, site_of
from tests.kernels.harness import TARGETS, blocked, check, each_target, make_site
from tests.strategies import op_case


@pytest.mark.parametrize("values", ["float", "integers"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_random(values, data):
    case = data.draw(op_case("upsample2d", values).filter(single))
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    site = site_of(case, target, rng)
    if case.attrs.mode == "nearest":
        assert UpsampleBilinear().refuses(site) == "interpolates"
        return
    check(UpsampleBilinear(), site, case.arrays, splits=((1, 1), (3, -1)))


@each_target
@pytest.mark.parametrize("factors", [(1, 2), (2, 1), (3, 3), (1, 1), (4, 5)])
def test_special_values(target, factors):
    x = np.random.default_rng(0).standard_normal((1, 5, 3, 4)).astype(np.float32)
    x[0, 1, 1, 1], x[0, 2, 0, 3], x[0, 3, 2, 0] = np.inf, -np.inf, np.nan
    out = blocked((1, 5, 3 * factors[0], 4 * factors[1]), target.lanes(), halo=(1, 1, 1, 1))
    source = blocked(x.shape, target.lanes(), halo=(0, 2, 0, 1))
    attrs = Upsample2dAttrs(factors, "bilinear")
    check(UpsampleBilinear(), make_site("upsample2d", attrs, [x], [source], out, target), [x])
