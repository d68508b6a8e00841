"""Reductions: sums, products, means, extremes over axes, and where extremes lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Op, Trait, ulp
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import UNBOUNDED, Numeric, real, widened

KINDS = ("sum", "prod", "max", "min", "mean")
I64 = DType.I64
# Others could not hold the divisor of a long mean.
_WIDE = (*check.FLOATS, DType.I64, DType.I32, DType.U64, DType.U32)
_TYPES = {"max": check.ANY, "min": check.ANY, "mean": _WIDE}


@dataclass(frozen=True, slots=True)
class ReduceAttrs:
    """What becomes of the elements along some axes.

    Attributes:
        kind: `sum`, `prod`, `max`, `min` or `mean`.
        axes: the axes, counted from 0, in rising order.
        keepdims: whether they stay, with extent 1.
    """

    kind: str
    axes: tuple[int, ...]
    keepdims: bool = True


class Reduce(Numeric):
    """The sum, product, maximum, minimum or mean over some axes.

    Whole numbers wrap around, and their mean is truncated towards zero. A maximum or minimum is NaN
    if any element is; of truth values it is the disjunction or conjunction.
    """

    name = "reduce"
    Attrs = ReduceAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT})
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ReduceAttrs) -> TensorType:
        """The type of x without the axes, or with 1 in their places."""
        check.arity(Reduce, types)
        check.choice(Reduce, "kind", attrs.kind, KINDS)
        check.flag(Reduce, "keepdims", attrs.keepdims)
        dtype = check.one_type(Reduce, types, _TYPES.get(attrs.kind, check.NUMBERS))
        gone = check.axes(Reduce, attrs.axes, types[0])
        return check.result(Reduce, dtype, _left(types[0].shape, gone, attrs.keepdims))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: ReduceAttrs) -> Array:
        """The definition."""
        x, axes, keep = widened(arrays[0]), attrs.axes, attrs.keepdims
        if attrs.kind in ("max", "min"):
            extreme = np.max if attrs.kind == "max" else np.min
            return np.asarray(extreme(x, axis=axes, keepdims=keep))
        join: Any = np.prod if attrs.kind == "prod" else np.sum
        total = np.asarray(join(x, axis=axes, keepdims=keep, dtype=x.dtype))
        if attrs.kind != "mean":
            return total
        count = math.prod(x.shape[axis] for axis in axes)
        if x.dtype.kind == "f":
            return np.asarray(total / count)
        down = total // x.dtype.type(count)
        low = (total < 0) & (down * x.dtype.type(count) != total)
        return np.asarray(down + low.astype(x.dtype))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: ReduceAttrs) -> Cost:
        """One operation an element of x."""
        return Cost(0, types[0].elems, types[0].size_bytes + result.size_bytes)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: ReduceAttrs,
    ) -> Any:
        """A loop an axis; extremes begin with the first element."""
        x = types[0]
        place = _places(index, len(x.shape), attrs.axes, attrs.keepdims)
        if attrs.kind in ("max", "min"):
            initial = b.load(0, place)
        else:
            initial = b.const(1 if attrs.kind == "prod" else 0, x.dtype)

        def along(axes: tuple[int, ...], value: Any) -> Any:
            if not axes:
                return _joined(b, attrs.kind, x.dtype, value, b.load(0, place))

            def step(k: Any, carried: list[Any]) -> list[Any]:
                place[axes[0]] = k
                return [along(axes[1:], carried[0])]

            return b.loop(x.shape[axes[0]], [value], step)[0]

        total = along(attrs.axes, initial)
        if attrs.kind != "mean":
            return total
        return b.div(total, b.const(Reduce.terms(types, attrs), x.dtype))

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: ReduceAttrs) -> int:
        """Elements of x for one of the result."""
        return math.prod(types[0].shape[axis] for axis in attrs.axes)

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: ReduceAttrs) -> F64:
        """Rule B for sums and means, an ulp a factor for products; extremes are exact."""
        if attrs.kind in ("max", "min"):
            return np.zeros(result.shape)
        if attrs.kind == "prod" and result.dtype.kind == "f":
            count = result.size and arrays[0].size // result.size
            return np.asarray(count * ulp(result))
        return super().rounding(arrays, result, attrs)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: ReduceAttrs) -> F64:
        """The same reduction of the errors; of products ∏(|x| + e) - ∏|x|."""
        error = np.asarray(errors[0], np.float64)
        if attrs.kind != "prod":
            kind = "max" if attrs.kind == "min" else attrs.kind
            moved = cls.reference([error], ReduceAttrs(kind, attrs.axes, attrs.keepdims))
            truncated = attrs.kind == "mean" and arrays[0].dtype.kind != "f"
            return np.where(moved > 0, moved + truncated, 0.0)
        size = np.abs(real(arrays[0]))
        moved = cls.reference([size + error], attrs) - cls.reference([size], attrs)
        return np.where(np.isnan(moved), 0.0, np.minimum(moved, UNBOUNDED))


def _left(shape: tuple[int, ...], gone: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape that a reduction leaves."""
    kept = ((axis, n) for axis, n in enumerate(shape) if keepdims or axis not in gone)
    return tuple(1 if axis in gone else n for axis, n in kept)


