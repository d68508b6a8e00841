"""The largest elements, and the boxes that stay: results that depend on an order of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


@dataclass(frozen=True, slots=True)
class TopKAttrs:
    """Which elements.

    Attributes:
        k: how many along the axis.
        axis: the axis.
        largest: the largest ones, falling; else the smallest, rising.
    """

    k: int
    axis: int
    largest: bool = True


class TopK(Op):
    """Base of the two halves of a top-k: elements of an axis in order, equal ones by their place.

    NaN counts as above every number, as in NumPy's sort.
    """

    Attrs = TopKAttrs
    traits = frozenset({Trait.ANCHOR})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: TopKAttrs) -> TensorType:
        """K places along the axis."""
        check.arity(cls, types)
        x = types[0]
        check.positive_shape(cls, x)
        if x.dtype is DType.BOOL:
            raise TypeInferenceError(f"`{cls.name}` wants numbers, got {x}")
        axis = check.axis(cls, attrs.axis, x)
        check.flag(cls, "largest", attrs.largest)
        if check.integer(cls, "k", attrs.k, 1) > x.shape[axis]:
            raise TypeInferenceError(f"`{cls.name}` wants k={attrs.k} of axis {axis} of {x}")
        shape = (*x.shape[:axis], attrs.k, *x.shape[axis + 1 :])
        return TensorType(DType.I64 if cls is TopKIndices else x.dtype, shape)

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: TopKAttrs) -> Cost:
        """Log2(k) + 1 comparisons an element."""
        work = types[0].elems * (attrs.k.bit_length() + 1)
        return Cost(0, work, types[0].size_bytes + result.size_bytes)


def _order(x: Array, attrs: TopKAttrs) -> NDArray[np.int64]:
    """All places along the axis in the order wanted."""
    if not attrs.largest:
        return np.argsort(x, axis=attrs.axis, kind="stable")
    backwards = np.argsort(np.flip(x, attrs.axis), axis=attrs.axis, kind="stable")
    return np.asarray(x.shape[attrs.axis] - 1 - np.flip(backwards, attrs.axis), np.int64)


class TopKValues(TopK):
    """The k largest or smallest elements along an axis, in order."""

    name = "topk_values"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: TopKAttrs) -> Array:
        """The definition."""
        order = _order(arrays[0], attrs).take(range(attrs.k), axis=attrs.axis)
        return np.take_along_axis(arrays[0], order, axis=attrs.axis)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: TopKAttrs) -> F64:
        """The element of a rank moves no further than the one that moves most."""
        shape = np.shape(cls.reference(arrays, attrs))
        return np.broadcast_to(errors[0].max(axis=attrs.axis, keepdims=True), shape)


class TopKIndices(TopK):
    """Where along an axis its k largest or smallest elements are, in order."""

    name = "topk_indices"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: TopKAttrs) -> Array:
        """The definition."""
        return _order(arrays[0], attrs).take(range(attrs.k), axis=attrs.axis)

    @classmethod
    @np.errstate(invalid="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: TopKAttrs) -> F64:
        """Any place for a rank whose neighbours in the order come within reach, else none."""
        order = _order(arrays[0], attrs)
        values = np.moveaxis(np.take_along_axis(arrays[0], order, axis=attrs.axis), attrs.axis, -1)
        reach = np.moveaxis(2 * errors[0].max(axis=attrs.axis, keepdims=True), attrs.axis, -1)
        close = (np.abs(np.diff(values, axis=-1)) <= reach) & (reach > 0)
        close = np.pad(close, [(0, 0)] * (values.ndim - 1) + [(1, 1)])
        unsure = (close[..., 1:] | close[..., :-1])[..., : attrs.k]
        return np.moveaxis(unsure * float(arrays[0].shape[attrs.axis] - 1), -1, attrs.axis)


class CountRows(Op):
    """How many rows of x [M,3] hold no -1, as i64[1]: what `non_max_suppression` found."""

    name = "count_rows"
    traits = frozenset({Trait.ELEMENT})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """One number."""
        check.arity(CountRows, types)
        check.positive_shape(CountRows, types[0])
        if types[0].dtype is not DType.I64 or types[0].shape[1:] != (3,):
            raise TypeInferenceError(f"`count_rows` wants rows i64[M,3], got {types[0]}")
        return TensorType(DType.I64, (1,))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.array([np.count_nonzero((arrays[0] != -1).all(axis=1))], np.int64)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Any,
    ) -> Any:
        """A loop over the rows."""
        none, zero, one = (b.const(value, DType.I64) for value in (-1, 0, 1))

        def row(m: Any, counts: list[Any]) -> list[Any]:
            found = [b.ne(b.load(0, [m, k]), none) for k in range(3)]
            whole = b.bit_and(b.bit_and(found[0], found[1]), found[2])
            return [b.add(counts[0], b.select(whole, one, zero))]

        return b.loop(types[0].shape[0], [zero], row)[0]

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Rows that may be others may be none."""
        return np.array([np.count_nonzero(errors[0].any(axis=1))], np.float64)
