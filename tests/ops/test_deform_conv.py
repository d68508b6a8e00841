"""Deformable convolution: still taps, moved taps, channels that move alike, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType, f32
from cnncc.ops.conv import Conv2d, Conv2dAttrs
from cnncc.ops.deform_conv import DeformConv, DeformConvAttrs
from tests.ops.element_numpy import evaluate

RNG = np.random.default_rng(5)


def test_taps_that_stand_still_are_a_convolution() -> None:
    x, w = RNG.normal(size=(2, 4, 6, 5)), RNG.normal(size=(6, 2, 3, 2))
    geometry = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2), "groups": 2}
    wanted = Conv2d.reference([x, w], Conv2dAttrs(**geometry))  # type: ignore[arg-type]
    attrs = DeformConvAttrs(**geometry, offset_groups=4)  # type: ignore[arg-type]
    still = np.zeros((2, 2 * 4 * 6, *wanted.shape[2:]))
    assert np.allclose(DeformConv.reference([x, w, still], attrs), wanted, atol=1e-12)
    half = np.full((2, 4 * 6, *wanted.shape[2:]), 0.5)
    assert np.allclose(DeformConv.reference([x, w, still, half], attrs), wanted / 2, atol=1e-12)


def test_rows_come_before_columns() -> None:
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    w, offset = np.ones((1, 1, 1, 1), np.float32), np.zeros((1, 2, 3, 3), np.float32)
    offset[0, 0] = 1
    made = evaluate(DeformConv, [x, w, offset], DeformConvAttrs())
    assert made[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [0, 0, 0]]
    offset[0, 0], offset[0, 1] = 0, 0.5
    made = evaluate(DeformConv, [x, w, offset], DeformConvAttrs())
    assert made[0, 0].tolist() == [[0.5, 1.5, 1], [3.5, 4.5, 2.5], [6.5, 7.5, 4]]


def test_each_group_moves_on_its_own() -> None:
    x = np.ones((1, 2, 1, 1), np.float32)
    w = np.array([1, 10], np.float32).reshape(1, 2, 1, 1)
    offset = np.array([0, 0, 5, 0], np.float32).reshape(1, 4, 1, 1)
    made = evaluate(DeformConv, [x, w, offset], DeformConvAttrs(offset_groups=2))
    assert made.item() == 1, "the second channel has left the map"


X, W = f32(1, 4, 5, 5), f32(2, 4, 3, 3)
REFUSED: list[tuple[list[TensorType], Any, str]] = [
    ([X, W, f32(1, 9, 3, 3)], DeformConvAttrs(), "`offset` of shape [1, 18, 3, 3]"),
    ([X, W, f32(1, 18, 3, 3), f32(1, 18, 3, 3)], DeformConvAttrs(), "`mask` of shape [1, 9, 3, 3]"),
    ([X, W, f32(1, 18, 3, 3)], DeformConvAttrs(groups=2), "filters over 2 channels"),
    ([X, W, f32(1, 18, 3, 3)], DeformConvAttrs(offset_groups=3), "does not divide 4"),
    ([X, f32(2, 4, 7, 3), f32(1, 42, 1, 3)], DeformConvAttrs(), "does not fit the height"),
    ([X, W], DeformConvAttrs(), "3 to 4 operands"),
]


@pytest.mark.parametrize(("types", "attrs", "words"), REFUSED)
def test_refused(types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup("deform_conv").infer(types, attrs)
    assert words in caught.value.message
