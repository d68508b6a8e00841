"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, UNIT_ROUNDOFF, Array, Cost, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


@dataclass(frozen=True, slots=True)
class NonMaxSuppressionAttrs:
    """Which boxes stay.

    Attributes:
        max_output: most boxes of one class in one image.
        iou_threshold: a box goes when its intersection with one that stays, over their union, is
            above this; 0 to 1.
        score_threshold: boxes whose score is not above this go; `None` keeps all.
        center_point: boxes are (x centre, y centre, width, height), else two opposite corners
            (y, x, y, x).
    """

    max_output: int
    iou_threshold: float = 0.0
    score_threshold: float | None = None
    center_point: bool = False


class NonMaxSuppression(Op):
    """The rows (image, class, box) of the boxes that stay: i64[M,3], M = N·K·min(max_output, B).

    Images [N] follow each other, in each of them classes [K], in each of them boxes by falling
    score, equal scores by their place. Rows behind the last one found hold -1. Boxes without an
    area overlap nothing; a NaN score is below every threshold, and last without one.
    """

    name = "non_max_suppression"
    Attrs = NonMaxSuppressionAttrs
    arity = (2, 2)
    operand_names = ("boxes", "scores")
    traits = frozenset({Trait.ANCHOR})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: NonMaxSuppressionAttrs) -> TensorType:
        """As many rows as there may be."""
        op = NonMaxSuppression
        check.arity(op, types)
        check.floats(op, types)
        boxes, scores = types
        for found, word in ((boxes, "boxes"), (scores, "scores")):
            check.positive_shape(op, found, word)
        whole = len(boxes.shape) == len(scores.shape) == 3 and boxes.shape[2] == 4
        if not whole or (boxes.shape[0], boxes.shape[1]) != (scores.shape[0], scores.shape[2]):
            raise TypeInferenceError(
                f"`{op.name}` wants boxes [N,B,4] and scores [N,K,B], got {boxes} and {scores}"
            )
        most = check.integer(op, "max_output", attrs.max_output, 1)
        if not 0.0 <= check.finite(op, "iou_threshold", attrs.iou_threshold) <= 1.0:
            raise TypeInferenceError(
                f"`{op.name}` wants iou_threshold from 0 to 1, got {attrs.iou_threshold!r}"
            )
        if attrs.score_threshold is not None:
            check.finite(op, "score_threshold", attrs.score_threshold)
        check.flag(op, "center_point", attrs.center_point)
        images, classes, count = scores.shape
        return check.result(op, DType.I64, (images * classes * min(most, count), 3))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: NonMaxSuppressionAttrs) -> Array:
        """The definition."""
        return _select(arrays, attrs, 0.0, 0.0)[0]

    @staticmethod
    def cost(
        types: Sequence[TensorType], result: TensorType, attrs: NonMaxSuppressionAttrs
    ) -> Cost:
        """About 20 operations for each box against each that stays."""
        pairs = types[1].elems * min(attrs.max_output, types[1].shape[2])
        return Cost(0, 20 * pairs, sum(t.size_bytes for t in types) + result.size_bytes)

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: NonMaxSuppressionAttrs) -> F64:
        """Nothing, unless some overlap comes within rounding of the threshold."""
        return _bound(arrays, attrs, 0.0, 0.0, result.shape)

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: NonMaxSuppressionAttrs
    ) -> F64:
        """Nothing, unless errors reach over a threshold or between two scores."""
        shape = np.shape(cls.reference(arrays, attrs))
        return _bound(arrays, attrs, float(errors[0].max()), float(errors[1].max()), shape)


def _bound(
    arrays: Sequence[Array],
    attrs: NonMaxSuppressionAttrs,
    box_error: float,
    score_error: float,
    shape: tuple[int, ...],
) -> F64:
    """0 where every decision is certain, else what two rows can differ by."""
    certain = _select(arrays, attrs, box_error, score_error)[1]
    return np.full(shape, 0.0 if certain else float(max(arrays[1].shape)))


def _select(
    arrays: Sequence[Array], attrs: NonMaxSuppressionAttrs, box_error: float, score_error: float
) -> tuple[NDArray[np.int64], bool]:
    """The rows, and whether they stay the same under such errors of coordinates and scores."""
    boxes, scores = arrays
    images, classes, count = scores.shape
    found: list[tuple[int, int, int]] = []
    certain = True
    for image in range(images):
        edges = _edges(boxes[image].astype(np.float64), attrs.center_point)
        slack = box_error * (2.0 if attrs.center_point else 1.0)
        slack += 4 * UNIT_ROUNDOFF * float(np.nan_to_num(np.abs(edges)).max())
        for which in range(classes):
            kept, sure = _select_one(edges, scores[image, which], attrs, slack, score_error)
            found += [(image, which, box) for box in kept]
            certain = certain and sure
    rows = np.full((images * classes * min(attrs.max_output, count), 3), -1, np.int64)
    rows[: len(found)] = np.reshape(found, (-1, 3))
    return rows, certain


def _edges(boxes: F64, center_point: bool) -> F64:
    """Low y, low x, high y and high x of each box [B,4]."""
    if center_point:
        x, y, width, height = boxes.T
        low, high = (y - height / 2, x - width / 2), (y + height / 2, x + width / 2)
        return np.stack([*low, *high], axis=1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _select_one(
    edges: F64, scores: Array, attrs: NonMaxSuppressionAttrs, slack: float, score_error: float
) -> tuple[list[int], bool]:
    """The boxes of one class that stay, by falling score."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    certain = True
    if attrs.score_threshold is not None:
        least = float(np.float32(attrs.score_threshold))
        certain = not (score_error and np.any(np.abs(scores - least) <= score_error))
        order = order[scores[order] > least]
    if score_error:
        certain = certain and not np.any(np.abs(np.diff(scores[order])) <= 2 * score_error)
    limit = float(np.float32(attrs.iou_threshold))
    kept: list[int] = []
    for box in order.tolist():
        if len(kept) == attrs.max_output:
            break
        overlaps = [_overlap(edges[box], edges[other], slack) for other in kept]
        certain = certain and all(abs(iou - limit) > error for iou, error in overlaps)
        if not any(iou > limit for iou, _ in overlaps):
            kept.append(box)
    return kept, bool(certain)


def _overlap(a: F64, b: F64, slack: float) -> tuple[float, float]:
    """Intersection over union of two boxes, and its error if every edge is off by `slack`."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    spans = [box[2:] - box[:2] for box in (a, b)]
    areas = [float(np.prod(span)) for span in spans]
    shared = float(np.prod(np.maximum(sides, 0.0)))
    union = sum(areas) - shared
    apart = not (float(sides.min()) >= -2 * slack)
    if apart or not (min(areas) > 0 and union > 0):
        return -1.0, 0.0
    error = 6 * slack * float(sum(span.sum() for span in spans)) / union + 8 * UNIT_ROUNDOFF
    return shared / union, error
