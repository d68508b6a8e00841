"""Activations that must guard against cancellation and overflow: ELU, GELU, softplus, Mish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Accuracy, Array, ScalarBuilder
from cnncc.ops import check
from cnncc.ops.activation import Activation, Rising


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
        """Tanh's form, or x/2 + x/2·erf(x/√2)."""
        x = operands[0]
        if attrs.approximate:
            cubic = b.fma(b.mul(b.mul(x, x), x), b.const(0.044715), x)
            wave = b.tanh(b.mul(cubic, b.const(math.sqrt(2 / math.pi))))
            return b.mul(b.mul(x, b.const(0.5)), b.add(wave, b.const(1.0)))
        half = b.mul(x, b.const(0.5))
        return b.fma(half, b.erf(b.mul(x, b.const(math.sqrt(0.5)))), half)


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
