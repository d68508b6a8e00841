"""Bits of whole numbers, and shifts by more than there are."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.bitwise import BitAnd, BitNot, Shift, ShiftAttrs
from tests.numpy_scalar import NumpyScalar


@pytest.mark.parametrize(("left", "expected"), [(True, [2, 128, 0, 0]), (False, [0, 0, 0, 0])])
def test_shifts_by_the_width_or_more_give_0(left: bool, expected: list[int]) -> None:
    arrays = [np.array([1, 1, 1, 255], np.uint8), np.array([1, 7, 8, 200], np.uint8)]
    attrs = ShiftAttrs(left)
    assert Shift.reference(arrays, attrs).tolist() == expected
    assert np.asarray(Shift.scalar(NumpyScalar(), arrays, attrs)).tolist() == expected


@pytest.mark.parametrize(("left", "expected"), [(True, [0, -128, 0, 0]), (False, [-1, 0, -1, 0])])
def test_of_signed_numbers_shifted_too_far_the_sign_is_left(
    left: bool, expected: list[int]
) -> None:
    arrays = [np.array([-128, 1, -3, 3], np.int8), np.array([7, 7, -1, 100], np.int8)]
    attrs = ShiftAttrs(left)
    assert Shift.reference(arrays, attrs).tolist() == expected
    assert np.asarray(Shift.scalar(NumpyScalar(), arrays, attrs)).tolist() == expected


def test_bits_of_floats_and_truth_values_have_no_meaning() -> None:
    for found in (f32(2), TensorType(DType.BOOL, (2,))):
        with pytest.raises(TypeInferenceError, match="computes in i64"):
            BitAnd.infer([found, found], NoAttrs())
        with pytest.raises(TypeInferenceError, match="computes in i64"):
            BitNot.infer([found], NoAttrs())


def test_one_uncertain_operand_makes_all_bits_uncertain() -> None:
    arrays = [np.array([1, 2], np.int8)] * 2
    bound = BitAnd.propagate(arrays, [np.array([0.0, 1.0]), np.zeros(2)], NoAttrs())
    assert bound.tolist() == [0.0, 255.0]
