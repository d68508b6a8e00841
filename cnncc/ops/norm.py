"""Normalisations: batch norm, local response, softmax, and the per-channel affine map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import (
    F64,
    UNIT_ROUNDOFF,
    Accuracy,
    Array,
    Cost,
    Op,
    ScalarBuilder,
    Trait,
    ulp,
)
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


def column(vector: Array, x: Array) -> F64:
    """A vector [C] in float64, shaped so that it spreads over `x` [N,C,...]."""
    return vector.astype(np.float64).reshape((1, -1) + (1,) * (x.ndim - 2))


def infer_per_channel(op: type[Op], types: Sequence[TensorType]) -> TensorType:
    """The type of x, once all other operands are [C]."""
    check.arity(op, types)
    check.floats(op, types)
    channels = check.channelled(op, types[0])
    for found, word in zip(types[1:], op.operand_names[1:], strict=False):
        check.vector(op, found, channels, word)
    return TensorType(DType.F32, types[0].shape)


@dataclass(frozen=True, slots=True)
class BatchNormAttrs:
    """Batch normalisation at inference.

    Attributes:
        eps: added to the variance.
    """

    eps: float = 1e-5


class BatchNorm(Op):
    """(x - mean) / √(var + eps) · scale + bias per channel; all four [C]."""

    name = "batch_norm"
    Attrs = BatchNormAttrs
    arity = (5, 5)
    traits = frozenset({Trait.POINTWISE})
    per_channel = True
    operand_names = ("x", "scale", "bias", "mean", "var")
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: BatchNormAttrs) -> TensorType:
        """The type of x."""
        if check.finite(BatchNorm, "eps", attrs.eps) < 0:
            raise TypeInferenceError(f"`batch_norm` wants eps of at least 0, got {attrs.eps!r}")
        return infer_per_channel(BatchNorm, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: BatchNormAttrs) -> Array:
        """The definition."""
        scale, bias, mean, var = (column(a, arrays[0]) for a in arrays[1:])
        return np.asarray((arrays[0] - mean) / np.sqrt(var + attrs.eps) * scale + bias)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: BatchNormAttrs) -> Any:
        """The definition, on values of one channel."""
        x, scale, bias, mean, var = operands
        factor = b.div(scale, b.sqrt(b.add(var, b.const(attrs.eps))))
        return b.fma(b.sub(x, mean), factor, bias)

    @classmethod
    @np.errstate(all="ignore")
    def magnitude(cls, arrays: Sequence[Array], attrs: BatchNormAttrs) -> F64:
        """(|x| + |mean|)·|factor| + |bias|."""
        x, (scale, bias, mean, var) = arrays[0], (column(a, arrays[0]) for a in arrays[1:])
        factor = np.abs(scale / np.sqrt(var + attrs.eps))
        return np.asarray((np.abs(x) + np.abs(mean)) * factor + np.abs(bias))

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """A product and the bias."""
        return 2

    @classmethod
    @np.errstate(all="ignore")
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: BatchNormAttrs
    ) -> F64:
        """|factor|·error of x; parameters are exact."""
        scale, var = column(arrays[1], arrays[0]), column(arrays[4], arrays[0])
        return np.asarray(np.abs(scale / np.sqrt(var + attrs.eps)) * errors[0])


class Scale(Op):
    """x·w + b per channel; w [C], b [C] may be absent."""

    name = "scale"
    arity = (2, 3)
    traits = frozenset({Trait.POINTWISE})
    per_channel = True
    operand_names = ("x", "w", "b")
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x."""
        return infer_per_channel(Scale, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        y = arrays[0] * column(arrays[1], arrays[0])
        return np.asarray(y + column(arrays[2], arrays[0]) if len(arrays) == 3 else y)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition, on values of one channel."""
        if len(operands) == 3:
            return b.fma(operands[0], operands[1], operands[2])
        return b.mul(operands[0], operands[1])

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """A product and the bias."""
        return 2

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """|w|·error of x; parameters are exact."""
        return np.asarray(np.abs(column(arrays[1], arrays[0])) * errors[0])


@dataclass(frozen=True, slots=True)
class LrnAttrs:
    """Local response normalisation, with ONNX's meaning of `alpha`.

    Attributes:
        size: number of neighbouring channels in a sum.
        alpha: factor of the mean square (it is divided by `size`).
        beta: exponent.
        k: bias of the denominator.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


class Lrn(Op):
    """x / (k + alpha/size · Σ x²)^beta.

    The sum runs over the channels from c - ⌊(size-1)/2⌋ to c + ⌈(size-1)/2⌉ that exist.
    """

    name = "lrn"
    Attrs = LrnAttrs
    traits = frozenset({Trait.ANCHOR})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: LrnAttrs) -> TensorType:
        """The type of x, a feature map."""
        check.arity(Lrn, types)
        check.floats(Lrn, types)
        check.rank(Lrn, types[0], 4)
        check.integer(Lrn, "size", attrs.size, 1)
        for word in ("alpha", "beta", "k"):
            check.finite(Lrn, word, getattr(attrs, word))
        if attrs.alpha < 0 or attrs.k <= 0:
            raise TypeInferenceError(
                f"`lrn` wants alpha of at least 0 and k above 0, got {attrs.alpha} and {attrs.k}"
            )
        return TensorType(DType.F32, types[0].shape)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: LrnAttrs) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        return np.asarray(x / Lrn._base(x, attrs) ** attrs.beta)

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: LrnAttrs) -> Cost:
        """`size` multiply-adds, a power and a division an element."""
        return Cost(result.elems * attrs.size, 2 * result.elems, 2 * result.size_bytes)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: LrnAttrs) -> int:
        """The squares of `size` channels."""
        return attrs.size

    @classmethod
    @np.errstate(all="ignore")
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: LrnAttrs) -> F64:
        """The sum's and the logarithm's relative errors, times the exponent."""
        base = Lrn._base(arrays[0].astype(np.float64), attrs)
        power = abs(attrs.beta) * (attrs.size + 8 + 8 * np.abs(np.log(base)))
        return np.asarray(UNIT_ROUNDOFF * np.abs(result) * (16 + power) + 2.0**-149)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: LrnAttrs) -> F64:
        """The derivative by each channel of the sum, with 1 % for the terms of second order."""
        x, error = np.abs(arrays[0].astype(np.float64)), errors[0]
        base = Lrn._base(x, attrs)
        crossed = 2 * abs(attrs.beta) * attrs.alpha / attrs.size * x * Lrn._near(x * error, attrs)
        return np.asarray(1.01 * (error + crossed / base) / base**attrs.beta)

    @staticmethod
    def _base(x: F64, attrs: LrnAttrs) -> F64:
        return np.asarray(attrs.k + attrs.alpha / attrs.size * Lrn._near(np.square(x), attrs))

    @staticmethod
    def _near(values: F64, attrs: LrnAttrs) -> F64:
        """For each channel, the sum over its neighbours."""
        before, after = (attrs.size - 1) // 2, attrs.size // 2
        channels = values.shape[1]
        near = [slice(max(0, c - before), min(channels, c + after + 1)) for c in range(channels)]
        return np.stack([values[:, part].sum(axis=1) for part in near], axis=1)


