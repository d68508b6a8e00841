"""Matrix products, Gemm, Einsum, determinants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, run


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3, 4)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((5, 2, 3), (3, 4)),
        ((5, 1, 2, 3), (6, 3, 4)),
        ((1, 3), (3, 4)),
    ],
)
@pytest.mark.parametrize("constant", [(), (1,)])
def test_matrices(a: tuple[int, ...], b: tuple[int, ...], constant: tuple[int, ...]) -> None:
    check("MatMul", [f32(*a), f32(*b)], opset=9, constant=constant)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64])
def test_other_numbers(dtype: type) -> None:
    check("MatMul", [(9 * f32(2, 3)).astype(dtype), (9 * f32(3, 4)).astype(dtype)], opset=13)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("constant", [(), (1, 2)])
@pytest.mark.parametrize(
    "how", [{}, {"alpha": 0.5, "beta": 2.0}, {"transA": 1}, {"transB": 1}, {"beta": 0.0}]
)
def test_gemm(rows: int, constant: tuple[int, ...], how: dict[str, Any]) -> None:
    a = f32(5, rows) if "transA" in how else f32(rows, 5)
    b = f32(4, 5) if "transB" in how else f32(5, 4)
    for c in (f32(4), f32(rows, 1), f32(rows, 4), f32(1, 4)):
        check("Gemm", [a, b, c], opset=7, constant=constant, **how)
    check("Gemm", [a, b], opset=11, constant=constant[:1], **how)


def test_gemm_of_opset_6_says_that_it_broadcasts() -> None:
    a, b, c = f32(2, 5), f32(5, 4), f32(4)
    equal("Gemm", [a, b, c], a @ b + c, opset=6, broadcast=1)
    with pytest.raises(Refused, match="matrices are wanted"):
        run("Gemm", [f32(2, 5, 1), b, c], opset=13)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij->ji", [(2, 3)]),
        ("ij->i", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ji", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("iji->j", [(3, 2, 3)]),
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(2, 2, 3), (2, 3, 4)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...ij,...jk->...ik", [(2, 2, 3), (2, 3, 4)]),
        ("i,j->ij", [(2,), (3,)]),
        ("i,i->", [(3,), (3,)]),
        ("ij,ij->ij", [(2, 3), (2, 3)]),
        ("nchw,cd->ndhw", [(1, 3, 4, 5), (3, 2)]),
        ("ij,k->kj", [(2, 3), (4,)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
        ("ii,ij,jj->j", [(3, 3), (3, 2), (2, 2)]),
    ],
)
def test_sums_of_products(equation: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [f32(*shape, seed=k) for k, shape in enumerate(shapes)]
    equal("Einsum", operands, np.einsum(equation, *operands), opset=12, equation=equation)


@pytest.mark.parametrize("equation", ["ij->ijk", "ij,jk->ik", "i->i", "ij->ii", "ii->i"])
def test_equations_that_do_not_fit(equation: str) -> None:
    with pytest.raises(Refused, match=r"equation|letters"):
        run("Einsum", [f32(2, 3)], opset=12, equation=equation)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 3, 3), (2, 2, 4, 4)])
def test_determinants(shape: tuple[int, ...]) -> None:
    x = f32(*shape)
    equal("Det", [x], np.linalg.det(x), opset=11)


@pytest.mark.parametrize("shape", [(5, 5), (2, 3), (3,)])
def test_determinants_that_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Refused, match="determinant"):
        run("Det", [f32(*shape)], opset=11)
