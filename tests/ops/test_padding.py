"""Borders: what each kind holds, values of each type, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.padding import Pad, PadAttrs
from tests.ops.element_numpy import evaluate


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [9, 9, 9, 1, 2, 3, 9, 9, 9, 9, 9]),
        ("edge", [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3]),
        ("reflect", [2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]),
        ("wrap", [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2]),
    ],
)
def test_borders_wider_than_the_value(mode: str, expected: list[int]) -> None:
    x, attrs = np.array([1, 2, 3]), PadAttrs(mode, (3,), (5,), 9)
    assert Pad.reference([x], attrs).tolist() == expected
    assert evaluate(Pad, [x], attrs).tolist() == expected


def test_a_single_element_is_mirrored_into_itself() -> None:
    attrs = PadAttrs("reflect", (2,), (1,))
    assert evaluate(Pad, [np.array([5])], attrs).tolist() == [5] * 4


def test_a_border_of_infinities_is_exact() -> None:
    attrs = PadAttrs("constant", (1,), (0,), -np.inf)
    x = np.ones(2, np.float32)
    assert evaluate(Pad, [x], attrs).tolist() == [-np.inf, 1, 1]
    assert Pad.propagate([x], [np.full(2, 0.5)], attrs).tolist() == [0, 0.5, 0.5]


def one(dtype: DType) -> list[TensorType]:
    return [TensorType(dtype, (3,))]


REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("pad", [f32(3)], PadAttrs("mirror", (1,), (1,)), "constant, edge, reflect, wrap"),
    ("pad", [f32(3)], PadAttrs("edge", (-1,), (1,)), "before of 1 whole numbers from 0"),
    ("pad", [f32(3)], PadAttrs("edge", (1,), (1, 1)), "after of 1 whole"),
    ("pad", [f32(3)], PadAttrs("constant", (1,), (1,), 0.1), "a number of f32, got 0.1"),
    ("pad", [f32(3)], PadAttrs("constant", (1,), (1,), 1e300), "a number of f32"),
    ("pad", [f32(3)], PadAttrs("constant", (1,), (1,), True), "a number of f32"),
    ("pad", one(DType.U8), PadAttrs("constant", (1,), (1,), -1), "a number of u8, got -1"),
    ("pad", one(DType.I64), PadAttrs("constant", (1,), (1,), 0.5), "a number of i64"),
    ("pad", one(DType.I64), PadAttrs("constant", (1,), (1,), np.inf), "a number of i64"),
    ("pad", one(DType.BOOL), PadAttrs("constant", (1,), (1,), 2), "a number of bool"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
