"""Activations in pieces: where they meet, jump, and what errors do there."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import f32
from cnncc.ops.piecewise import (
    Celu,
    CeluAttrs,
    Shrink,
    ShrinkAttrs,
    ThresholdedRelu,
    ThresholdedReluAttrs,
)


def test_values_at_the_threshold() -> None:
    x = np.array([-2.0, 0.5, 1.0, 1.5])
    assert ThresholdedRelu.reference([x], ThresholdedReluAttrs()).tolist() == [0, 0, 0, 1.5]
    x = np.array([-2.0, -0.5, 0.25, 0.5, 2.0])
    assert Shrink.reference([x], ShrinkAttrs(0.5, 0.25)).tolist() == [-1.75, 0, 0, 0, 1.75]


def test_errors_jump_only_near_the_threshold() -> None:
    x, error = np.array([0.5, 0.9, 1.1, 2.0]), np.full(4, 0.25)
    bound = ThresholdedRelu.propagate([x], [error], ThresholdedReluAttrs())
    assert bound.tolist() == [0.25, 1.25, 1.25, 0.25]
    bound = Shrink.propagate([x], [error], ShrinkAttrs(0.5, -1.0))
    assert bound.tolist() == [3.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_celu_wants_a_width(alpha: float) -> None:
    with pytest.raises(TypeInferenceError, match="alpha"):
        Celu.infer([f32(2)], CeluAttrs(alpha))


def test_shrink_wants_a_gap() -> None:
    with pytest.raises(TypeInferenceError, match="lambd of at least 0"):
        Shrink.infer([f32(2)], ShrinkAttrs(-0.5))
