"""Upsampling by whole factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnncc.ir.op import F64, Accuracy, Array, Cost, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


@dataclass(frozen=True, slots=True)
class Upsample2dAttrs:
    """How a feature map grows.

    Attributes:
        factors: whole factors of height and width.
        mode: `nearest` repeats pixels; `bilinear` interpolates between pixel centres, clamped at
            the edges (half-pixel rule, `align_corners=False`).
    """

    factors: tuple[int, int]
    mode: str = "nearest"


def bilinear_taps(n: int, factor: int) -> tuple[list[int], list[int], list[float]]:
    """For each of n·factor result pixels: two source pixels and the weight of the second.

    The result's pixel i has its centre at (i + 1/2) / factor - 1/2 of the source.
    """
    low, high, weight = [], [], []
    for i in range(n * factor):
        place = min(max((i + 0.5) / factor - 0.5, 0.0), n - 1.0)
        low.append(int(place))
        high.append(min(int(place) + 1, n - 1))
        weight.append(place - int(place))
    return low, high, weight


class Upsample2d(Op):
    """A feature map `factors` times as high and wide."""

    name = "upsample2d"
    Attrs = Upsample2dAttrs
    traits = frozenset({Trait.ANCHOR})
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Upsample2dAttrs) -> TensorType:
        """[N,C,H·fh,W·fw]."""
        check.arity(Upsample2d, types)
        check.floats(Upsample2d, types)
        check.rank(Upsample2d, types[0], 4)
        fh, fw = check.integers(Upsample2d, "factors", attrs.factors, 2, 1)
        check.choice(Upsample2d, "mode", attrs.mode, ("nearest", "bilinear"))
        batch, channels, height, width = types[0].shape
        return check.result(Upsample2d, DType.F32, (batch, channels, height * fh, width * fw))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Upsample2dAttrs) -> Array:
        """The definition, one axis after the other."""
        y = arrays[0].astype(np.float64)
        for axis, factor in zip((2, 3), attrs.factors, strict=True):
            if attrs.mode == "nearest":
                y = np.repeat(y, factor, axis=axis)
            else:
                low, high, weight = bilinear_taps(y.shape[axis], factor)
                shape = [-1 if a == axis else 1 for a in range(4)]
                second = np.asarray(weight).reshape(shape)
                y = y.take(low, axis) * (1 - second) + y.take(high, axis) * second
        return y

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Upsample2dAttrs) -> Cost:
        """Four multiply-adds a pixel when interpolating."""
        macs = 4 * result.elems if attrs.mode == "bilinear" else 0
        return Cost(macs, 0, types[0].size_bytes + result.size_bytes)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Upsample2dAttrs) -> int:
        """Four pixels when interpolating."""
        return 4 if attrs.mode == "bilinear" else 1

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: Upsample2dAttrs) -> F64:
        """Nothing for `nearest`, the bound of a sum for `bilinear`."""
        if attrs.mode == "nearest":
            return np.zeros(result.shape)
        return super().rounding(arrays, result, attrs)

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Upsample2dAttrs
    ) -> F64:
        """Errors are interpolated like values."""
        return np.asarray(cls.reference(errors, attrs), np.float64)
