"""Quotients, remainders and powers where definitions differ, and what errors make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.arithmetic import Div, Maximum, Minimum, Mod, ModAttrs, Pow
from cnncc.ops.elementwise import UNBOUNDED
from tests.numpy_scalar import NumpyScalar

SIGNS = np.array([7, -7, 7, -7, 0, 5]), np.array([2, 2, -2, -2, 3, 0])


def both(op: Any, arrays: tuple[np.ndarray, ...], attrs: Any) -> list[list[Any]]:
    """By the reference and by the scalar rule."""
    made = [op.reference(list(arrays), attrs), op.scalar(NumpyScalar(), list(arrays), attrs)]
    return [np.asarray(m).tolist() for m in made]


def test_whole_quotients_are_truncated_and_0_for_0() -> None:
    assert both(Div, SIGNS, NoAttrs()) == [[3, -3, -3, 3, 0, 0]] * 2
    least = np.array([-128, -128], np.int8), np.array([-1, 3], np.int8)
    assert both(Div, least, NoAttrs()) == [[-128, -42]] * 2
    large = np.array([2**64 - 1], np.uint64), np.array([2], np.uint64)
    assert both(Div, large, NoAttrs()) == [[2**63 - 1]] * 2


def test_remainders_have_the_sign_of_the_divisor_or_of_the_dividend() -> None:
    assert both(Mod, SIGNS, ModAttrs()) == [[1, 1, -1, -1, 0, 0]] * 2
    assert both(Mod, SIGNS, ModAttrs(fmod=True)) == [[1, -1, 1, -1, 0, 0]] * 2
    floats = np.array([5.5, -5.5, 5.5, -5.5]), np.array([2.0, 2.0, -2.0, -2.0])
    assert both(Mod, floats, ModAttrs()) == [[1.5, 0.5, -0.5, -1.5]] * 2
    assert both(Mod, floats, ModAttrs(fmod=True)) == [[1.5, -1.5, 1.5, -1.5]] * 2


def test_extremes_hand_on_nan() -> None:
    pair = np.array([np.nan, 1.0, -0.5]), np.array([0.0, np.nan, 2.0])
    for op, last in ((Minimum, -0.5), (Maximum, 2.0)):
        np.testing.assert_array_equal(op.reference(list(pair), NoAttrs()), [np.nan, np.nan, last])


def test_powers_at_the_edges() -> None:
    a = np.array([np.nan, 1.0, -8.0, -2.0, 0.0, -0.0, 2.0])
    b = np.array([0.0, np.nan, 1 / 3, 3.0, -1.0, -3.0, 0.5])
    expected = [1.0, 1.0, np.nan, -8.0, np.inf, -np.inf, 2**0.5]
    np.testing.assert_array_equal(Pow.reference([a, b], NoAttrs()), expected)


def test_powers_are_for_f32() -> None:
    with pytest.raises(TypeInferenceError, match="`pow` computes in f32"):
        Pow.infer([TensorType(DType.I32, (2,))] * 2, NoAttrs())


def test_a_divisor_that_may_be_0_bounds_nothing() -> None:
    a, b = np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.5, 0.0])
    errors = [np.zeros(3), np.array([0.25, 0.75, 0.0])]
    assert Div.propagate([a, b], errors, NoAttrs()).tolist() == [2.0, UNBOUNDED, 0.0]


def test_a_remainder_jumps_only_where_the_quotient_may_change() -> None:
    a, b = np.array([3.5, 4.1, -0.1]), np.array([2.0, 2.0, 2.0])
    errors = [np.full(3, 0.25), np.zeros(3)]
    floor = Mod.propagate([a, b], errors, ModAttrs())
    trunc = Mod.propagate([a, b], errors, ModAttrs(fmod=True))
    assert floor.tolist() == [0.25, 2.25, 2.25]
    assert trunc.tolist() == [0.25, 2.25, 0.25]


def test_a_base_that_may_be_negative_bounds_no_broken_power() -> None:
    a, b = np.array([0.5, 0.1, 0.1]), np.array([2.0, 2.0, -1.0])
    bound = Pow.propagate([a, b], [np.full(3, 0.25), np.zeros(3)], NoAttrs())
    assert 0.75**2 - 0.25 <= bound[0] < 1.0
    assert 0.35**2 <= bound[1] < 0.2
    assert bound[2] == UNBOUNDED
    broken = Pow.propagate([-a, b], [np.zeros(3), np.full(3, 0.25)], NoAttrs())
    assert broken.tolist() == [UNBOUNDED] * 3


def test_mod_wants_a_flag() -> None:
    with pytest.raises(TypeInferenceError, match="fmod to be true or false"):
        Mod.infer([f32(2), f32(2)], ModAttrs(1))  # type: ignore[arg-type]
