"""Matrix products: vectors, stacks that broadcast, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.matmul import MatMul
from tests.ops.element_numpy import evaluate

Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ((2, 3), (3, 4), (2, 4)),
        ((3,), (3, 4), (4,)),
        ((2, 3), (3,), (2,)),
        ((3,), (3,), ()),
        ((5, 2, 3), (3, 4), (5, 2, 4)),
        ((5, 1, 2, 3), (7, 3, 4), (5, 7, 2, 4)),
        ((5, 2, 3), (3,), (5, 2)),
        ((3,), (5, 3, 4), (5, 4)),
    ],
)
def test_shapes_and_values(a: Shape, b: Shape, result: Shape) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(-9, 10, a).astype(np.int32), rng.integers(-9, 10, b).astype(np.int32)
    types = [TensorType(DType.I32, s) for s in (a, b)]
    assert MatMul.infer(types, NoAttrs()) == TensorType(DType.I32, result)
    made = MatMul.reference([x, y], NoAttrs())
    assert made.shape == result
    np.testing.assert_array_equal(evaluate(MatMul, [x, y], NoAttrs()), made)
    assert MatMul.cost(types, types[0], NoAttrs()).macs == types[0].elems * 3


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (f32(2, 3), f32(4, 3), "as many columns of `a` as rows of `b`"),
        (f32(), f32(3), "wants vectors or matrices"),
        (f32(2, 2, 3), f32(3, 3, 4), "cannot broadcast"),
        (TensorType(DType.I8, (2, 2)), TensorType(DType.I8, (2, 2)), "computes in f64, f32, i64"),
    ],
)
def test_what_does_not_fit(a: TensorType, b: TensorType, message: str) -> None:
    with pytest.raises(TypeInferenceError, match=message):
        MatMul.infer([a, b], NoAttrs())


def test_errors_of_both_sides() -> None:
    a, b = np.array([[1.0, -2.0]]), np.array([[3.0], [4.0]])
    errors = [np.array([[0.5, 0.0]]), np.array([[0.0], [0.25]])]
    assert MatMul.propagate([a, b], errors, NoAttrs()).item() == 2 * 0.25 + 0.5 * 3
