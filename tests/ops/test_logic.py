"""Truth values, and choices by them."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.logic import LogicalAnd, LogicalNot, LogicalOr, LogicalXor, Where

BOOL = TensorType(DType.BOOL, (2,))


def test_tables_of_truth() -> None:
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    for op, expected in ((LogicalAnd, "0001"), (LogicalOr, "0111"), (LogicalXor, "0110")):
        made = op.reference([a, b], NoAttrs())
        assert "".join("01"[int(v)] for v in made) == expected
    assert LogicalNot.reference([a], NoAttrs()).tolist() == [True, True, False, False]


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
