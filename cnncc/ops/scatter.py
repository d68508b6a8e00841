"""Values put at places that an operand names.

Negative indices count from the end; an update whose index is still out of range is skipped. Updates
are applied in their row-major order, so the last of several at one place stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError, TypeInferenceError
from cnncc.ir.op import F64, UNIT_ROUNDOFF, Array, Cost, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.indexing import check_indices, check_within

Places = NDArray[np.int64]
REDUCTIONS = ("none", "add", "mul", "max", "min")
_UFUNCS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


class Scatter(Op):
    """Base of the operators that copy x and then change the places that indices name."""

    arity = (3, 3)
    operand_names = ("x", "indices", "updates")
    traits = frozenset({Trait.ANCHOR})

    @classmethod
    def destinations(cls, arrays: Sequence[Array], attrs: Any) -> Places:
        """For each update the element of x, counted in row-major order, or -1 to skip it."""
        raise InternalError("scatter without places")

    @classmethod
    @np.errstate(all="ignore")
    def reference(cls, arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        x, _, updates = arrays
        return _apply(x, cls.destinations(arrays, attrs), updates, attrs.reduction)

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """A copy, and one operation an update."""
        read = sum(t.size_bytes for t in types)
        work = types[2].elems if attrs.reduction != "none" else 0
        return Cost(0, work, read + result.size_bytes)

    @classmethod
    @np.errstate(all="ignore")
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: Any) -> F64:
        """Sums and products in order round once an update; all else is exact."""
        x, _, updates = arrays
        if x.dtype.kind != "f" or attrs.reduction not in ("add", "mul"):
            return np.zeros(result.shape)
        places = cls.destinations(arrays, attrs)
        count = _apply(np.zeros(x.shape), places, np.ones(updates.shape), "add")
        sizes = np.abs(updates)
        if attrs.reduction == "add":
            return 1.01 * count * (UNIT_ROUNDOFF * _apply(np.abs(x), places, sizes, "add"))
        growth = _apply(np.ones(x.shape), places, np.maximum(sizes, 1.0), "mul")
        return count * (1.01 * UNIT_ROUNDOFF * np.abs(result) + 2.0**-149 * growth)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Errors are moved, added, or the largest of those at a place."""
        x, _, updates = arrays
        places = cls.destinations(arrays, attrs)
        if attrs.reduction == "mul":
            high = _apply(np.abs(x) + errors[0], places, np.abs(updates) + errors[2], "mul")
            return np.asarray(high - _apply(np.abs(x), places, np.abs(updates), "mul"))
        reduction = "max" if attrs.reduction == "min" else attrs.reduction
        return np.asarray(_apply(errors[0], places, errors[2], reduction), np.float64)


def _apply(x: Array, places: Places, updates: Array, reduction: str) -> Array:
    result = x.copy()
    flat, kept = result.reshape(-1), places >= 0
    if reduction == "none":
        flat[places[kept]] = updates[kept]
    else:
        _UFUNCS[reduction].at(flat, places[kept], updates[kept])
    return result


def _in_range(indices: Array, extent: int) -> tuple[Places, NDArray[np.bool_]]:
    """Indices with negative ones counted from the end, and which of them are in range."""
    wide = indices.astype(np.int64)
    wide = np.where(wide < 0, wide + extent, wide)
    return wide, (wide >= 0) & (wide < extent)


def _check(op: type[Op], types: Sequence[TensorType], reduction: Any) -> None:
    check.arity(op, types)
    x, indices, updates = types
    check.positive_shape(op, x)
    check_indices(op, indices)
    check.positive_shape(op, updates, "updates")
    check.choice(op, "reduction", reduction, REDUCTIONS)
    if x.dtype is DType.BOOL and reduction != "none":
        raise TypeInferenceError(f"`{op.name}` wants numbers for `{reduction}`, got {x}")
    if updates.dtype is not x.dtype:
        raise TypeInferenceError(f"`{op.name}` wants updates of {x.dtype}, got {updates}")


@dataclass(frozen=True, slots=True)
class ScatterElementsAttrs:
    """Where updates go and what they do.

    Attributes:
        axis: the axis that the indices count.
        reduction: `none` (an update replaces), `add`, `mul`, `max` or `min` (it is joined to what
            stands there).
    """

    axis: int = 0
    reduction: str = "none"


class ScatterElements(Scatter):
    """x with updates[i, j, ..] at [i, indices[i, j, ..], ..], the index standing at the axis."""

    name = "scatter_elements"
    Attrs = ScatterElementsAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ScatterElementsAttrs) -> TensorType:
        """The type of x."""
        _check(ScatterElements, types, attrs.reduction)
        x, indices, updates = types
        check_within(ScatterElements, x, indices, check.axis(ScatterElements, attrs.axis, x))
        if updates.shape != indices.shape:
            raise TypeInferenceError(
                f"`scatter_elements` wants an update for each index; got {indices} and {updates}"
            )
        return x

    @classmethod
    def destinations(cls, arrays: Sequence[Array], attrs: ScatterElementsAttrs) -> Places:
        """The place of each update."""
        x, indices, _ = arrays
        places: list[Array] = list(np.indices(indices.shape))
        places[attrs.axis], kept = _in_range(indices, x.shape[attrs.axis])
        return np.where(kept, np.ravel_multi_index(tuple(places), x.shape, mode="clip"), -1)


@dataclass(frozen=True, slots=True)
class ScatterNdAttrs:
    """What updates do.

    Attributes:
        reduction: `none` (an update replaces), `add`, `mul`, `max` or `min` (it is joined to what
            stands there).
    """

    reduction: str = "none"


class ScatterNd(Scatter):
    """x with the slice updates[i..] at [indices[i.., 0], indices[i.., 1], ..]."""

    name = "scatter_nd"
    Attrs = ScatterNdAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ScatterNdAttrs) -> TensorType:
        """The type of x."""
        _check(ScatterNd, types, attrs.reduction)
        x, indices, updates = types
        counted = indices.shape[-1] if indices.shape else 0
        if not 1 <= counted <= len(x.shape):
            raise TypeInferenceError(
                f"`scatter_nd` wants 1 to {len(x.shape)} indices a place of x {x}, got {indices}"
            )
        wanted = indices.shape[:-1] + x.shape[counted:]
        if updates.shape != wanted:
            raise TypeInferenceError(
                f"`scatter_nd` wants updates of shape {list(wanted)} for x {x} and indices"
                f" {indices}, got {updates}"
            )
        return x

    @classmethod
    def destinations(cls, arrays: Sequence[Array], attrs: ScatterNdAttrs) -> Places:
        """The place of each element of each updated slice."""
        x, indices, updates = arrays
        counted = indices.shape[-1]
        slice_elems = int(np.prod(x.shape[counted:], dtype=np.int64))
        named = [_in_range(indices[..., k], x.shape[k]) for k in range(counted)]
        kept = np.all([inside for _, inside in named], axis=0)
        places = tuple(place for place, _ in named)
        slices = np.ravel_multi_index(places, x.shape[:counted], mode="clip")
        flat = slices[..., None] * slice_elems + np.arange(slice_elems)
        return np.where(kept[..., None], flat, -1).reshape(updates.shape)
