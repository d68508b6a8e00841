"""Transposition: runs, tiles in registers, their edges, every kind of element."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_transpose import RowTranspose
from cnncc.loopir.nodes import Shuffle
from cnncc.ops.shape import TransposeAttrs
from tests.kernels.harness import TARGETS, each_target, walk
from tests.kernels.rows.row_sites import check, numbers, row_site

KERNEL = RowTranspose()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.sampled_from((1, 2, 3, 5, 8, 9, 16, 17)), max_size=4),
    dtype=st.sampled_from([d for d in DType if d is not DType.F16]),
    target=st.sampled_from(TARGETS),
    data=st.data(),
)
def test_random(shape, dtype, target, data):
    perm = tuple(data.draw(st.permutations(range(len(shape)))))
    x = numbers(1, dtype, shape)
    check(KERNEL, row_site("transpose", TransposeAttrs(perm), [x], target), [x])


@each_target
@pytest.mark.parametrize("shape", [(1, 50, 3), (1, 37, 70), (2, 64, 32), (1, 300, 20)])
def test_channels_last_to_first(shape, target):
    x = numbers(2, DType.F32, shape)
    site = row_site("transpose", TransposeAttrs((0, 2, 1)), [x], target)
    [launch] = KERNEL.lower(site)
    assert any(isinstance(s, Shuffle) for s in walk(launch.func.body))
    check(KERNEL, site, [x])


@each_target
def test_rows_that_stay_together_are_copied(target):
    x = numbers(2, DType.F32, (2, 3, 5, 40))
    site = row_site("transpose", TransposeAttrs((1, 0, 2, 3)), [x], target)
    [launch] = KERNEL.lower(site)
    assert not any(isinstance(s, Shuffle) for s in walk(launch.func.body))
    check(KERNEL, site, [x])


@each_target
@pytest.mark.parametrize("planes", [2, 3, 4])
@pytest.mark.parametrize("width", [1, 3, 16, 37])
@pytest.mark.parametrize("dtype", [DType.F32, DType.U8, DType.BOOL])
def test_a_few_planes_are_zipped_and_unzipped(dtype, width, planes, target):
    for shape, perm in (((2, planes, width), (0, 2, 1)), ((2, width, planes), (0, 2, 1))):
        x = numbers(3, dtype, shape)
        check(KERNEL, row_site("transpose", TransposeAttrs(perm), [x], target), [x])


@each_target
def test_pixels_out_of_channels(target):
    """Six axes, of which the last are zipped."""
    x = numbers(3, DType.F32, (1, 3, 2, 2, 5, 19))
    site = row_site("transpose", TransposeAttrs((0, 1, 4, 2, 5, 3)), [x], target)
    assert KERNEL.estimate(site).choice == "zips"
    check(KERNEL, site, [x])
