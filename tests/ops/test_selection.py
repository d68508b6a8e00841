"""The largest elements: ties, NaN, bounds on places, rows that were found, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.selection import CountRows, TopKAttrs, TopKIndices, TopKValues
from tests.ops.element_numpy import evaluate

NAN = float("nan")


@pytest.mark.parametrize(
    ("x", "largest", "places"),
    [
        ([1, 3, 3, 2], True, [1, 2, 3, 0]),
        ([3, 1, 1, 2], False, [1, 2, 3, 0]),
        ([1, NAN, 2, NAN], True, [1, 3, 2, 0]),
        ([1, NAN, 2, NAN], False, [0, 2, 1, 3]),
    ],
)
def test_order(x: list[float], largest: bool, places: list[int]) -> None:
    for k in range(1, 5):
        attrs = TopKAttrs(k, 0, largest)
        assert TopKIndices.reference([np.array(x)], attrs).tolist() == places[:k]
        values = TopKValues.reference([np.array(x)], attrs)
        assert np.array_equal(values, np.array(x)[places[:k]], equal_nan=True)


def test_unsigned_numbers_have_no_sign_to_turn() -> None:
    x = np.array([0, 2**64 - 1, 5], np.uint64)
    assert TopKIndices.reference([x], TopKAttrs(3, 0)).tolist() == [1, 2, 0]


def test_places_are_sure_unless_values_come_close() -> None:
    x, errors = np.array([1.0, 2.0, 2.1, 4.0]), np.full(4, 0.1)
    assert TopKIndices.propagate([x], [errors], TopKAttrs(4, 0)).tolist() == [0, 3, 3, 0]
    assert TopKIndices.propagate([x], [0 * errors], TopKAttrs(4, 0)).tolist() == [0, 0, 0, 0]
    assert TopKValues.propagate([x], [errors], TopKAttrs(2, 0)).tolist() == [0.1, 0.1]


def test_rows_are_counted() -> None:
    rows = np.array([[0, 1, 2], [0, 0, 0], [-1, -1, -1]])
    assert evaluate(CountRows, [rows], None).tolist() == [2]


REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("topk_values", [f32(3)], TopKAttrs(4, 0), "k=4 of axis 0"),
    ("topk_values", [f32(3)], TopKAttrs(0, 0), "from 1"),
    ("topk_indices", [f32(3)], TopKAttrs(1, 1), "axis from 0 to 0"),
    ("topk_indices", [TensorType(DType.BOOL, (3,))], TopKAttrs(1, 0), "wants numbers"),
    ("count_rows", [f32(3, 3)], None, "rows i64[M,3]"),
    ("count_rows", [TensorType(DType.I64, (3, 2))], None, "rows i64[M,3]"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
