"""Normalisations: refusals, and magnitudes that error bounds rest on."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import f32
from cnncc.ops.norm import BatchNorm, BatchNormAttrs, Lrn, LrnAttrs, Scale, Softmax, SoftmaxAttrs


def test_batch_norm_magnitude_bounds_the_summands() -> None:
    """x = mean cancels to bias; the bound must still see both."""
    x = np.full((1, 1, 1, 1), 1000.0)
    one, mean = np.ones(1), np.full(1, 1000.0)
    operands = [x, one, one * 0, mean, one]
    assert BatchNorm.reference(operands, BatchNormAttrs(0.0)).item() == 0
    assert BatchNorm.magnitude(operands, BatchNormAttrs(0.0)).item() == 2000


def test_batch_norm_without_variance() -> None:
    zero, one = np.zeros(1), np.ones(1)
    made = BatchNorm.reference([np.array([[1.0]]), one, zero, zero, zero], BatchNormAttrs(0.0))
    assert made.item() == np.inf


def test_batch_norm_refuses() -> None:
    four = [f32(3)] * 4
    with pytest.raises(TypeInferenceError, match="eps of at least 0"):
        BatchNorm.infer([f32(1, 3, 2, 2), *four], BatchNormAttrs(-1e-5))
    with pytest.raises(TypeInferenceError, match=r"`scale` of shape \[4\]"):
        BatchNorm.infer([f32(1, 4, 2, 2), *four], BatchNormAttrs())
    with pytest.raises(TypeInferenceError, match="5 operands, got 4"):
        BatchNorm.infer([f32(1, 3, 2, 2), *four[:3]], BatchNormAttrs())


def test_scale_of_vectors() -> None:
    x = np.array([[1.0, 2.0]])
    made = Scale.reference([x, np.array([3.0, 4.0]), np.array([1.0, 1.0])], NoAttrs())
    assert made.tolist() == [[4.0, 9.0]]


def test_lrn_with_more_neighbours_than_channels() -> None:
    x = np.ones((1, 2, 1, 1))
    made = Lrn.reference([x], LrnAttrs(9, 9.0, 1.0, 1.0))
    np.testing.assert_allclose(made.ravel(), [1 / 3, 1 / 3])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_lrn_reaches_further_to_the_next_channels(size: int) -> None:
    """From c - floor((size-1)/2) to c + ceil((size-1)/2), even sizes too."""
    x = np.arange(1.0, 7.0).reshape(1, 6, 1, 1)
    made = Lrn.reference([x], LrnAttrs(size, size, 1.0, 1.0)).ravel()
    for c in range(6):
        near = [d for d in range(6) if c - (size - 1) // 2 <= d <= c - (1 - size) // 2]
        assert made[c] == (c + 1) / (1 + sum((d + 1) ** 2 for d in near))


def test_lrn_refuses() -> None:
    with pytest.raises(TypeInferenceError, match="k above 0"):
        Lrn.infer([f32(1, 2, 1, 1)], LrnAttrs(3, k=0.0))
    with pytest.raises(TypeInferenceError, match="size"):
        Lrn.infer([f32(1, 2, 1, 1)], LrnAttrs(0))


def test_softmax_of_extremes() -> None:
    made = Softmax.reference([np.array([[1e4, 0.0, -1e4]])], SoftmaxAttrs(1))
    assert made.tolist() == [[1.0, 0.0, 0.0]]
    for special in (np.inf, np.nan):
        made = Softmax.reference([np.array([[special, 0.0]])], SoftmaxAttrs(1))
        assert np.isnan(made).all()
    with pytest.raises(TypeInferenceError, match="axis from 0 to 1"):
        Softmax.infer([f32(1, 3)], SoftmaxAttrs(2))