@dataclass(frozen=True, slots=True)
class SoftmaxAttrs:
    """Where a softmax sums.

    Attributes:
        axis: the axis whose values add up to 1; channels by default.
    """

    axis: int = 1


class Softmax(Op):
    """exp(x - max) / Σ exp(x - max) along one axis."""

    name = "softmax"
    Attrs = SoftmaxAttrs
    traits = frozenset({Trait.ANCHOR})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: SoftmaxAttrs) -> TensorType:
        """The type of x."""
        check.arity(Softmax, types)
        check.floats(Softmax, types)
        check.positive_shape(Softmax, types[0])
        check.axis(Softmax, attrs.axis, types[0])
        return types[0]

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: SoftmaxAttrs) -> Array:
        """The definition."""
        x = arrays[0].astype(np.float64)
        e = np.exp(x - x.max(axis=attrs.axis, keepdims=True))
        return np.asarray(e / e.sum(axis=attrs.axis, keepdims=True))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: SoftmaxAttrs) -> Cost:
        """A comparison, a subtraction, an exponential, an addition and a division an element."""
        return Cost(0, 5 * result.elems, 2 * result.size_bytes)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: SoftmaxAttrs) -> int:
        """The axis's extent."""
        return types[0].shape[attrs.axis]

    @classmethod
    @np.errstate(all="ignore")
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: SoftmaxAttrs) -> F64:
        """3n + 3 ulp (WebNN), and the rounding of x - max, which the exponential multiplies."""
        x = arrays[0].astype(np.float64)
        n = x.shape[attrs.axis]
        depth = np.abs(x - x.max(axis=attrs.axis, keepdims=True))
        depth = np.where(result > 0, depth, 0.0)
        spread = 2 * UNIT_ROUNDOFF * np.abs(result) * depth
        return np.asarray((3 * n + 3) * ulp(result) + spread + 2.0**-126)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: SoftmaxAttrs) -> F64:
        """Errors up to e change each result by a factor of at most exp(2e)."""
        worst = errors[0].max(axis=attrs.axis, keepdims=True)
        change = cls.reference(arrays, attrs) * np.expm1(2 * worst)
        return np.asarray(np.minimum(change, 1.0))
