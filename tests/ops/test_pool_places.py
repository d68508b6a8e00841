"""Places of maxima: the first of several, NaN, padding, samples and channels, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import f32
from cnncc.ops.pool import MaxPool2d, MaxPool2dAttrs
from cnncc.ops.pool_places import MaxPoolPlaces
from tests.ops.element_numpy import evaluate

TWO = MaxPool2dAttrs((2, 2), (2, 2))


def places(x: np.ndarray, attrs: MaxPool2dAttrs) -> list[int]:
    made = MaxPoolPlaces.reference([x.astype(np.float32)], attrs)
    assert np.array_equal(evaluate(MaxPoolPlaces, [x.astype(np.float32)], attrs), made)
    return made.reshape(-1).tolist()


def test_places_count_through_the_whole_tensor() -> None:
    x = np.arange(2 * 2 * 2 * 4).reshape(2, 2, 2, 4)
    assert places(x, TWO) == [5, 7, 13, 15, 21, 23, 29, 31]


def test_the_first_of_equal_ones_and_the_first_nan() -> None:
    assert places(np.zeros((1, 1, 2, 2)), TWO) == [0]
    assert places(np.array([[[[5, np.nan], [np.inf, np.nan]]]]), TWO) == [1]
    assert places(np.full((1, 1, 2, 2), -np.inf), TWO) == [0]


def test_padding_is_never_chosen() -> None:
    bordered = MaxPool2dAttrs((3, 3), (2, 2), (1, 1, 1, 1))
    assert places(np.full((1, 1, 2, 2), -np.inf), bordered) == [0]
    assert places(np.array([[[[-3.0, -4.0], [-1.0, -2.0]]]]), bordered) == [2]


def test_the_values_at_the_places_are_the_maxima() -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 7, 8)).astype(np.float32)
    attrs = MaxPool2dAttrs((3, 2), (2, 1), (1, 0, 1, 1), True, (2, 3))
    found = MaxPoolPlaces.reference([x], attrs)
    assert np.array_equal(x.reshape(-1)[found], MaxPool2d.reference([x], attrs))


def test_what_the_pooling_refuses_is_refused() -> None:
    with pytest.raises(TypeInferenceError, match="max_pool_places"):
        MaxPoolPlaces.infer([f32(1, 1, 1, 1)], TWO)
    with pytest.raises(TypeInferenceError, match="window of 2 whole numbers"):
        MaxPoolPlaces.infer([f32(1, 1, 4, 4)], MaxPool2dAttrs((0, 1), (1, 1)))


def test_errors_of_a_window_may_move_its_place_to_the_other_end() -> None:
    x = np.zeros((1, 1, 2, 4))
    error = np.array([[[[0, 0, 0, 1e-3], [0, 0, 0, 0]]]])
    assert MaxPoolPlaces.propagate([x], [error], TWO).tolist() == [[[[0.0, 5.0]]]]
