"""Regions: bins, samples outside the map, malformed regions, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.roi_align import RoiAlign, RoiAlignAttrs
from tests.ops.element_numpy import evaluate

RAMP = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)


def align(region: list[float], attrs: RoiAlignAttrs, batch: int = 0) -> list[list[float]]:
    arrays = [RAMP, np.array([region], np.float32), np.array([batch])]
    made = evaluate(RoiAlign, arrays, attrs)[0, 0]
    assert np.allclose(made, RoiAlign.reference(arrays, attrs)[0, 0], atol=1e-5)
    return made.tolist()


def test_the_whole_map_at_its_own_size_is_the_map() -> None:
    assert align([0, 0, 4, 4], RoiAlignAttrs((4, 4))) == RAMP[0, 0].tolist()


def test_bins_are_averages_of_their_samples() -> None:
    assert align([0, 0, 4, 4], RoiAlignAttrs((2, 2))) == [[2.5, 4.5], [10.5, 12.5]]
    assert align([0, 0, 8, 8], RoiAlignAttrs((2, 2), spatial_scale=0.5)) == [
        [2.5, 4.5],
        [10.5, 12.5],
    ]


def test_the_largest_is_that_of_weighted_pixels() -> None:
    assert align([0, 0, 4, 4], RoiAlignAttrs((2, 2), "max")) == [[5, 7], [13, 15]]
    assert align([0, 0, 2, 2], RoiAlignAttrs((1, 1), "max", 1)) == [[1.25]]


def test_samples_far_outside_count_as_zero() -> None:
    assert align([-9, -9, -5, -5], RoiAlignAttrs((2, 2))) == [[0, 0], [0, 0]]
    assert align([1, 1, 1, 1], RoiAlignAttrs((1, 1))) == [[0]], "no samples"
    assert align([1, 1, 1, 1], RoiAlignAttrs((1, 1), half_pixel=False)) == [[7.5]], "one pixel"


def test_any_number_is_a_legal_region() -> None:
    for wild in (np.nan, np.inf, -np.inf, 3e38, 1e9):
        for mode in ("avg", "max"):
            attrs = RoiAlignAttrs((1, 1), mode, sampling_ratio=2)
            arrays = [RAMP, np.array([[wild, 0, 1, wild]], np.float32), np.array([7])]
            with np.errstate(all="ignore"):
                evaluate(RoiAlign, arrays, attrs)


MAP, BATCH = f32(1, 1, 4, 4), TensorType(DType.I64, (2,))
REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("roi_align", [MAP, f32(2, 5), BATCH], RoiAlignAttrs((1, 1)), "`regions` [R,4]"),
    ("roi_align", [MAP, f32(3, 4), BATCH], RoiAlignAttrs((1, 1)), "`batch` of shape [3]"),
    ("roi_align", [MAP, f32(2, 4), f32(2)], RoiAlignAttrs((1, 1)), "of i32 or i64"),
    ("roi_align", [MAP, f32(2, 4), BATCH], RoiAlignAttrs((0, 1)), "output_size"),
    ("roi_align", [MAP, f32(2, 4), BATCH], RoiAlignAttrs((1, 1), "sum"), "avg, max"),
    ("roi_align", [MAP, f32(2, 4), BATCH], RoiAlignAttrs((1, 1), "avg", 2000), "up to 1024"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
