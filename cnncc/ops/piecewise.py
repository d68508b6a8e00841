"""Activations in pieces that meet, or jump, at given places; and softsign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, ScalarBuilder
from cnncc.ops import check
from cnncc.ops.activation import Activation
from cnncc.ops.elementwise import spread
from cnncc.ops.smooth import Elu, EluAttrs


@dataclass(frozen=True, slots=True)
class SeluAttrs:
    """Scales of `selu`.

    Attributes:
        alpha: minus the limit for very negative values, before `gamma`.
        gamma: factor of everything.
    """

    alpha: float = 1.6732632423543772
    gamma: float = 1.0507009873554805


class Selu(Activation):
    """gamma·elu(x, alpha) (Klambauer et al., Self-normalizing neural networks, 2017)."""

    name = "selu"
    Attrs = SeluAttrs
    accuracy = Accuracy(ulps=14, tiny=True)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: SeluAttrs) -> Array:
        """The definition."""
        return np.asarray(attrs.gamma * Elu.reference(arrays, EluAttrs(attrs.alpha)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: SeluAttrs) -> Any:
        """The definition."""
        return b.mul(Elu.scalar(b, operands, EluAttrs(attrs.alpha)), b.const(attrs.gamma))

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: SeluAttrs) -> F64:
        """The steeper of the two sides."""
        return abs(attrs.gamma) * max(1.0, abs(attrs.alpha)) * errors[0]


@dataclass(frozen=True, slots=True)
class CeluAttrs:
    """Depth and width of `celu`.

    Attributes:
        alpha: minus the limit for very negative values, above 0.
    """

    alpha: float = 1.0


class Celu(Activation):
    """alpha·(e^(x/alpha) - 1) where x < 0, else x (Barron, Continuously differentiable ELU, 2017).

    Its slope is 1 from both sides of 0.
    """

    name = "celu"
    Attrs = CeluAttrs
    accuracy = Accuracy(ulps=14, tiny=True)

    @classmethod
    def check_attrs(cls, attrs: CeluAttrs) -> None:
        """`alpha` is above 0."""
        if check.finite(cls, "alpha", attrs.alpha) <= 0:
            raise TypeInferenceError(f"`celu` wants alpha above 0, got {attrs.alpha!r}")

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: CeluAttrs) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return np.where(x < 0, attrs.alpha * np.expm1(x / attrs.alpha), x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: CeluAttrs) -> Any:
        """ELU of x/alpha on the left of 0."""
        x = operands[0]
        left = Elu.scalar(b, [b.div(x, b.const(attrs.alpha))], EluAttrs(attrs.alpha))
        return b.select(b.lt(x, b.const(0.0)), left, x)


class Softsign(Activation):
    """x / (1 + |x|)."""

    name = "softsign"
    accuracy = Accuracy(ulps=3)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return x / (1.0 + np.abs(x))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.div(operands[0], b.add(b.const(1.0), b.abs(operands[0])))


@dataclass(frozen=True, slots=True)
class ThresholdedReluAttrs:
    """Where `thresholded_relu` begins.

    Attributes:
        alpha: the largest value that becomes 0.
    """

    alpha: float = 1.0


class ThresholdedRelu(Activation):
    """0 where x <= alpha, else x; NaN stays NaN."""

    name = "thresholded_relu"
    Attrs = ThresholdedReluAttrs

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ThresholdedReluAttrs) -> Array:
        """The definition, with the threshold as f32 holds it."""
        x = arrays[0].astype(np.float64)
        return np.where(x <= float(np.float32(attrs.alpha)), 0.0, x)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: ThresholdedReluAttrs) -> Any:
        """One comparison and one choice."""
        return b.select(b.le(operands[0], b.const(attrs.alpha)), b.const(0.0), operands[0])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: ThresholdedReluAttrs
    ) -> F64:
        """What both ends give, and the jump where the threshold lies between them."""
        return _between(arrays[0], errors[0], (attrs.alpha,), abs(attrs.alpha))


@dataclass(frozen=True, slots=True)
class ShrinkAttrs:
    """What `shrink` cuts out.

    Attributes:
        lambd: values from -lambd to lambd become 0; at least 0.
        bias: what others come nearer to 0.
    """

    lambd: float = 0.5
    bias: float = 0.0


class Shrink(Activation):
    """x + bias where x < -lambd, x - bias where x > lambd, else 0; NaN stays NaN."""

    name = "shrink"
    Attrs = ShrinkAttrs
    accuracy = Accuracy(ulps=1)

    @classmethod
    def check_attrs(cls, attrs: ShrinkAttrs) -> None:
        """Finite numbers; without a gap the pieces would overlap."""
        check.finite(cls, "bias", attrs.bias)
        if check.finite(cls, "lambd", attrs.lambd) < 0:
            raise TypeInferenceError(f"`shrink` wants lambd of at least 0, got {attrs.lambd!r}")

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: ShrinkAttrs) -> Array:
        """The definition, with both numbers as f32 holds them."""
        x = arrays[0].astype(np.float64)
        gap, bias = float(np.float32(attrs.lambd)), float(np.float32(attrs.bias))
        outside = np.where(x < 0, x + bias, x - bias)
        return np.where(np.abs(x) <= gap, 0.0, outside)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: ShrinkAttrs) -> Any:
        """The definition."""
        x, bias = operands[0], b.const(attrs.bias)
        outside = b.select(b.lt(x, b.const(0.0)), b.add(x, bias), b.sub(x, bias))
        return b.select(b.le(b.abs(x), b.const(attrs.lambd)), b.const(0.0), outside)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: ShrinkAttrs) -> F64:
        """What both ends give, and the jumps of the gap's ends that lie between them."""
        ends = (-attrs.lambd, attrs.lambd)
        # Across the whole gap it is from -lambd + bias to lambd - bias.
        jump = 2 * (attrs.lambd + abs(attrs.bias))
        return _between(arrays[0], errors[0], ends, jump)


def _between(x: Array, error: F64, places: tuple[float, ...], jump: float) -> F64:
    """The error of a function of slope 1 (or 0) that jumps by at most `jump` at some places."""
    near = np.zeros(np.shape(x), bool)
    for place in places:
        near |= np.abs(x - place) <= error + 2.0**-23 * abs(place)
    return spread(error + np.where(near & (error > 0), jump, 0.0), [x])
