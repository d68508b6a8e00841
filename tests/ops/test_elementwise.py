"""Joins: who may spread over whom, and how errors pass through."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.elementwise import Add, Dropout, DropoutAttrs, Mul, Sub

Shape = tuple[int, ...]


@pytest.mark.parametrize("op", [Add, Mul, Sub])
@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ((2, 3, 4, 5), (2, 3, 1, 1), (2, 3, 4, 5)),
        ((2, 3, 1, 1), (2, 3, 1, 1), (2, 3, 1, 1)),
        ((1, 3, 4, 5), (5,), (1, 3, 4, 5)),
        ((3, 1), (1, 4), (3, 4)),
        ((), (2, 1), (2, 1)),
        ((), (), ()),
    ],
)
def test_shapes_broadcast_from_the_last_axis(
    op: type[Add | Mul | Sub], a: Shape, b: Shape, result: Shape
) -> None:
    for pair in ([f32(*a), f32(*b)], [f32(*b), f32(*a)]):
        assert op.infer(pair, NoAttrs()) == f32(*result)
    made = op.reference([np.ones(a), np.ones(b)], NoAttrs())
    assert made.shape == result


@pytest.mark.parametrize(
    ("a", "b"), [((1, 3, 4, 5), (3,)), ((1, 3, 4, 5), (1, 2, 1, 1)), ((2,), (3,)), ((2, 3), (2,))]
)
def test_other_shapes_do_not_broadcast(a: Shape, b: Shape) -> None:
    for pair in ([f32(*a), f32(*b)], [f32(*b), f32(*a)]):
        with pytest.raises(TypeInferenceError, match="`add` cannot broadcast f32"):
            Add.infer(pair, NoAttrs())


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ((f32(2), TensorType(DType.I32, (2,))), r"one element type, got f32\[2\] and i32\[2\]"),
        ((TensorType(DType.BOOL, (2,)),) * 2, r"computes in f64, f32, i64.*`a` is bool\[2\]"),
        ((TensorType(DType.F16, (2,)),) * 2, r"`a` is f16\[2\]"),
        ((f32(2), f32(0)), r"axes of at least 1 in `b`"),
        ((f32(*[1] * 9), f32(1)), r"ranks up to 8"),
    ],
)
def test_types_that_cannot_be_added(types: tuple[TensorType, ...], message: str) -> None:
    with pytest.raises(TypeInferenceError, match=message):
        Add.infer(types, NoAttrs())


def test_whole_numbers_wrap_around_in_their_type() -> None:
    a, b = np.array([200, 255], np.uint8), np.array([100, 1], np.uint8)
    for op, expected in ((Add, [44, 0]), (Sub, [100, 254]), (Mul, [32, 255])):
        made = op.reference([a, b], NoAttrs())
        assert made.dtype == np.uint8
        assert made.tolist() == expected


def test_errors_of_a_product() -> None:
    a, b = np.array([[3.0]]), np.array([[-5.0]])
    errors = [np.array([[0.5]]), np.array([[0.25]])]
    assert Mul.propagate([a, b], errors, NoAttrs()).item() == 3 * 0.25 + 5 * 0.5 + 0.125
    assert Add.propagate([a, b], errors, NoAttrs()).item() == 0.75


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_rate(rate: float) -> None:
    with pytest.raises(TypeInferenceError, match="rate"):
        Dropout.infer([f32(1, 3)], DropoutAttrs(rate))
