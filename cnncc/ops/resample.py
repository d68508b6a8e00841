"""Interpolation along one axis, whatever its rule: the taps are operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.indexing import check_indices


@dataclass(frozen=True, slots=True)
class ResampleAttrs:
    """Along which axis.

    Attributes:
        axis: the axis that is interpolated.
    """

    axis: int


class Resample(Op):
    """y[.., o, ..] = Σ_t weights[o, t]·x[.., indices[o, t], ..], in the order of t.

    One axis of a resize in any mode (nearest, linear, cubic, antialiased, cropped): which elements
    count and how much says its maker. A tap of weight 0 is skipped, so that infinities and NaN
    which it does not want stay out. Indices out of range are taken as the nearest place.
    """

    name = "resample"
    Attrs = ResampleAttrs
    arity = (3, 3)
    operand_names = ("x", "indices", "weights")
    traits = frozenset({Trait.ELEMENT})
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ResampleAttrs) -> TensorType:
        """The shape of x, with as many places along the axis as there are rows of taps."""
        check.arity(Resample, types)
        x, indices, weights = types
        check.positive_shape(Resample, x)
        check.floats(Resample, [x])
        check.rank(Resample, indices, 2, "indices")
        check_indices(Resample, indices)
        axis = check.axis(Resample, attrs.axis, x)
        if weights.dtype is not DType.F32 or weights.shape != indices.shape:
            raise TypeInferenceError(
                f"`resample` wants `weights` of f32{list(indices.shape)}, got {weights}"
            )
        shape = (*x.shape[:axis], indices.shape[0], *x.shape[axis + 1 :])
        return check.result(Resample, DType.F32, shape)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: ResampleAttrs) -> Array:
        """The definition, in float64."""
        x, indices, weights = arrays
        places = np.clip(indices, 0, x.shape[attrs.axis] - 1)
        spread = [1] * x.ndim
        spread[attrs.axis] = -1
        y: Array = np.zeros((*x.shape[: attrs.axis], len(places), *x.shape[attrs.axis + 1 :]))
        for tap in range(indices.shape[1]):
            weight = weights[:, tap].astype(np.float64).reshape(spread)
            pixels = x.take(places[:, tap], axis=attrs.axis).astype(np.float64)
            y = y + np.where(weight == 0, 0.0, weight * pixels)
        return y

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: ResampleAttrs,
    ) -> Any:
        """A loop over the taps."""
        dtype, axis = types[1].dtype, attrs.axis
        first, last = b.const(0, dtype), b.const(types[0].shape[axis] - 1, dtype)
        zero = b.const(0.0)

        def tap(t: Any, sums: list[Any]) -> list[Any]:
            weight = b.load(2, [index[axis], t])
            place = b.place_of(b.max(b.min(b.load(1, [index[axis], t]), last), first))
            pixel = b.load(0, [*index[:axis], place, *index[axis + 1 :]])
            return [b.select(b.eq(weight, zero), sums[0], b.fma(weight, pixel, sums[0]))]

        return b.loop(types[1].shape[1], [zero], tap)[0]

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: ResampleAttrs) -> Cost:
        """One multiply-add a tap."""
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        return Cost(result.elems * types[1].shape[1], 0, moved)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: ResampleAttrs) -> int:
        """The taps."""
        return types[1].shape[1]

    @classmethod
    def magnitude(cls, arrays: Sequence[Array], attrs: ResampleAttrs) -> F64:
        """The same on absolute pixels and weights."""
        x, indices, weights = arrays
        return np.asarray(cls.reference([np.abs(x), indices, np.abs(weights)], attrs), np.float64)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: ResampleAttrs) -> F64:
        """Errors are interpolated like values, those of weights count with their pixels."""
        x, indices, weights = arrays
        pixels = cls.reference([errors[0], indices, np.abs(weights)], attrs)
        taps = cls.reference([np.abs(x) + errors[0], indices, errors[2]], attrs)
        return np.asarray(pixels + taps, np.float64)
