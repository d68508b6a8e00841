"""Shapes as values, and constants."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(2, 3, 4)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, [2, 3, 4]),
        ({"start": 1}, [3, 4]),
        ({"start": -1}, [4]),
        ({"end": -1}, [2, 3]),
        ({"start": 1, "end": 2}, [3]),
        ({"start": -10, "end": 10}, [2, 3, 4]),
    ],
)
def test_shape(given: dict[str, int], wanted: list[int]) -> None:
    equal("Shape", [X], wanted, opset=15, **given)
    if not given:
        equal("Shape", [X], wanted, opset=7)


def test_size() -> None:
    check("Size", [X], opset=7)
    check("Size", [np.float32(3.0)], opset=13)


def test_constants_of_every_kind() -> None:
    for name, value, wanted in (
        ("value", numpy_helper.from_array(X), X),
        ("value_float", 1.5, np.float32(1.5)),
        ("value_int", 7, np.int64(7)),
        ("value_floats", [1.0, 2.0], np.array([1, 2], np.float32)),
        ("value_ints", [1, 2], np.array([1, 2])),
    ):
        (found,) = run("Constant", [], opset=13, **{name: value})
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)
    with pytest.raises(Refused, match="value_string"):
        run("Constant", [], opset=13, value_string="a")


def test_constant_of_shape() -> None:
    check("ConstantOfShape", [i64(2, 3)], opset=9)
    seven = helper.make_tensor("v", TensorProto.INT64, [1], [7])
    check("ConstantOfShape", [i64(2, 3)], opset=9, value=seven)
    with pytest.raises(Refused, match="shape"):
        run("ConstantOfShape", [i64(2, -3)], opset=9)
    with pytest.raises(Refused, match="shape"):
        run("ConstantOfShape", [i64(2**20, 2**20)], opset=9)


@pytest.mark.parametrize(
    ("start", "limit", "delta"), [(0, 5, 1), (10, 4, -2), (1, 9, 3), (0.5, 2.0, 0.25), (3, 3.5, 1)]
)
def test_range(start: float, limit: float, delta: float) -> None:
    dtype = np.int64 if all(float(v).is_integer() for v in (start, limit, delta)) else np.float32
    check("Range", [np.asarray(v, dtype) for v in (start, limit, delta)], opset=11)


def test_a_range_that_never_ends() -> None:
    with pytest.raises(Refused, match="not 0"):
        run("Range", [np.int64(0), np.int64(5), np.int64(0)], opset=11)


@pytest.mark.parametrize(("k", "dtype"), [(0, None), (1, 7), (-1, 11), (5, 1)])
def test_eye_like(k: int, dtype: int | None) -> None:
    given = {} if dtype is None else {"dtype": dtype}
    check("EyeLike", [f32(3, 4)], opset=9, k=k, **given)
