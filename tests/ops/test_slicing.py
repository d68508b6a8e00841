"""Slices and broadcasts: places on either way, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.slicing import Expand, ExpandAttrs, Slice, SliceAttrs
from tests.ops.element_numpy import evaluate


def test_slices_run_backwards() -> None:
    x = np.arange(12).reshape(3, 4)
    attrs = SliceAttrs((2, 3), (-2, -1), (2, 4))
    assert Slice.reference([x], attrs).tolist() == x[2::-2, ::-1].tolist()
    assert evaluate(Slice, [x], attrs).tolist() == x[2::-2, ::-1].tolist()


def test_a_scalar_spreads() -> None:
    attrs = ExpandAttrs((2, 3))
    assert Expand.infer([f32()], attrs) == f32(2, 3)
    assert evaluate(Expand, [np.array(7)], attrs).tolist() == [[7] * 3] * 2


REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("slice", [f32(4)], SliceAttrs((0,), (1,), (5,)), "places 0 to 4"),
    ("slice", [f32(4)], SliceAttrs((1,), (-1,), (3,)), "places 1 to -1"),
    ("slice", [f32(4)], SliceAttrs((4,), (-1,), (1,)), "places 4 to 4"),
    ("slice", [f32(4)], SliceAttrs((0,), (0,), (1,)), "step 0"),
    ("slice", [f32(4)], SliceAttrs((0, 0), (1, 1), (1, 1)), "starts of 1 whole"),
    ("slice", [f32(4)], SliceAttrs((0,), (1,), (0,)), "sizes of 1 whole numbers from 1"),
    ("expand", [f32(2)], ExpandAttrs((3,)), "cannot widen f32[2] to [3]"),
    ("expand", [f32(2, 2)], ExpandAttrs((2,)), "cannot widen"),
    ("expand", [f32(1)], ExpandAttrs((1,) * 9), "shape of 8 whole numbers"),
    ("expand", [f32(1)], ExpandAttrs((2**30, 2)), "more than"),
    ("expand", [TensorType(DType.I64, (0,))], ExpandAttrs((1,)), "axes of at least 1"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
