"""Local response normalisation: neighbours across blocks and segments, all exponents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.maps.lrn import Lrn
from cnncc.kernels.template import ScratchArg
from cnncc.ops.norm import LrnAttrs
from tests.kernels.cases import single, site_of
from tests.kernels.harness import TARGETS, blocked, check, each_target, make_site
from tests.strategies import op_case


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random(data):
    case = data.draw(op_case("lrn").filter(single))
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    check(Lrn(), site_of(case, target, rng), case.arrays, splits=((1, 1), (3, -1)))


@each_target
@pytest.mark.parametrize("size", [1, 2, 5, 9, 40, 99, 2**31 - 1])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 0.6, -0.3])
def test_sizes_and_exponents(target, size, beta):
    x = np.random.default_rng(0).standard_normal((1, 37, 1, 3)).astype(np.float32) * 3
    layouts = [blocked(x.shape, target.lanes(), segments=s, halo=(0, 1, 1, 0)) for s in
               ((37,), (5, 3, 29))]  # fmt: skip
    for layout in layouts:
        attrs = LrnAttrs(size, 0.5, beta, 2.0)
        check(Lrn(), make_site("lrn", attrs, [x], [layout], layout, target), [x], splits=((1, 1),))


@each_target
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 0.6, 2.0, -0.3])
def test_squares_that_overflow(target, beta):
    """Up to the largest f32, beside small numbers; infinity has no quotient."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((1, 23, 1, 40)) * 2.0 ** np.linspace(40, 125, 40)).astype(np.float32)
    x[0, ::3] = 1.5
    x[0, 4, 0, 0], x[0, 9, 0, 1], x[0, 7, 0, 2] = np.finfo(np.float32).max, np.inf, np.nan
    layout = blocked(x.shape, target.lanes())
    for size in (1, 5, 11):
        attrs = LrnAttrs(size, 1e-4, beta, 2.0)
        check(Lrn(), make_site("lrn", attrs, [x], [layout], layout, target), [x])


@each_target
def test_nan_stays_out_of_padding_lanes(target):
    x = np.ones((1, 19, 1, 4), np.float32)
    x[0, 18, 0, 1], x[0, 0, 0, 2], x[0, 4, 0, 3] = np.nan, np.inf, np.nan
    for segments in ((19,), (5, 14)):
        layout = blocked(x.shape, target.lanes(), segments=segments)
        attrs = LrnAttrs(5, 1.0, 0.75, 1.0)
        check(Lrn(), make_site("lrn", attrs, [x], [layout], layout, target), [x])


def test_any_number_of_channels_has_room():
    target = TARGETS[0]
    x = np.ones((1, 70_000, 1, 1), np.float32)
    layout = blocked(x.shape, target.lanes())
    site = make_site("lrn", LrnAttrs(5, 1.0, 0.75, 1.0), [x], [layout], layout, target)
    assert Lrn().refuses(site) == ""
    (launch,) = Lrn().lower(site)
    assert [a.words for a in launch.args if isinstance(a, ScratchArg)] == [70_000 + 4]
