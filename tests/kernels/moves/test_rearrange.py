"""Movements between blocked values, on random shapes, segments and halos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.layout import Layout
from cnncc.kernels.moves.copy_nest import CopyNest
from cnncc.kernels.moves.rearrange import Rearrange, movements
from cnncc.ops.resize import Upsample2dAttrs
from cnncc.ops.shape import (
    ChannelShuffleAttrs,
    ConcatAttrs,
    Crop2dAttrs,
    FlattenAttrs,
    Pad2dAttrs,
    ReshapeAttrs,
    SliceChannelsAttrs,
    TransposeAttrs,
)
from cnncc.targets import find
from tests.kernels.cases import single, site_of
from tests.kernels.harness import TARGETS, blocked, check, make_site
from tests.strategies import op_case

NAMES = sorted(Rearrange.anchors)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random(name, data):
    case = data.draw(op_case(name).filter(single))
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    site = site_of(case, target, rng)
    if name == "upsample2d" and case.attrs.mode == "bilinear":
        assert "interpolate" in Rearrange().refuses(site)
        return
    if name in ("reshape", "transpose") and len(site.result.shape) not in (2, 4):
        return
    check(Rearrange(), site, case.arrays, splits=((1, 1), (3, -1)))


def numbers(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


WIDE = Layout(16, (64,), 8, 8)


@pytest.mark.parametrize(
    ("op", "attrs", "out", "shape"),
    [
        ("slice_channels", SliceChannelsAttrs(16, 48), (1, 32, 8, 8), "runs"),
        ("slice_channels", SliceChannelsAttrs(3, 48), (1, 45, 8, 8), "shuffle"),
        ("channel_shuffle", ChannelShuffleAttrs(2), (1, 64, 8, 8), "shuffle"),
        ("channel_shuffle", ChannelShuffleAttrs(16), (1, 64, 8, 8), "shuffle"),
        ("crop2d", Crop2dAttrs((1, 1, 1, 1)), (1, 64, 6, 6), "runs"),
        ("pad2d", Pad2dAttrs((1, 2, 1, 1)), (1, 64, 10, 11), "runs"),
        ("upsample2d", Upsample2dAttrs((2, 2)), (1, 64, 16, 16), "lanes"),
        ("flatten", FlattenAttrs("hwc"), (1, 4096), "lanes"),
    ],
)
def test_shape_of_loops(op, attrs, out, shape):
    x = numbers(1, 64, 8, 8)
    target = find("avx512")
    site = make_site(op, attrs, [x], [WIDE], blocked(out, 16), target)
    [(_, move)] = movements(site)
    assert CopyNest(move, 16).shape == shape
    check(Rearrange(), site, [x], vacuous=False)


def test_concat_has_a_launch_for_each_operand():
    arrays = [numbers(1, c, 3, 5) for c in (16, 5, 33)]
    layouts = [blocked(a.shape, 16) for a in arrays]
    out = blocked((1, 54, 3, 5), 16, segments=(16, 5, 33), halo=(1, 1, 1, 1))
    site = make_site("concat", ConcatAttrs(), arrays, layouts, out, find("avx512"))
    launches = Rearrange().lower(site)
    assert [x.args[0].operand for x in launches] == [0, 1, 2]
    assert {CopyNest(m, 16).shape for _, m in movements(site)} == {"runs"}
    check(Rearrange(), site, arrays)


def test_concat_into_one_segment():
    arrays = [numbers(1, c, 3, 5) for c in (3, 5, 9)]
    layouts = [blocked(a.shape, 4) for a in arrays]
    site = make_site(
        "concat", ConcatAttrs(), arrays, layouts, blocked((1, 17, 3, 5), 4), find("sse2")
    )
    check(Rearrange(), site, arrays)


def test_transpose_to_few_columns_does_not_read_neighbours():
    x = numbers(1, 3, 2, 1)
    site = make_site(
        "transpose",
        TransposeAttrs((0, 3, 2, 1)),
        [x],
        [blocked(x.shape, 4)],
        blocked((1, 1, 2, 3), 4),
        find("sse2"),
    )
    check(Rearrange(), site, [x])


@pytest.mark.parametrize("value", [0.0, -np.inf, 3.5])
def test_border_of_infinity_leaves_padding_lanes_zero(value):
    x = numbers(1, 5, 2, 3)
    for target in TARGETS:
        out = blocked((1, 5, 5, 4), target.lanes(), halo=(1, 1, 1, 1))
        source = blocked(x.shape, target.lanes())
        attrs = Pad2dAttrs((1, 0, 2, 1), value)
        check(Rearrange(), make_site("pad2d", attrs, [x], [source], out, target), [x])


def test_refusals():
    x = numbers(1, 4, 2, 3)
    target = find("sse2")
    layout = blocked(x.shape, 4)
    kernel = Rearrange()
    join = make_site("concat", ConcatAttrs(0), [x], [layout], layout, target)
    assert "samples" in kernel.refuses(join)
    halo = blocked((1, 24), 4, halo=(1, 1, 1, 1))
    assert "halo" in kernel.refuses(
        make_site("reshape", ReshapeAttrs((1, 24)), [x], [layout], halo, target)
    )
    turned = make_site("transpose", TransposeAttrs((1, 0, 2, 3)), [x], [layout], layout, target)
    assert "batch" in kernel.refuses(turned)
    constant = make_site("channel_shuffle", ChannelShuffleAttrs(2), [x], [None], layout, target)
    assert "blocked operands" in kernel.refuses(constant)