def _places(index: Sequence[Any], rank: int, gone: tuple[int, ...], keepdims: bool) -> list[Any]:
    """The first place in x that belongs to a place of the result."""
    if keepdims:
        return [0 if axis in gone else i for axis, i in enumerate(index)]
    kept = iter(index)
    return [0 if axis in gone else next(kept) for axis in range(rank)]


def _joined(b: ElementBuilder, kind: str, dtype: DType, value: Any, x: Any) -> Any:
    if dtype is DType.BOOL:
        return (b.bit_or if kind == "max" else b.bit_and)(value, x)
    rules = {"max": b.max, "min": b.min, "prod": b.mul}
    return rules.get(kind, b.add)(value, x)


@dataclass(frozen=True, slots=True)
class ArgAttrs:
    """Where an extreme is sought, and which one of several equal ones.

    Attributes:
        axis: the axis.
        keepdims: whether it stays, with extent 1.
        last: the last one, instead of the first.
    """

    axis: int = 0
    keepdims: bool = True
    last: bool = False


class _Arg(Op):
    """Base of the places of extremes along an axis, as i64; NaN counts as the most extreme."""

    Attrs = ArgAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: ArgAttrs) -> TensorType:
        """Whole numbers of the shape of x without the axis, or with 1 in its place."""
        check.flag(cls, "keepdims", attrs.keepdims)
        check.flag(cls, "last", attrs.last)
        check.arity(cls, types)
        check.one_type(cls, types, check.NUMBERS)
        axis = check.axis(cls, attrs.axis, types[0])
        if types[0].shape[axis] >= 2**31:
            raise TypeInferenceError(f"`{cls.name}`: the axis of {types[0]} is too long")
        return check.result(cls, DType.I64, _left(types[0].shape, (axis,), attrs.keepdims))

    @classmethod
    def reference(cls, arrays: Sequence[Array], attrs: ArgAttrs) -> Array:
        """The definition, for the first and for the last of equal ones."""
        x, axis = arrays[0], attrs.axis
        search = np.argmax if cls is ArgMax else np.argmin
        if not attrs.last:
            return np.asarray(search(x, axis=axis, keepdims=attrs.keepdims), np.int64)
        behind = search(np.flip(x, axis), axis=axis, keepdims=attrs.keepdims)
        return np.asarray(x.shape[axis] - 1 - behind, np.int64)

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: ArgAttrs) -> Cost:
        """A comparison and a choice an element of x."""
        return Cost(0, 2 * types[0].elems, types[0].size_bytes + result.size_bytes)

    @classmethod
    def element(
        cls,
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: ArgAttrs,
    ) -> Any:
        """One loop that carries the best number and its place."""
        x = types[0]
        place = _places(index, len(x.shape), (attrs.axis,), attrs.keepdims)
        beats = _beats(b, cls is ArgMax, attrs.last)

        def step(k: Any, carried: list[Any]) -> list[Any]:
            best, where = carried
            place[attrs.axis] = k
            value = b.load(0, place)
            better = beats(value, best)
            if x.dtype.is_float:
                nan = b.ne(value, value)
                new = nan if attrs.last else b.bit_and(nan, b.eq(best, best))
                better = b.bit_or(better, new)
            return [b.select(better, value, best), b.select(better, b.value_of(k, I64), where)]

        first = b.load(0, place)
        return b.loop(x.shape[attrs.axis], [first, b.const(0, I64)], step)[1]

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: ArgAttrs) -> F64:
        """The farthest place whose number may come out as the most extreme one."""
        x = np.moveaxis(real(arrays[0]) * (1 if cls is ArgMax else -1), attrs.axis, -1)
        error = np.moveaxis(np.broadcast_to(errors[0], arrays[0].shape), attrs.axis, -1)
        chosen = cls.reference(arrays, ArgAttrs(attrs.axis, False, attrs.last))[..., None]
        reached = x + error >= np.max(x - error, axis=-1, keepdims=True)
        moving = np.any(error > 0, axis=-1, keepdims=True)
        apart = np.abs(np.arange(x.shape[-1]) - chosen)
        bound = np.max(np.where(reached & moving, apart, 0.0), axis=-1, keepdims=attrs.keepdims)
        return np.moveaxis(bound, -1, attrs.axis) if attrs.keepdims else np.asarray(bound)


def _beats(b: ElementBuilder, largest: bool, last: bool) -> Any:
    """The comparison by which a later number replaces an earlier one."""
    if largest:
        return b.ge if last else b.gt
    return b.le if last else b.lt


class ArgMax(_Arg):
    """The place of the largest number along an axis: the first one, or the last.

    NaN counts as larger than all numbers.
    """

    name = "arg_max"


class ArgMin(_Arg):
    """The place of the smallest number along an axis: the first one, or the last.

    NaN counts as smaller than all numbers.
    """

    name = "arg_min"
