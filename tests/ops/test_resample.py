"""Interpolation by taps: what weights of 0 keep out, and indices beyond the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.resample import Resample, ResampleAttrs
from cnncc.ops.resize import Upsample2d, Upsample2dAttrs, bilinear_taps
from tests.ops.element_numpy import evaluate


def test_taps_of_weight_zero_are_skipped() -> None:
    x = np.array([np.inf, 2, np.nan], np.float32)
    indices = np.array([[1, 0], [1, 2], [0, 1]])
    weights = np.array([[1, 0], [0.5, 0], [1, 0]], np.float32)
    arrays = [x, indices, weights]
    assert Resample.reference(arrays, ResampleAttrs(0)).tolist() == [2, 1, np.inf]
    assert evaluate(Resample, arrays, ResampleAttrs(0)).tolist() == [2, 1, np.inf]


def test_indices_beyond_the_edges_take_the_edge() -> None:
    x = np.array([1, 2, 3], np.float32)
    arrays = [x, np.array([[-5], [9]], np.int32), np.ones((2, 1), np.float32)]
    assert evaluate(Resample, arrays, ResampleAttrs(0)).tolist() == [1, 3]


def test_two_axes_are_a_bilinear_upsampling() -> None:
    x = np.random.default_rng(3).normal(size=(1, 2, 4, 5))
    y = x
    for axis in (2, 3):
        low, high, weight = map(np.array, bilinear_taps(x.shape[axis], 2))
        taps = [np.stack([low, high], 1), np.stack([1 - weight, weight], 1)]
        y = Resample.reference([y, *taps], ResampleAttrs(axis))
    wanted = Upsample2d.reference([x], Upsample2dAttrs((2, 2), "bilinear"))
    assert np.allclose(y, wanted, rtol=1e-12, atol=1e-12)


TAPS = TensorType(DType.I64, (4, 2))
REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("resample", [f32(3), TAPS, f32(4)], ResampleAttrs(0), "`weights` of f32[4, 2]"),
    ("resample", [f32(3), f32(4, 2), f32(4, 2)], ResampleAttrs(0), "of i32 or i64"),
    ("resample", [f32(3), TAPS, f32(4, 2)], ResampleAttrs(1), "axis from 0 to 0"),
    ("resample", [TAPS, TAPS, f32(4, 2)], ResampleAttrs(0), "computes in f32"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
