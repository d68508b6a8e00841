"""Activations: pointwise functions of one operand (and a slope, for PReLU)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Op, ScalarBuilder, Trait
from cnncc.ir.types import TensorType
from cnncc.ops import check
from cnncc.ops.norm import column, infer_per_channel


class Activation(Op):
    """Base of the activations: one f32 operand of any shape, a result of the same type."""

    traits = frozenset({Trait.POINTWISE})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x."""
        check.arity(cls, types)
        check.floats(cls, types)
        check.positive_shape(cls, types[0])
        cls.check_attrs(attrs)
        return types[0]

    @classmethod
    def check_attrs(cls, attrs: Any) -> None:
        """By default every attribute is a finite number."""
        for word in getattr(attrs, "__dataclass_fields__", ()):
            check.finite(cls, word, getattr(attrs, word))


class Rising(Activation):
    """Base of the activations that never fall: errors move a result no further than the ends."""

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The larger of f(x + e) - f(x) and f(x) - f(x - e)."""
        x, middle = arrays[0], cls.reference(arrays, attrs)
        above = cls.reference([x + errors[0]], attrs) - middle
        below = middle - cls.reference([x - errors[0]], attrs)
        return np.asarray(np.fmax(above, below))


class Relu(Rising):
    """max(x, 0), written so that NaN stays NaN: 0 where x < 0, else x."""

    name = "relu"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return np.where(x < 0, 0.0, x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """One comparison and one choice."""
        zero = b.const(0.0)
        return b.select(b.lt(operands[0], zero), zero, operands[0])


@dataclass(frozen=True, slots=True)
class ClipAttrs:
    """Bounds of `clip`; infinite ones are legal.

    Attributes:
        low: least value.
        high: greatest value, not below `low`.
    """

    low: float
    high: float


class Clip(Rising):
    """min(max(x, low), high); NaN stays NaN."""

    name = "clip"
    Attrs = ClipAttrs

    @classmethod
    def check_attrs(cls, attrs: ClipAttrs) -> None:
        """Bounds are ordered numbers."""
        if not attrs.low <= attrs.high:
            raise TypeInferenceError(
                f"`clip` wants low <= high, got {attrs.low!r} and {attrs.high!r}"
            )

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ClipAttrs) -> Array:
        """The definition, with bounds as f32 holds them."""
        low, high = float(np.float32(attrs.low)), float(np.float32(attrs.high))
        return np.asarray(np.clip(arrays[0].astype(np.float64), low, high))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: ClipAttrs) -> Any:
        """A maximum and a minimum."""
        return b.min(b.max(operands[0], b.const(attrs.low)), b.const(attrs.high))


@dataclass(frozen=True, slots=True)
class LeakyReluAttrs:
    """Slope of `leaky_relu`.

    Attributes:
        alpha: factor of negative values.
    """

    alpha: float = 0.01


class LeakyRelu(Activation):
    """alpha·x where x < 0, else x."""

    name = "leaky_relu"
    Attrs = LeakyReluAttrs
    accuracy = Accuracy(ulps=2)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: LeakyReluAttrs) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return np.where(x < 0, attrs.alpha * x, x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: LeakyReluAttrs) -> Any:
        """The definition."""
        x = operands[0]
        return b.select(b.lt(x, b.const(0.0)), b.mul(x, b.const(attrs.alpha)), x)

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: LeakyReluAttrs
    ) -> F64:
        """The steeper of the two slopes."""
        return max(1.0, abs(attrs.alpha)) * errors[0]


class PRelu(Op):
    """slope·x where x < 0, else x, with one slope a channel; slope [C]."""

    name = "prelu"
    arity = (2, 2)
    traits = frozenset({Trait.POINTWISE})
    per_channel = True
    operand_names = ("x", "slope")
    accuracy = Accuracy(ulps=1)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x."""
        return infer_per_channel(PRelu, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return np.where(x < 0, column(arrays[1], x) * x, x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition, with the channel's slope."""
        x, slope = operands
        return b.select(b.lt(x, b.const(0.0)), b.mul(x, slope), x)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The steeper of the two slopes of each channel."""
        return np.asarray(np.maximum(1.0, np.abs(column(arrays[1], arrays[0]))) * errors[0])


def logistic(x: F64) -> F64:
    """1 / (1 + e^-x) in float64."""
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


class Sigmoid(Rising):
    """1 / (1 + e^-x)."""

    name = "sigmoid"
    accuracy = Accuracy(ulps=4, tiny=True)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return logistic(arrays[0].astype(np.float64))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.sigmoid(operands[0])


class Tanh(Rising):
    """The hyperbolic tangent."""

    name = "tanh"
    accuracy = Accuracy(ulps=4, tiny=True)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.tanh(arrays[0].astype(np.float64))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.tanh(operands[0])


class Silu(Activation):
    """x·sigmoid(x), also called swish."""

    name = "silu"
    accuracy = Accuracy(ulps=6, tiny=True)
    lipschitz = 1.1

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return x * logistic(x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.silu(operands[0])


@dataclass(frozen=True, slots=True)
class HardSigmoidAttrs:
    """The line that `hard_sigmoid` clips.

    Attributes:
        alpha: slope.
        beta: value at 0.
    """

    alpha: float = 1 / 6
    beta: float = 0.5


class HardSigmoid(Activation):
    """alpha·x + beta, clipped to [0, 1]."""

    name = "hard_sigmoid"
    Attrs = HardSigmoidAttrs
    accuracy = Accuracy(sums=True)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: HardSigmoidAttrs) -> Array:
        """The definition."""
        return np.asarray(np.clip(attrs.alpha * arrays[0] + attrs.beta, 0.0, 1.0))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: HardSigmoidAttrs) -> Any:
        """The definition."""
        line = b.fma(operands[0], b.const(attrs.alpha), b.const(attrs.beta))
        return b.min(b.max(line, b.const(0.0)), b.const(1.0))

    @classmethod
    def magnitude(cls, arrays: Sequence[Array], attrs: HardSigmoidAttrs) -> F64:
        """|alpha·x| + |beta|, no more than matters where the clip cuts."""
        reach = np.abs(attrs.alpha * arrays[0])
        return np.asarray(np.minimum(reach, 2 + abs(attrs.beta)) + abs(attrs.beta))

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """A product and a summand."""
        return 2

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: HardSigmoidAttrs
    ) -> F64:
        """The line's slope."""
        return abs(attrs.alpha) * errors[0]


class HardSwish(Activation):
    """x·clip(x/6 + 1/2, 0, 1)."""

    name = "hard_swish"
    accuracy = Accuracy(ulps=2, of_operand=6)
    lipschitz = 1.5

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return x * np.clip(x / 6 + 0.5, 0.0, 1.0)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        x = operands[0]
        line = b.fma(x, b.const(1 / 6), b.const(0.5))
        return b.mul(x, b.min(b.max(line, b.const(0.0)), b.const(1.0)))
