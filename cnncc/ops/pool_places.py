"""Where a maximum pooling found its maxima."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.pool import (
    MaxPool2d,
    MaxPool2dAttrs,
    infer_pool,
    pool_cost,
    pool_taps,
    pool_windows,
)
from cnncc.ops.window import span

I64 = DType.I64


class MaxPoolPlaces(Op):
    """For each window of x [N,C,H,W] the place of its largest value, counted in row-major order.

    The first one of several equal ones; the first NaN if there is one; never in the padding. The
    count goes through the whole of x, whatever the sample and the channel.
    """

    name = "max_pool_places"
    Attrs = MaxPool2dAttrs
    traits = frozenset({Trait.ELEMENT, Trait.WINDOW})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: MaxPool2dAttrs) -> TensorType:
        """i64[N,C,oh,ow], as of the pooling itself."""
        found = infer_pool(MaxPoolPlaces, types, attrs)
        return check.result(MaxPoolPlaces, I64, found.shape)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: MaxPool2dAttrs) -> Array:
        """The first tap inside the map that equals the maximum."""
        x = arrays[0].astype(np.float64)
        places = np.arange(x.size, dtype=np.float64).reshape(x.shape)
        values, at = (
            view.reshape(*view.shape[:4], -1)
            for view in (
                pool_windows(MaxPoolPlaces, x, attrs, -np.inf),
                pool_windows(MaxPoolPlaces, places, attrs, -1.0),
            )
        )
        most = values.max(axis=-1, keepdims=True)
        largest = (values == most) | (np.isnan(values) & np.isnan(most))
        first = np.argmax(largest & (at >= 0), axis=-1)[..., None]
        return np.take_along_axis(at, first, axis=-1)[..., 0].astype(np.int64)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: MaxPool2dAttrs,
    ) -> Any:
        """The largest value so far and its place, through all taps."""
        _, channels, height, width = types[0].shape
        map_start = b.times(b.plus(b.times(index[0], channels), index[1]), height * width)

        def better(value: Any, carried: list[Any], y: Any, x: Any, inside: Any) -> list[Any]:
            most, place = carried
            here = b.value_of(b.plus(map_start, b.times(y, width), x), I64)
            new = b.bit_and(b.ne(value, value), b.eq(most, most))
            larger = b.bit_or(b.gt(value, most), new)
            chosen = b.bit_and(inside, b.bit_or(larger, b.lt(place, b.const(0, I64))))
            return [b.select(chosen, value, most), b.select(chosen, here, place)]

        initial = [b.const(-math.inf), b.const(-1, I64)]
        return pool_taps(b, types, index, attrs, initial, better, -math.inf)[1]

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: MaxPool2dAttrs) -> Cost:
        """One comparison a tap."""
        return pool_cost(types, result, attrs)

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: MaxPool2dAttrs
    ) -> F64:
        """From one end of the window to the other, where a value in it is not known exactly."""
        rows, columns = (span(k, d) - 1 for k, d in zip(attrs.window, attrs.dilations, strict=True))
        moving = MaxPool2d.reference(errors, attrs) > 0
        return np.where(moving, float(rows * arrays[0].shape[3] + columns), 0.0)
