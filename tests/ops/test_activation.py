"""Values of activations where formulas go wrong: NaN, infinities, zeros, far tails."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs, registered
from cnncc.ir.types import f32
from cnncc.ops.activation import Activation, Clip, ClipAttrs, PRelu, Relu
from cnncc.ops.elementwise import Nothing
from tests.numpy_scalar import NumpyScalar

UNARY = [
    op for op in registered().values() if issubclass(op, Activation | Nothing) and op is not Clip
]
LIMITS = {
    "relu": (0, np.inf),
    "leaky_relu": (-np.inf, np.inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "silu": (np.nan, np.inf),
    "hard_swish": (np.nan, np.inf),
    "hard_sigmoid": (0, 1),
    "elu": (-1, np.inf),
    "gelu": (np.nan, np.inf),
    "mish": (np.nan, np.inf),
    "softplus": (0, np.inf),
    "selu": (-1.7580993408473766, np.inf),
    "celu": (-1, np.inf),
    "softsign": (np.nan, np.nan),
    "thresholded_relu": (0, np.inf),
    "shrink": (-np.inf, np.inf),
    "identity": (-np.inf, np.inf),
    "dropout": (-np.inf, np.inf),
}


@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.name)
def test_limits_and_nan(op: type) -> None:
    x = np.array([[-np.inf, np.inf, np.nan]])
    below, above = LIMITS[op.name]  # type: ignore[attr-defined]
    made = op.reference([x], op.Attrs())  # type: ignore[attr-defined]
    np.testing.assert_array_equal(made, [[below, above, np.nan]])


def test_clip_hands_on_nan() -> None:
    x = np.array([[np.nan, -np.inf, np.inf, 7.0]])
    expected = [[np.nan, 0.0, 6.0, 6.0]]
    np.testing.assert_array_equal(Clip.reference([x], ClipAttrs(0, 6)), expected)
    np.testing.assert_array_equal(Clip.scalar(NumpyScalar(), [x], ClipAttrs(0, 6)), expected)


def test_relu_keeps_the_sign_of_zero() -> None:
    """0 where x < 0, else x: one instruction on x86, and -0 is not below 0."""
    x = np.array([-0.0, 0.0, -1.0])
    for made in (Relu.reference([x], NoAttrs()), Relu.scalar(NumpyScalar(), [x], NoAttrs())):
        assert np.signbit(made).tolist() == [True, False, False]


@pytest.mark.parametrize("attrs", [ClipAttrs(1, 0), ClipAttrs(float("nan"), 1)])
def test_clip_refuses_unordered_bounds(attrs: ClipAttrs) -> None:
    with pytest.raises(TypeInferenceError, match="low <= high"):
        Clip.infer([f32(1, 3)], attrs)


def test_prelu_has_a_slope_a_channel() -> None:
    with pytest.raises(TypeInferenceError, match=r"`slope` of shape \[3\]"):
        PRelu.infer([f32(1, 3, 2, 2), f32(1)], NoAttrs())
