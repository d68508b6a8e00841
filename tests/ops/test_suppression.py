"""Boxes that stay: order, thresholds, both forms of boxes, what errors can change, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.suppression import NonMaxSuppression, NonMaxSuppressionAttrs

# Two that overlap by a half, one apart, one without an area.
BOXES = np.array([[[0, 0, 2, 2], [0, 1, 2, 3], [9, 9, 8, 8], [1, 1, 1, 1]]], np.float64)
SCORES = np.array([[[0.5, 0.75, 0.5, 0.25]]])


def kept(boxes: np.ndarray = BOXES, scores: np.ndarray = SCORES, **attrs: Any) -> list[int]:
    made = NonMaxSuppression.reference([boxes, scores], NonMaxSuppressionAttrs(**attrs))
    found = made[made[:, 0] >= 0]
    assert made[len(found) :].tolist() == [[-1, -1, -1]] * (len(made) - len(found))
    return found[:, 2].tolist()


def test_the_highest_score_stays() -> None:
    assert kept(max_output=9, iou_threshold=0.3) == [1, 2, 3]
    assert kept(max_output=9, iou_threshold=0.34) == [1, 0, 2, 3], "a third of the union overlaps"
    assert kept(max_output=2, iou_threshold=0.3) == [1, 2]


def test_scores_have_to_be_above_their_threshold() -> None:
    assert kept(max_output=9, iou_threshold=1.0, score_threshold=0.5) == [1]
    assert kept(max_output=9, iou_threshold=1.0, score_threshold=0.2) == [1, 0, 2, 3]


def test_centres_and_sizes_are_the_same_boxes() -> None:
    low, high = (
        np.minimum(BOXES[..., :2], BOXES[..., 2:]),
        np.maximum(BOXES[..., :2], BOXES[..., 2:]),
    )
    centres = np.concatenate([(low + high)[..., ::-1] / 2, (high - low)[..., ::-1]], axis=-1)
    for threshold in (0.3, 0.34):
        wanted = kept(max_output=9, iou_threshold=threshold)
        assert kept(centres, max_output=9, iou_threshold=threshold, center_point=True) == wanted


def test_images_and_classes_follow_each_other() -> None:
    boxes, scores = np.repeat(BOXES, 2, axis=0), np.repeat(np.repeat(SCORES, 2, 0), 2, 1)
    attrs = NonMaxSuppressionAttrs(1)
    made = NonMaxSuppression.reference([boxes, scores], attrs)
    assert made.tolist() == [[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]


def test_errors_count_near_thresholds_only() -> None:
    no_error, some = [np.zeros(BOXES.shape), np.zeros(SCORES.shape)], np.full(SCORES.shape, 1e-3)
    scores = np.array([[[0.5, 0.75, 0.6, 0.25]]])
    for threshold, sure in ((0.3, True), (1 / 3, False)):
        attrs = NonMaxSuppressionAttrs(4, threshold)
        made = NonMaxSuppression.reference([BOXES, scores], attrs)
        assert (NonMaxSuppression.rounding([BOXES, scores], made, attrs).max() == 0) == sure
    attrs = NonMaxSuppressionAttrs(4, 0.3)
    assert NonMaxSuppression.propagate([BOXES, scores], [no_error[0], some], attrs).max() == 0
    assert NonMaxSuppression.propagate([BOXES, SCORES], [no_error[0], some], attrs).max() == 4
    near = NonMaxSuppressionAttrs(4, 0.3, 0.5)
    assert NonMaxSuppression.propagate([BOXES, scores], [no_error[0], some], near).max() == 4


PLAIN = NonMaxSuppressionAttrs(1)
REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("non_max_suppression", [f32(1, 4, 5), f32(1, 1, 4)], PLAIN, "boxes [N,B,4]"),
    ("non_max_suppression", [f32(1, 4, 4), f32(1, 1, 5)], PLAIN, "boxes [N,B,4]"),
    ("non_max_suppression", [f32(4, 4), f32(1, 4)], PLAIN, "boxes [N,B,4]"),
    ("non_max_suppression", [f32(1, 4, 4), f32(1, 1, 4)], NonMaxSuppressionAttrs(0), "max_output"),
    (
        "non_max_suppression",
        [f32(1, 4, 4), f32(1, 1, 4)],
        NonMaxSuppressionAttrs(1, 1.5),
        "from 0 to 1",
    ),
    (
        "non_max_suppression",
        [f32(1, 4, 4), TensorType(DType.F64, (1, 1, 4))],
        PLAIN,
        "computes in f32",
    ),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
