"""Indices: from either end, out of range, of any rank; sequences of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.indexing import (
    Gather,
    GatherAttrs,
    GatherElements,
    GatherNd,
    GatherNdAttrs,
    ReverseSequence,
    ReverseSequenceAttrs,
)
from tests.ops.element_numpy import evaluate

I64 = DType.I64
FAR = np.iinfo(np.int64)


def test_indices_are_made_legal() -> None:
    """Negative ones count from the end, then the nearest place is taken: nothing else is read."""
    x, indices = np.arange(4.0, dtype=np.float32), np.array([-1, -4, -5, 3, 4, FAR.min, FAR.max])
    expected = [3, 0, 0, 3, 3, 0, 3]
    for found in (Gather.reference, lambda a, b: evaluate(Gather, a, b)):
        assert found([x, indices], GatherAttrs(0)).tolist() == expected
    assert evaluate(GatherElements, [x, indices], GatherAttrs(0)).tolist() == expected
    assert evaluate(GatherNd, [x, indices[:, None]], GatherNdAttrs()).tolist() == expected


def test_an_index_without_axes_drops_the_axis() -> None:
    x = np.arange(6).reshape(2, 3)
    found = Gather.infer([TensorType(I64, (2, 3)), TensorType(I64, ())], GatherAttrs(1))
    assert found.shape == (2,)
    assert evaluate(Gather, [x, np.array(-1)], GatherAttrs(1)).tolist() == [2, 5]


def test_batches_run_side_by_side() -> None:
    x = np.arange(8).reshape(2, 2, 2)
    indices = np.array([[1], [0]])
    assert evaluate(GatherNd, [x, indices], GatherNdAttrs(1)).tolist() == [[2, 3], [4, 5]]


def test_sequences_keep_their_rest() -> None:
    x = np.arange(8).reshape(2, 4)
    attrs = ReverseSequenceAttrs(batch_axis=0, time_axis=1)
    expected = [[2, 1, 0, 3], [7, 6, 5, 4]]
    assert evaluate(ReverseSequence, [x, np.array([3, 9])], attrs).tolist() == expected
    assert ReverseSequence.reference([x, np.array([3, 9])], attrs).tolist() == expected


def whole(*shape: int) -> TensorType:
    return TensorType(I64, shape)


REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("gather", [f32(3), f32(2)], GatherAttrs(0), "`indices` of i32 or i64"),
    ("gather", [f32(), whole(2)], GatherAttrs(0), "axis"),
    ("gather", [f32(3), whole(0)], GatherAttrs(0), "axes of at least 1"),
    ("gather", [f32(*[1] * 5), whole(*[1] * 5)], GatherAttrs(0), "rank 9"),
    ("gather_elements", [f32(3, 2), whole(2, 3)], GatherAttrs(0), "at most its extents"),
    ("gather_elements", [f32(3, 2), whole(2)], GatherAttrs(0), "of the rank of x"),
    ("gather_nd", [f32(3, 2), whole(2, 3)], GatherNdAttrs(), "at most as many indices"),
    ("gather_nd", [f32(3, 2), whole(2, 1)], GatherNdAttrs(1), "equal extents in front"),
    ("gather_nd", [f32(3, 2), whole()], GatherNdAttrs(), "at most as many"),
    ("reverse_sequence", [f32(3, 2), whole(2)], ReverseSequenceAttrs(0, 1), "of shape [3]"),
    ("reverse_sequence", [f32(3, 2), f32(3)], ReverseSequenceAttrs(0, 1), "of i32 or i64"),
    ("reverse_sequence", [f32(3, 2), whole(3)], ReverseSequenceAttrs(0, 0), "one twice"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
