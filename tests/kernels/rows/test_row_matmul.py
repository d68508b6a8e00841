"""Matrix products: broadcast batches, tiles and their edges, dot products, steps behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.op import NoAttrs, lookup
from cnncc.ir.types import DType
from cnncc.kernels.rows.row_matmul import RowMatmul
from cnncc.kernels.rows.row_matmul_tile import Product, product_of, tile_of
from cnncc.kernels.rows.row_steps import RowSteps
from cnncc.ops.fused import Step
from cnncc.targets import find
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.rows.row_sites import check, computed, numbers, row_site

KERNEL = RowMatmul()
EXTENTS = st.sampled_from((1, 2, 3, 5, 8, 13, 17, 33, 70))


@st.composite
def factors(draw):
    """Two shapes that can be multiplied, with batches that broadcast, or of rank 1."""
    rows, terms, columns = draw(EXTENTS), draw(EXTENTS), draw(EXTENTS)
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    sides = []
    for matrix in ((rows, terms), (terms, columns)):
        own = [n if draw(st.booleans()) else 1 for n in batch][draw(st.integers(0, len(batch))) :]
        sides.append((*own, *matrix))
    if draw(st.integers(0, 4)) == 0:
        sides[0] = (terms,)
    if draw(st.integers(0, 4)) == 0:
        sides[1] = (terms,)
    return sides


@settings(max_examples=80, deadline=None)
@given(shapes=factors(), target=st.sampled_from(TARGETS), constant=st.booleans())
def test_random(shapes, target, constant):
    arrays = [numbers(i, DType.F32, s) for i, s in enumerate(shapes)]
    site = row_site("matmul", NoAttrs(), arrays, target, constants=(1,) if constant else ())
    check(KERNEL, site, arrays)


@each_target
@pytest.mark.parametrize("constant", [(), (1,)])
def test_whole_numbers_come_out_exactly(target, constant):
    rng = np.random.default_rng(5)
    shapes = ((19, 70), (70, 45))
    arrays = [rng.integers(-32, 33, s).astype(np.float32) for s in shapes]
    site = row_site("matmul", NoAttrs(), arrays, target, constants=constant)
    np.testing.assert_array_equal(computed(KERNEL, site, arrays), arrays[0] @ arrays[1])


@each_target
@pytest.mark.parametrize("columns", [1, 37])
def test_steps_behind(columns, target):
    x, w = numbers(1, DType.F32, (2, 9, 20)), numbers(2, DType.F32, (20, columns))
    other = numbers(3, DType.F32, (2, 9, columns))
    steps = (Step("add", NoAttrs(), (~0, 2)), Step("relu", NoAttrs(), (~1,)))
    for in_place in (None, 2):
        site = row_site("matmul", NoAttrs(), [x, w, other], target, steps=steps, in_place=in_place)
        check(KERNEL, site, [x, w, other])


@each_target
@pytest.mark.parametrize("columns", [1, 7, 70])
def test_long_steps_run_row_by_row_from_memory(columns, target):
    x, w = numbers(1, DType.F32, (3, 7, 11)), numbers(2, DType.F32, (3, 11, columns))
    other, bias = numbers(3, DType.F32, (3, 7, columns)), numbers(4, DType.F32, (columns,))
    rows = numbers(5, DType.F32, (7, 1))
    steps = (
        Step("add", NoAttrs(), (~0, 3)),
        Step("gelu", lookup("gelu").Attrs(), (~1,)),
        Step("mul", NoAttrs(), (~2, 4)),
        Step("add", NoAttrs(), (~3, 2)),
    )
    arrays = [x, w, other, bias, rows]
    for in_place in (None, 2):
        site = row_site(
            "matmul", NoAttrs(), arrays, target, steps=steps, constants=(3,), in_place=in_place
        )
        assert RowSteps(site).is_long
        check(KERNEL, site, arrays)


def test_tiles_fit_the_shape():
    avx512 = find("x86-64-v4")
    rows, vectors = tile_of(avx512, Product((128, 128), (128, 128)))
    assert rows * vectors > 16
    assert tile_of(avx512, Product((1, 128), (128, 512)))[0] == 1
    assert tile_of(avx512, Product((128, 128), (128, 10)))[1] == 1


@each_target
@pytest.mark.parametrize("right", [(20, 37), (1, 20, 37), (1, 1, 1, 20, 37), (20,)])
def test_matrices_that_share_a_right_side_are_one_of_many_rows(right, target):
    x, w = numbers(1, DType.F32, (5, 3, 1, 20)), numbers(2, DType.F32, right)
    shape = np.matmul(x, w).shape
    other = numbers(3, DType.F32, shape[-4:])
    steps = (Step("add", NoAttrs(), (~0, 2)),)
    site = row_site("matmul", NoAttrs(), [x, w, other], target, steps=steps, constants=(1,))
    assert product_of(site).rows == 15
    check(KERNEL, site, [x, w, other])


def test_refuses_other_types():
    x = numbers(1, DType.I64, (4, 4))
    site = row_site("matmul", NoAttrs(), [x, x], find("avx2"))
    assert "f32 matrices only" in KERNEL.refuses(site)
