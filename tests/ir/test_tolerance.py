"""The judge: classes before values, saturation, vacuity, and the power of the bounds."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir.op import NoAttrs, lookup
from cnncc.ir.tolerance import compare, tolerance, vacuity
from cnncc.ir.types import f32
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import AvgPool2dAttrs
from tests.strategies import random_case

INF, NAN = np.inf, np.nan


def judge(actual: list[float], expected: list[float], bound: float = 0.0) -> str:
    found = compare(np.array(actual, np.float32), np.array(expected), bound)
    return "" if found is None else found.kind


def test_classes_come_first() -> None:
    assert judge([NAN, INF, -INF, 1], [NAN, INF, -INF, 1]) == ""
    assert judge([NAN], [1.0], 1e9) == "class"
    assert judge([1.0], [NAN], 1e9) == "class"
    assert judge([INF], [-INF], 1e9) == "class"
    assert judge([INF], [1e30], 1e9) == "class"
    assert judge([NAN], [INF], 1e9) == "class"


def test_zeros_of_either_sign_are_equal() -> None:
    assert judge([-0.0], [0.0]) == ""


def test_values_beyond_f32_saturate() -> None:
    largest = float(np.finfo(np.float32).max)
    assert judge([INF], [1e39]) == ""
    assert judge([-INF], [1e39]) == "class"
    assert judge([largest], [largest * 1.0001], largest * 1e-3) == ""
    assert judge([NAN], [1e39]) == "class"


def test_the_worst_element_is_named() -> None:
    found = compare(np.array([[1.0, 2.0, 3.0]], np.float32), np.array([[1.0, 2.5, 3.1]]), 0.05)
    assert found is not None
    assert (found.kind, found.index, found.count, found.total) == ("value", (0, 1), 2, 3)
    assert "value differs at [0,1]: 2.0 instead of 2.5" in str(found)


def test_shapes_must_agree() -> None:
    found = compare(np.zeros((1, 2), np.float32), np.zeros((2, 1)), 1.0)
    assert found is not None
    assert found.kind == "shape"


def test_vacuous_results_are_not_trusted() -> None:
    assert vacuity(np.full(10, NAN)) == "every element is NaN"
    assert vacuity(np.array([0.0] * 8 + [1.0, 2.0])) == "80% of the elements are 0.0"
    assert vacuity(np.arange(10.0)) is None
    assert vacuity(np.zeros(3)) is None


def naive(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A 1x1 convolution in f32, one channel after another."""
    y = np.zeros((x.shape[0], w.shape[0], *x.shape[2:]), np.float32)
    for c in range(x.shape[1]):
        y += x[:, None, c] * w[:, c]
    return y


@pytest.mark.parametrize("channels", [3, 64, 512])
def test_sums_pass_and_a_dropped_channel_does_not(channels: int) -> None:
    rng = np.random.default_rng(channels)
    x = rng.normal(size=(1, channels, 5, 5)).astype(np.float32)
    w = rng.normal(size=(4, channels, 1, 1)).astype(np.float32)
    exact = [x.astype(np.float64), w.astype(np.float64)]
    expected = lookup("conv2d").reference(exact, Conv2dAttrs())
    bound = tolerance("conv2d", Conv2dAttrs(), exact, expected)
    assert compare(naive(x, w), expected, bound) is None
    assert vacuity(expected) is None
    assert compare(naive(x[:, 1:], w[:, 1:]), expected, bound) is not None


def test_average_notices_one_tap_of_121() -> None:
    x = np.random.default_rng(0).random((1, 1, 11, 11))
    attrs = AvgPool2dAttrs((11, 11), (1, 1))
    expected = lookup("avg_pool2d").reference([x], attrs)
    bound = tolerance("avg_pool2d", attrs, [x], expected)
    assert compare((x.sum() / 121).reshape(1, 1, 1, 1).astype(np.float32), expected, bound) is None
    dropped = ((x.sum() - x[0, 0, 5, 5]) / 121).reshape(1, 1, 1, 1).astype(np.float32)
    assert compare(dropped, expected, bound) is not None


def test_moves_and_comparisons_are_exact() -> None:
    rng = np.random.default_rng(0)
    for name in ("relu", "max_pool2d", "concat", "channel_shuffle", "pad2d", "flatten"):
        case = random_case(rng, name)
        expected = lookup(name).reference(case.operands, case.attrs)
        assert not tolerance(name, case.attrs, case.operands, expected).any(), name


def test_softmax_bound_follows_the_depth() -> None:
    x = np.array([[0.0, -20.0]])
    expected = lookup("softmax").reference([x], lookup("softmax").Attrs())
    bound = tolerance("softmax", lookup("softmax").Attrs(), [x], expected)
    assert np.all(bound / expected < 40 * 2.0**-23)
    assert f32(1, 2).elems == bound.size
    assert lookup("relu").terms([f32(1, 2)], NoAttrs()) == 1
