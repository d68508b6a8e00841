"""Reductions, extremes, running sums: axes as attributes and as operands."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(2, 3, 4)
POSITIVE = f32(2, 3, 4, low=0.5, high=2)
OPS = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axes", [None, [1], [0, -1]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_by_attribute_and_by_operand(op: str, axes: list[int] | None, keepdims: int) -> None:
    given = {} if axes is None else {"axes": axes}
    operand = [] if axes is None else [i64(*axes)]
    old = 12 if axes and -1 in axes else 7
    check(op, [POSITIVE], opset=12 if old == 12 else 8, keepdims=keepdims, **given)
    if op == "ReduceSum":
        check(op, [POSITIVE, *operand], opset=13, keepdims=keepdims)
    else:
        check(op, [POSITIVE], opset=13, keepdims=keepdims, **given)
    check(op, [POSITIVE, *operand], opset=18, keepdims=keepdims)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMax", "ReduceMean", "ReduceSumSquare"])
def test_no_axes_and_nothing_to_do(op: str) -> None:
    none = np.zeros(0, np.int64)
    equal(op, [X, none], run(op, [X], opset=18)[0], opset=18)
    if op != "ReduceSumSquare":
        equal(op, [X, none], X, opset=18, noop_with_empty_axes=1)
        equal(op, [X], X, opset=18, noop_with_empty_axes=1)
    else:
        equal(op, [X, none], X * X, opset=18, noop_with_empty_axes=1)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_whole_numbers(dtype: type) -> None:
    whole = (5 * X).astype(dtype)
    for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"):
        check(op, [whole, i64(1)], opset=18)
    equal("ReduceMax", [X > 0, i64(1)], (X > 0).max(axis=1, keepdims=True), opset=20)


def test_of_no_elements() -> None:
    nothing = np.zeros((2, 0, 4), np.float32)
    for op, value in (("ReduceSum", 0), ("ReduceProd", 1), ("ReduceL2", 0), ("ReduceMax", -np.inf)):
        equal(op, [nothing, i64(1)], np.full((2, 1, 4), value), opset=20)
    with pytest.raises(Refused, match="mean of no elements"):
        run("ReduceMean", [nothing, i64(1)], opset=18)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_places_of_extremes(op: str, axis: int) -> None:
    for opset in (7, 11, 13) if axis >= 0 else (11, 13):
        check(op, [X], opset=opset, axis=axis, keepdims=0)
        check(op, [X], opset=opset, axis=axis)
    ties = np.round(X)
    for last in (0, 1):
        check(op, [ties], opset=12, axis=axis, select_last_index=last)


def test_the_largest_by_attribute_and_by_operand() -> None:
    check("TopK", [X], opset=7, outputs=2, k=2, axis=1)
    check("TopK", [X, i64(3)], opset=10, outputs=2)
    check("TopK", [X, i64(2)], opset=11, outputs=2, axis=0, largest=0)
    check("TopK", [np.round(X), i64(4)], opset=11, outputs=2)
    check("TopK", [(9 * X).astype(np.int64), i64(2)], opset=24, outputs=2)
    with pytest.raises(Refused, match="axis 2 has 4"):
        run("TopK", [X, i64(5)], opset=11, outputs=2)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums(exclusive: int, reverse: int) -> None:
    how = {"exclusive": exclusive, "reverse": reverse}
    for axis in (0, -1):
        check("CumSum", [X, np.array(axis)], opset=11, **how)
        check("CumSum", [(9 * X).astype(np.int32), np.array(axis)], opset=14, **how)


def test_running_products() -> None:
    equal("CumProd", [X, np.array(1)], np.cumprod(X, axis=1), opset=26)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, 0, 1, -2, 9])
def test_triangles(upper: int, k: int | None) -> None:
    operand = [] if k is None else [np.array(k)]
    check("Trilu", [X, *operand], opset=14, upper=upper)
    check("Trilu", [(9 * X).astype(np.int64), *operand], opset=14, upper=upper)


def test_what_a_condition_selects() -> None:
    for condition in ([True, False, True], [False, True], [True, True, False]):
        check("Compress", [X, np.array(condition)], opset=9, axis=1)
    check("Compress", [X, np.array([True, False, False, True, True])], opset=11)
    check("Compress", [X, np.array([True, False])], opset=11, axis=-1)
    with pytest.raises(Refused, match="selects nothing"):
        run("Compress", [X, np.array([False])], opset=11)
