"""Softmax over channels: random cases, special values, padding lanes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.maps.softmax import Softmax
from cnncc.ops.norm import SoftmaxAttrs
from cnncc.targets import find
from tests.kernels.cases import single, site_of
from tests.kernels.harness import TARGETS, blocked, check, each_target, make_site
from tests.strategies import op_case


@pytest.mark.parametrize("values", ["float", "special"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_random(values, data):
    case = data.draw(op_case("softmax", values).filter(single))
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    check(Softmax(), site_of(case, target, rng), case.arrays, splits=((1, 1), (3, -1)))


@each_target
def test_special_pixels(target):
    x = np.random.default_rng(0).standard_normal((1, 21, 2, 4)).astype(np.float32)
    x[0, 3, 0, 0] = np.nan
    x[0, 4, 0, 1] = np.inf
    x[0, :, 0, 2] = -np.inf
    x[0, 5, 0, 3] = -np.inf
    x[0, :, 1, 0] = 1e4 * np.arange(21)
    x[0, :, 1, 1] = -1000.0  # the maximum lies below the zeros of the padding lanes
    layout = blocked(x.shape, target.lanes(), halo=(1, 1, 1, 1))
    y = check(Softmax(), make_site("softmax", SoftmaxAttrs(), [x], [layout], layout, target), [x])
    assert np.isnan(y[0, :, 0, :3]).all()
    np.testing.assert_allclose(y[0, :, 1, 1], 1 / 21, rtol=1e-6)


def test_refusals():
    x = np.zeros((1, 8, 2, 2), np.float32)
    layout = blocked(x.shape, 8)
    site = make_site("softmax", SoftmaxAttrs(2), [x], [layout], layout, find("avx2"))
    assert "axis 2" in Softmax().refuses(site)
