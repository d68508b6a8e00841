"""Scattered updates: their order, indices that are skipped, error bounds, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.scatter import ScatterElements, ScatterElementsAttrs, ScatterNd, ScatterNdAttrs


def scatter(reduction: str, x: Any, indices: Any, updates: Any) -> list[Any]:
    arrays = [np.array(x), np.array(indices), np.array(updates)]
    made = ScatterElements.reference(arrays, ScatterElementsAttrs(0, reduction))
    again = ScatterNd.reference([arrays[0], arrays[1][:, None], arrays[2]], _nd(reduction))
    assert np.array_equal(made, again, equal_nan=True)
    return made.tolist()


def _nd(reduction: str) -> ScatterNdAttrs:
    return ScatterNdAttrs(reduction)


def test_the_last_update_stays_and_those_out_of_range_are_skipped() -> None:
    assert scatter("none", [0, 0, 0], [1, -2, 1, 3, -4, -1], [1, 2, 3, 4, 5, 6]) == [0, 3, 6]


def test_updates_join_what_stands_there() -> None:
    assert scatter("add", [1, 1], [0, 0, 1], [2, 3, 4]) == [6, 5]
    assert scatter("mul", [2, 2], [0, 0, 1], [2, 3, 4]) == [12, 8]
    assert scatter("max", [2, 2], [0, 0, 1], [1, 3, 1]) == [3, 2]
    assert scatter("min", [2, 2], [0, 0, 1], [1, 3, 4]) == [1, 2]


def test_whole_numbers_wrap_and_nan_spreads() -> None:
    arrays = [np.array([250], np.uint8), np.array([0]), np.array([10], np.uint8)]
    assert ScatterElements.reference(arrays, ScatterElementsAttrs(0, "add")).tolist() == [4]
    assert np.isnan(scatter("max", [1.0], [0], [np.nan])[0])


@pytest.mark.parametrize("reduction", ["add", "mul"])
def test_f32_stays_within_the_bound(reduction: str) -> None:
    rng = np.random.default_rng(1)
    x, updates = (rng.normal(size=n).astype(np.float32) for n in (8, 200))
    indices = rng.integers(0, 8, 200)
    wide = [x.astype(np.float64), indices, updates.astype(np.float64)]
    attrs = ScatterElementsAttrs(0, reduction)
    exact = ScatterElements.reference(wide, attrs)
    error = np.abs(ScatterElements.reference([x, indices, updates], attrs) - exact)
    bound = ScatterElements.rounding(wide, exact, attrs)
    assert error.max() > 0
    assert np.all(error <= bound)
    assert np.all(bound <= 1e-3 * (1 + np.abs(exact)))


def whole(*shape: int) -> TensorType:
    return TensorType(DType.I64, shape)


PLAIN, ADD = ScatterElementsAttrs(), ScatterElementsAttrs(0, "add")
BOOL = TensorType(DType.BOOL, (3,))
REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("scatter_elements", [f32(3), f32(3), f32(3)], PLAIN, "`indices` of i32 or i64"),
    ("scatter_elements", [f32(3), whole(2), f32(3)], PLAIN, "an update for each index"),
    ("scatter_elements", [f32(3, 1), whole(2, 2), f32(2, 2)], PLAIN, "at most its extents"),
    ("scatter_elements", [f32(3), whole(3), whole(3)], PLAIN, "updates of f32"),
    ("scatter_elements", [f32(3), whole(3), f32(3)], _nd("sub"), "none, add, mul, max, min"),
    ("scatter_elements", [BOOL, whole(3), BOOL], ADD, "numbers for `add`"),
    ("scatter_nd", [f32(3, 2), whole(5, 3), f32(5)], _nd("none"), "1 to 2 indices a place"),
    ("scatter_nd", [f32(3, 2), whole(5, 1), f32(5)], _nd("none"), "updates of shape [5, 2]"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
