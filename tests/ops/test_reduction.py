"""Reductions and places of extremes: what NaN, equal numbers, whole numbers and axes do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.reduction import ArgAttrs, ArgMax, ArgMin, Reduce, ReduceAttrs
from tests.ops.element_numpy import evaluate

NAN = np.nan


def both(op: Any, x: np.ndarray, attrs: Any) -> list[Any]:
    """By the reference and by the element rule, which agree."""
    made = op.reference([x], attrs)
    np.testing.assert_array_equal(evaluate(op, [x], attrs), made)
    return made.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("axes", "keepdims", "shape"),
    [((1,), True, (2, 1, 4)), ((0, 2), False, (3,)), ((0, 1, 2), False, ()), ((), True, (2, 3, 4))],
)
def test_shapes(axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> None:
    assert Reduce.infer([f32(2, 3, 4)], ReduceAttrs("sum", axes, keepdims)) == f32(*shape)


def test_extremes_hand_on_nan_from_any_place() -> None:
    x = np.array([[NAN, 1, 2], [1, NAN, 2], [1, 2, NAN], [1, 3, 2]], np.float32)
    for kind, last in (("max", 3.0), ("min", 1.0)):
        made = both(Reduce, x, ReduceAttrs(kind, (1,), keepdims=False))
        np.testing.assert_array_equal(made, [NAN, NAN, NAN, last])


def test_whole_means_are_truncated_and_sums_wrap() -> None:
    x = np.array([[-3, -4], [3, 4], [1, 2]], np.int32)
    assert both(Reduce, x, ReduceAttrs("mean", (1,), keepdims=False)) == [-3, 3, 1]
    bytes_ = np.array([200, 100], np.uint8)
    assert both(Reduce, bytes_, ReduceAttrs("sum", (0,))) == [44]
    assert both(Reduce, bytes_, ReduceAttrs("prod", (0,))) == [32]


def test_extremes_of_truth_values_are_any_and_all() -> None:
    x = np.array([[True, False], [True, True], [False, False]])
    assert both(Reduce, x, ReduceAttrs("max", (1,), keepdims=False)) == [True, True, False]
    assert both(Reduce, x, ReduceAttrs("min", (1,), keepdims=False)) == [False, True, False]


@pytest.mark.parametrize(
    ("found", "attrs", "message"),
    [
        (f32(2, 3), ReduceAttrs("median", (0,)), "kind to be one of sum, prod, max, min, mean"),
        (f32(2, 3), ReduceAttrs("sum", (1, 0)), "axes from 0 to 1 in rising order"),
        (f32(2, 3), ReduceAttrs("sum", (2,)), "axes from 0 to 1"),
        (f32(2, 3), ReduceAttrs("sum", (-1,)), "axes from 0 to 1"),
        (f32(2, 3), ReduceAttrs("sum", (0, 0)), "axes from 0 to 1"),
        (TensorType(DType.BOOL, (2,)), ReduceAttrs("sum", (0,)), "computes in f64"),
        (TensorType(DType.I8, (2,)), ReduceAttrs("mean", (0,)), "computes in f64"),
    ],
)
def test_reductions_that_have_no_meaning(found: Any, attrs: ReduceAttrs, message: str) -> None:
    with pytest.raises(TypeInferenceError, match=message):
        Reduce.infer([found], attrs)


@pytest.mark.parametrize(
    ("row", "first", "last"),
    [
        ([1, 3, 2, 3], (1, 0), (3, 0)),
        ([2, 2, 2], (0, 0), (2, 2)),
        ([1, NAN, 3, NAN, 2], (1, 1), (3, 3)),
        ([NAN, 1], (0, 0), (0, 0)),
        ([-np.inf, np.inf], (1, 0), (1, 0)),
    ],
)
def test_equal_numbers_and_nan(
    row: list[float], first: tuple[int, int], last: tuple[int, int]
) -> None:
    x = np.array([row], np.float32)
    for wanted, attrs in ((first, ArgAttrs(1, False)), (last, ArgAttrs(1, False, True))):
        assert (both(ArgMax, x, attrs), both(ArgMin, x, attrs)) == ([wanted[0]], [wanted[1]])


def test_errors_move_a_place_as_far_as_numbers_come_near_the_extreme() -> None:
    x = np.array([[1.0, 0.2, 0.9, 0.1]])
    far, near = np.full((1, 4), 0.06), np.full((1, 4), 0.04)
    attrs = ArgAttrs(1, False)
    assert ArgMax.propagate([x], [far], attrs).tolist() == [2]
    assert ArgMax.propagate([x], [near], attrs).tolist() == [0]
    assert ArgMin.propagate([x], [far], attrs).tolist() == [2]


def test_errors_of_products_and_truncated_means() -> None:
    attrs = ReduceAttrs("prod", (0,), keepdims=False)
    bound = Reduce.propagate([np.array([2.0, -3.0])], [np.array([0.5, 0.25])], attrs)
    assert bound.item() == 2.5 * 3.25 - 6
    mean = ReduceAttrs("mean", (0,), keepdims=False)
    bound = Reduce.propagate([np.array([2, 3])], [np.array([1.0, 0.0])], mean)
    assert bound.item() == 1.5
