"""Comparisons of what is no number, and answers that errors may turn."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.comparison import (
    Equal,
    Greater,
    GreaterEqual,
    IsInf,
    IsInfAttrs,
    Less,
    LessEqual,
    LogicalAnd,
    Where,
)
from tests.numpy_scalar import NumpyScalar

BOOL = TensorType(DType.BOOL, (2,))


@pytest.mark.parametrize("op", [Equal, Less, LessEqual, Greater, GreaterEqual])
def test_nothing_holds_of_nan(op: type[Equal | Less]) -> None:
    pair = [np.array([np.nan, np.nan, 1.0]), np.array([np.nan, 1.0, np.nan])]
    assert not op.reference(pair, NoAttrs()).any()


@pytest.mark.parametrize("op", [Equal, Less, LessEqual, Greater, GreaterEqual])
def test_answers_flip_only_within_reach(op: type[Equal | Less]) -> None:
    a, b = np.array([1.0, 1.0, 1.0, np.inf]), np.array([1.5, 1.0, 1.0, np.inf])
    errors = [np.array([0.25, 0.0, 0.5, 0.0]), np.array([0.125, 0.0, 0.0, 0.0])]
    assert op.propagate([a, b], errors, NoAttrs()).tolist() == [0, 0, 1, 0]


def test_truth_values_are_equal_but_not_ordered() -> None:
    assert Equal.infer([BOOL, BOOL], NoAttrs()) == BOOL
    with pytest.raises(TypeInferenceError, match="`less` computes in"):
        Less.infer([BOOL, BOOL], NoAttrs())


def test_logic_is_for_truth_values() -> None:
    with pytest.raises(TypeInferenceError, match="`logical_and` computes in bool, but `a` is"):
        LogicalAnd.infer([f32(2), f32(2)], NoAttrs())


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([f32(2), f32(2), f32(2)], "`cond` of bool"),
        ([BOOL, f32(2), BOOL], "`a` and `b` of one element type"),
        ([BOOL, f32(3), f32(3)], "cannot broadcast bool"),
    ],
)
def test_choices_that_do_not_fit(types: list[TensorType], message: str) -> None:
    with pytest.raises(TypeInferenceError, match=message):
        Where.infer(types, NoAttrs())


def test_all_three_operands_of_a_choice_broadcast() -> None:
    cond = np.array([[True], [False]])
    a, b = np.array([1.0, 2.0]), np.array(9.0)
    assert Where.reference([cond, a, b], NoAttrs()).tolist() == [[1, 2], [9, 9]]
    types = [TensorType(DType.BOOL, (2, 1)), f32(2), f32()]
    assert Where.infer(types, NoAttrs()) == f32(2, 2)


def test_a_condition_that_may_flip_leads_to_the_other_value() -> None:
    cond, a, b = np.array([True, True]), np.array([1.0, 1.0]), np.array([4.0, 4.0])
    errors = [np.array([0.0, 1.0]), np.full(2, 0.5), np.full(2, 0.25)]
    assert Where.propagate([cond, a, b], errors, NoAttrs()).tolist() == [0.5, 3.5]


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("negative", [False, True])
def test_which_infinities_count(positive: bool, negative: bool) -> None:
    x, attrs = np.array([np.inf, -np.inf, np.nan, 3.4e38]), IsInfAttrs(positive, negative)
    expected = [positive, negative, False, False]
    assert IsInf.reference([x], attrs).tolist() == expected
    assert np.asarray(IsInf.scalar(NumpyScalar(), [x], attrs)).tolist() == expected
