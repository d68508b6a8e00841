"""Activations: pointwise functions of one operand (and a slope, for PReLU)."""

from __future__ import annotations

import math
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
        """The definition."""
        return b.mul(operands[0], b.sigmoid(operands[0]))


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


@dataclass(frozen=True, slots=True)
class EluAttrs:
    """Depth of `elu`.

    Attributes:
        alpha: minus the limit for very negative values.
    """

    alpha: float = 1.0


class Elu(Activation):
    """alpha·(e^x - 1) where x < 0, else x."""

    name = "elu"
    Attrs = EluAttrs
    accuracy = Accuracy(ulps=12, tiny=True)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: EluAttrs) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return np.where(x < 0, attrs.alpha * np.expm1(x), x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: EluAttrs) -> Any:
        """e^x - 1 = tanh(x/2)·(e^x + 1), which does not cancel near 0."""
        x = operands[0]
        below = b.min(x, b.const(0.0))
        expm1 = b.mul(b.tanh(b.mul(below, b.const(0.5))), b.add(b.exp(below), b.const(1.0)))
        return b.select(b.lt(x, b.const(0.0)), b.mul(expm1, b.const(attrs.alpha)), x)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: EluAttrs) -> F64:
        """The steeper of the two sides."""
        return max(1.0, abs(attrs.alpha)) * errors[0]


@dataclass(frozen=True, slots=True)
class GeluAttrs:
    """Which formula of `gelu`.

    Attributes:
        approximate: the formula with tanh instead of the one with erf.
    """

    approximate: bool = False


# Abramowitz and Stegun 7.1.26: erfc(z) = (a1·t + ... + a5·t⁵)·e^-z² ± 1.5e-7 for z >= 0, where
# t = 1/(1 + p·z).
_ERFC_P = 0.3275911
_ERFC_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


class Gelu(Activation):
    """x·Φ(x), with Φ the normal distribution: x/2·(1 + erf(x/√2)), or its form with tanh."""

    name = "gelu"
    Attrs = GeluAttrs
    accuracy = Accuracy(ulps=4, of_operand=16, tiny=True)
    lipschitz = 1.13

    @classmethod
    def check_attrs(cls, attrs: GeluAttrs) -> None:
        """`approximate` is a flag."""
        check.flag(cls, "approximate", attrs.approximate)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: GeluAttrs) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        if attrs.approximate:
            wave = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
            return np.asarray(x / 2 * (1 + wave))
        erfc = np.array([math.erfc(v) for v in (-x / math.sqrt(2)).ravel()]).reshape(x.shape)
        return np.asarray(x / 2 * erfc)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: GeluAttrs) -> Any:
        """Tanh's form, or half of erfc by Abramowitz and Stegun 7.1.26 on |x|/√2."""
        x = operands[0]
        if attrs.approximate:
            cubic = b.fma(b.mul(b.mul(x, x), x), b.const(0.044715), x)
            wave = b.tanh(b.mul(cubic, b.const(math.sqrt(2 / math.pi))))
            return b.mul(b.mul(x, b.const(0.5)), b.add(wave, b.const(1.0)))
        zero, one = b.const(0.0), b.const(1.0)
        negative = b.lt(x, zero)
        size = b.select(negative, b.sub(zero, x), x)
        z = b.mul(size, b.const(math.sqrt(0.5)))
        t = b.div(one, b.fma(z, b.const(_ERFC_P), one))
        poly = b.const(_ERFC_A[-1] / 2)
        for factor in reversed(_ERFC_A[:-1]):
            poly = b.fma(poly, t, b.const(factor / 2))
        tail = b.mul(b.mul(poly, t), b.exp(b.sub(zero, b.mul(z, z))))
        return b.mul(x, b.select(negative, tail, b.sub(one, tail)))


class Softplus(Rising):
    """log(1 + e^x)."""

    name = "softplus"
    accuracy = Accuracy(ulps=6, floor=2.0**-21, tiny=True)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.logaddexp(0.0, arrays[0].astype(np.float64))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """max(x, 0) + log(1 + e^-|x|), which does not overflow."""
        x, zero = operands[0], b.const(0.0)
        minus_size = b.select(b.lt(x, zero), x, b.sub(zero, x))
        log = b.log(b.add(b.exp(minus_size), b.const(1.0)))
        return b.add(b.max(x, zero), log)


class Mish(Activation):
    """x·tanh(softplus(x))."""

    name = "mish"
    accuracy = Accuracy(ulps=6, of_operand=16, tiny=True)
    lipschitz = 1.1

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return x * np.tanh(np.logaddexp(0.0, x))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """x·n/(n + 2) with n = e^x·(e^x + 2); from 20 on the factor is 1 in f32."""
        x, top = operands[0], b.const(20.0)
        e = b.exp(b.min(x, top))
        n = b.mul(e, b.add(e, b.const(2.0)))
        factor = b.div(n, b.add(n, b.const(2.0)))
        return b.select(b.gt(x, top), x, b.mul(x, factor))
