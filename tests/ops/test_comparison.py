"""Comparisons of what is no number, and answers that errors may turn."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType
from cnncc.ops.comparison import (
    Equal,
    Greater,
    GreaterEqual,
    IsInf,
    IsInfAttrs,
    Less,
    LessEqual,
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


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("negative", [False, True])
def test_which_infinities_count(positive: bool, negative: bool) -> None:
    x, attrs = np.array([np.inf, -np.inf, np.nan, 3.4e38]), IsInfAttrs(positive, negative)
    expected = [positive, negative, False, False]
    assert IsInf.reference([x], attrs).tolist() == expected
    assert np.asarray(IsInf.scalar(NumpyScalar(), [x], attrs)).tolist() == expected
