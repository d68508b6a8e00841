"""Pooling: maxima and averages over windows and over whole feature maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.window import padded, pool_extent, span, windows

WINDOW_POOLS = frozenset({"max_pool2d", "avg_pool2d"})
"""The poolings that may end a group, in the loop nest of what they pool."""


@dataclass(frozen=True, slots=True)
class MaxPool2dAttrs:
    """Geometry of a pooling.

    Attributes:
        window: height and width of the window.
        strides: step of the window.
        pads: border that no maximum sees: top, left, bottom, right.
        ceil: whether a last, incomplete window counts (PyTorch's rule).
        dilations: distance of neighbouring taps.
    """

    window: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil: bool = False
    dilations: tuple[int, int] = (1, 1)


def pooled_extents(op: type[Op], shape: Sequence[int], attrs: MaxPool2dAttrs) -> tuple[int, int]:
    """Height and width of the result for an input `[N,C,H,W]`."""
    (kh, kw), (sh, sw), (top, left, bottom, right) = attrs.window, attrs.strides, attrs.pads
    dh, dw = attrs.dilations
    return (
        pool_extent(op, "the height", shape[2], kh, sh, top, bottom, attrs.ceil, dh),
        pool_extent(op, "the width", shape[3], kw, sw, left, right, attrs.ceil, dw),
    )


def infer_pool(op: type[Op], types: Sequence[TensorType], attrs: MaxPool2dAttrs) -> TensorType:
    """[N,C,oh,ow]; every window covers at least one real pixel."""
    check.arity(op, types)
    check.floats(op, types)
    check.rank(op, types[0], 4)
    check.integers(op, "window", attrs.window, 2, 1)
    check.integers(op, "strides", attrs.strides, 2, 1)
    check.integers(op, "pads", attrs.pads, 4, 0)
    check.flag(op, "ceil", attrs.ceil)
    check.integers(op, "dilations", attrs.dilations, 2, 1)
    extents = pooled_extents(op, types[0].shape, attrs)
    return check.result(op, DType.F32, (*types[0].shape[:2], *extents))


def pool_windows(op: type[Op], x: Array, attrs: MaxPool2dAttrs, value: float) -> F64:
    """[N,C,oh,ow,kh,kw], the taps of each window of x, with `value` as the border."""
    out = pooled_extents(op, x.shape, attrs)
    (kh, kw), (dh, dw) = attrs.window, attrs.dilations
    spans = span(kh, dh), span(kw, dw)
    border = padded(x, attrs.pads, value, out, spans, attrs.strides)
    return windows(border, spans, attrs.strides, out)[..., ::dh, ::dw]


def pool_taps(
    b: ElementBuilder,
    types: Sequence[TensorType],
    index: Sequence[Any],
    attrs: MaxPool2dAttrs,
    initial: Sequence[Any],
    body: Callable[[Any, list[Any], Any, Any, Any], Sequence[Any]],
    border: float,
) -> list[Any]:
    """Values carried through `body(element, values, y, x, inside)` for each tap.

    `border` stands for padding, where `inside` does not hold.
    """
    (_, _, height, width), (n, c, y, x) = types[0].shape, index
    top, left = attrs.pads[:2]

    def row(p: Any, values: list[Any]) -> Sequence[Any]:
        at = b.plus(b.times(y, attrs.strides[0]), b.times(p, attrs.dilations[0]), -top)

        def tap(q: Any, carried: list[Any]) -> Sequence[Any]:
            to = b.plus(b.times(x, attrs.strides[1]), b.times(q, attrs.dilations[1]), -left)
            inside = b.bit_and(b.within(at, 0, height), b.within(to, 0, width))
            value = b.load_if(inside, 0, (n, c, at, to), b.const(border))
            return body(value, carried, at, to, inside)

        return b.loop(attrs.window[1], values, tap)

    return b.loop(attrs.window[0], initial, row)


def pool_cost(types: Sequence[TensorType], result: TensorType, attrs: MaxPool2dAttrs) -> Cost:
    """One operation a tap."""
    taps = attrs.window[0] * attrs.window[1]
    return Cost(0, result.elems * taps, types[0].size_bytes + result.size_bytes)


class MaxPool2d(Op):
    """The largest value of each window; NaN wins; padding is never chosen."""

    name = "max_pool2d"
    Attrs = MaxPool2dAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.WINDOW})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: MaxPool2dAttrs) -> TensorType:
        """[N,C,oh,ow]; every window covers at least one real pixel."""
        return infer_pool(MaxPool2d, types, attrs)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: MaxPool2dAttrs) -> Array:
        """The maximum over each window, with a border of -Inf."""
        view = pool_windows(MaxPool2d, arrays[0], attrs, -np.inf)
        return np.asarray(view.max(axis=(4, 5)))

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: MaxPool2dAttrs,
    ) -> Any:
        """The maximum over the taps that lie inside."""
        lowest = b.const(-math.inf)
        (most,) = pool_taps(
            b, types, index, attrs, [lowest], lambda v, c, *_: [b.max(c[0], v)], -math.inf
        )
        return most

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: MaxPool2dAttrs) -> Cost:
        """One comparison a tap."""
        return pool_cost(types, result, attrs)

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: MaxPool2dAttrs
    ) -> F64:
        """The largest error of the window."""
        return np.asarray(cls.reference(errors, attrs), np.float64)


@dataclass(frozen=True, slots=True)
class AvgPool2dAttrs(MaxPool2dAttrs):
    """Geometry of an average pooling.

    Attributes:
        window: height and width of the window.
        strides: step of the window.
        pads: border of zeros: top, left, bottom, right.
        ceil: whether a last, incomplete window counts (PyTorch's rule).
        dilations: distance of neighbouring taps.
        count_pad: whether the border counts in the divisor. What a `ceil` window has beyond the
            border never counts.
    """

    count_pad: bool = False


def windows_apart(attrs: Any) -> bool:
    """Whether windows share no pixel, lie inside the map and are all full."""
    same = tuple(attrs.window) == tuple(attrs.strides)
    return same and not any(attrs.pads) and not attrs.ceil


def window_counts(attrs: AvgPool2dAttrs, axis: int, extent: int, count: int) -> F64:
    """Pixels that each of `count` windows counts along an axis of `extent` pixels (0: the height).

    With `count_pad` the border counts, but never what lies beyond it (PyTorch's rule).
    """
    before, after = attrs.pads[axis], attrs.pads[2 + axis]
    first = np.arange(count) * attrs.strides[axis] - before
    low, high = (-before, extent + after) if attrs.count_pad else (0, extent)
    taps = first[:, None] + np.arange(attrs.window[axis]) * attrs.dilations[axis]
    return np.asarray(((taps >= low) & (taps < high)).sum(axis=1), np.float64)


def pool_divisors(op: type[Op], shape: Sequence[int], attrs: AvgPool2dAttrs) -> F64:
    """Number of pixels that each window [oh,ow] counts."""
    out = pooled_extents(op, shape, attrs)
    down, across = (window_counts(attrs, axis, shape[2 + axis], out[axis]) for axis in (0, 1))
    return np.asarray(np.outer(down, across))


def _count(b: ElementBuilder, place: Any, extent: int, attrs: AvgPool2dAttrs, axis: int) -> Any:
    """How many taps of a window count along an axis, as a number."""
    before, after = attrs.pads[axis], attrs.pads[2 + axis]
    # Counted from the border's start, so that places are never negative.
    low, high = (0, before + extent + after) if attrs.count_pad else (before, before + extent)

    def tap(k: Any, carried: list[Any]) -> Sequence[Any]:
        at = b.plus(b.times(place, attrs.strides[axis]), b.times(k, attrs.dilations[axis]))
        one = b.select(b.within(at, low, high), b.const(1.0), b.const(0.0))
        return [b.add(carried[0], one)]

    (count,) = b.loop(attrs.window[axis], [b.const(0.0)], tap)
    return count


class AvgPool2d(Op):
    """The mean of each window."""

    name = "avg_pool2d"
    Attrs = AvgPool2dAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.WINDOW})
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: AvgPool2dAttrs) -> TensorType:
        """[N,C,oh,ow]; every window covers at least one real pixel."""
        check.flag(AvgPool2d, "count_pad", attrs.count_pad)
        return infer_pool(AvgPool2d, types, attrs)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: AvgPool2dAttrs) -> Array:
        """The sum over each window, with a border of 0, by the number of pixels that count."""
        total = pool_windows(AvgPool2d, arrays[0], attrs, 0.0).sum(axis=(4, 5))
        return np.asarray(total / pool_divisors(AvgPool2d, arrays[0].shape, attrs))

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: AvgPool2dAttrs,
    ) -> Any:
        """The sum over the taps that lie inside, by the number of places that count."""
        (total,) = pool_taps(
            b, types, index, attrs, [b.const(0.0)], lambda v, c, *_: [b.add(c[0], v)], 0.0
        )
        counts = [
            _count(b, index[2 + axis], types[0].shape[2 + axis], attrs, axis) for axis in (0, 1)
        ]
        return b.div(total, b.mul(*counts))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: AvgPool2dAttrs) -> Cost:
        """One addition a tap."""
        return pool_cost(types, result, attrs)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: AvgPool2dAttrs) -> int:
        """The window's taps."""
        return attrs.window[0] * attrs.window[1]

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: AvgPool2dAttrs
    ) -> F64:
        """The mean error of the window."""
        return np.asarray(cls.reference(errors, attrs), np.float64)


def _infer_global(op: type[Op], types: Sequence[TensorType]) -> TensorType:
    check.arity(op, types)
    check.floats(op, types)
    check.rank(op, types[0], 4)
    return TensorType(DType.F32, (*types[0].shape[:2], 1, 1))


def _global_cost(types: Sequence[TensorType], result: TensorType) -> Cost:
    return Cost(0, types[0].elems, types[0].size_bytes + result.size_bytes)


class GlobalAvgPool(Op):
    """The mean of each channel's whole map: [N,C,1,1]."""

    name = "global_avg_pool"
    traits = frozenset({Trait.ANCHOR})
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """[N,C,1,1]."""
        return _infer_global(GlobalAvgPool, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """Mean over H and W."""
        return np.asarray(arrays[0].astype(np.float64).mean(axis=(2, 3), keepdims=True))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """One addition a pixel."""
        return _global_cost(types, result)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """H·W pixels."""
        return types[0].shape[2] * types[0].shape[3]

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The mean error of the map."""
        return np.asarray(cls.reference(errors, attrs), np.float64)


class GlobalMaxPool(Op):
    """The largest value of each channel's whole map: [N,C,1,1]; NaN wins."""

    name = "global_max_pool"
    traits = frozenset({Trait.ANCHOR})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """[N,C,1,1]."""
        return _infer_global(GlobalMaxPool, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """Maximum over H and W."""
        return np.asarray(arrays[0].astype(np.float64).max(axis=(2, 3), keepdims=True))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """One comparison a pixel."""
        return _global_cost(types, result)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The largest error of the map."""
        return np.asarray(cls.reference(errors, attrs), np.float64)
