"""Smooth activations near 0 and in their tails, and their attributes."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import f32
from cnncc.ops.smooth import Elu, EluAttrs, Gelu, GeluAttrs, Mish, Softplus
from tests.numpy_scalar import NumpyScalar


def test_attributes_are_finite() -> None:
    with pytest.raises(TypeInferenceError, match="alpha to be a finite number"):
        Elu.infer([f32(1, 3)], EluAttrs(float("inf")))


def test_elu_does_not_cancel_near_zero() -> None:
    x = np.float32(-1e-6) * np.ones((1, 1), np.float32)
    made = Elu.scalar(NumpyScalar(np.float32), [x], EluAttrs())
    assert abs(float(made[0, 0]) / np.expm1(float(x[0, 0])) - 1) < 1e-6


@pytest.mark.parametrize("op", [Gelu, Mish, Softplus])
def test_far_values_do_not_overflow(op: type[Gelu | Mish | Softplus]) -> None:
    x = np.array([[3e38, 1e4, -1e4]], np.float32)
    with np.errstate(under="ignore", over="ignore"):
        made = op.scalar(NumpyScalar(np.float32), [x], op.Attrs())
    np.testing.assert_allclose(made, [[x[0, 0], 1e4, 0.0]], rtol=1e-6)


def test_gelu_refuses_numbers_for_its_flag() -> None:
    with pytest.raises(TypeInferenceError, match="approximate to be true or false"):
        Gelu.infer([f32(1, 3)], GeluAttrs(1))  # type: ignore[arg-type]
    assert Gelu.infer([f32(1, 3)], GeluAttrs()) == Mish.infer([f32(1, 3)], NoAttrs())
