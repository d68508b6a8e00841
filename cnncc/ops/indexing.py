"""Elements taken at places that an operand names.

Every index is made legal before it is used, so that nothing outside the data is ever read: negative
ones count from the end, and what is still out of range is taken as the nearest place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Array, ElementBuilder, Op
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.shape import ElementMove

MAX_RANK = 8
INDEX_TYPES = (DType.I32, DType.I64)


def check_indices(op: type[Op], found: TensorType, word: str = "indices") -> None:
    """`found` holds whole numbers that can be indices."""
    check.positive_shape(op, found, word)
    if found.dtype not in INDEX_TYPES:
        raise TypeInferenceError(f"`{op.name}` wants `{word}` of i32 or i64, got {found}")


def legal(indices: Array, extent: int) -> NDArray[np.int64]:
    """Indices in [0, extent): negative ones from the end, others clamped."""
    wide = indices.astype(np.int64)
    return np.clip(np.where(wide < 0, wide + extent, wide), 0, extent - 1)


def legal_place(b: ElementBuilder, value: Any, dtype: DType, extent: int) -> Any:
    """The same of one loaded index, as a place."""
    zero, last = b.const(0, dtype), b.const(extent - 1, dtype)
    from_end = b.select(b.lt(value, zero), b.add(value, b.const(extent, dtype)), value)
    return b.place_of(b.max(b.min(from_end, last), zero))


class IndexedMove(ElementMove):
    """Base of the moves whose second operand says where elements come from."""

    arity = (2, 2)
    operand_names = ("x", "indices")

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Errors are moved like values."""
        return np.asarray(cls.reference([errors[0], arrays[1]], attrs), np.float64)


@dataclass(frozen=True, slots=True)
class GatherAttrs:
    """Which axis the indices count.

    Attributes:
        axis: the axis.
    """

    axis: int = 0


class Gather(IndexedMove):
    """y[a.., i.., c..] = x[a.., indices[i..], c..]: slices of x along an axis."""

    name = "gather"
    Attrs = GatherAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: GatherAttrs) -> TensorType:
        """The axes of the indices in place of the axis."""
        check.arity(Gather, types)
        x, indices = types
        check.positive_shape(Gather, x)
        check_indices(Gather, indices)
        axis = check.axis(Gather, attrs.axis, x)
        shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
        return _result(Gather, x.dtype, shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: GatherAttrs) -> Array:
        """The definition."""
        x, indices = arrays
        return np.asarray(np.take(x, legal(indices, x.shape[attrs.axis]), axis=attrs.axis))

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: GatherAttrs,
    ) -> Any:
        """A load of the index, a load there."""
        x, indices = types
        behind = attrs.axis + len(indices.shape)
        value = b.load(1, index[attrs.axis : behind])
        place = legal_place(b, value, indices.dtype, x.shape[attrs.axis])
        return b.load(0, [*index[: attrs.axis], place, *index[behind:]])


class GatherElements(IndexedMove):
    """y[i, j, ..] = x[i, indices[i, j, ..], ..], the index standing at the axis."""

    name = "gather_elements"
    Attrs = GatherAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: GatherAttrs) -> TensorType:
        """The shape of the indices, nowhere but along the axis wider than x."""
        check.arity(GatherElements, types)
        x, indices = types
        check.positive_shape(GatherElements, x)
        check_indices(GatherElements, indices)
        axis = check.axis(GatherElements, attrs.axis, x)
        check_within(GatherElements, x, indices, axis)
        return TensorType(x.dtype, indices.shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: GatherAttrs) -> Array:
        """The definition."""
        x, indices = arrays
        places: list[Array] = list(np.indices(indices.shape))
        places[attrs.axis] = legal(indices, x.shape[attrs.axis])
        return np.asarray(x[tuple(places)])

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: GatherAttrs,
    ) -> Any:
        """A load of the index, a load there."""
        x, indices = types
        places = list(index)
        places[attrs.axis] = legal_place(b, b.load(1, index), indices.dtype, x.shape[attrs.axis])
        return b.load(0, places)


@dataclass(frozen=True, slots=True)
class GatherNdAttrs:
    """How many axes x and the indices have in common.

    Attributes:
        batch_dims: leading axes that run side by side in both.
    """

    batch_dims: int = 0


class GatherNd(IndexedMove):
    """y[b.., i.., c..] = x[b.., indices[b.., i.., 0], indices[b.., i.., 1], .., c..]."""

    name = "gather_nd"
    Attrs = GatherNdAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: GatherNdAttrs) -> TensorType:
        """The indices' axes but the last, then those of x that no index counts."""
        check.arity(GatherNd, types)
        x, indices = types
        check.positive_shape(GatherNd, x)
        check_indices(GatherNd, indices)
        shared = check.integer(GatherNd, "batch_dims", attrs.batch_dims, 0)
        rank = len(indices.shape)
        if not (
            shared < rank
            and indices.shape[:shared] == x.shape[:shared]
            and indices.shape[-1] <= len(x.shape) - shared
        ):
            raise TypeInferenceError(
                f"`gather_nd` with batch_dims={shared} wants equal extents in front and at most"
                f" as many indices as x has axes behind; got {x} and {indices}"
            )
        shape = indices.shape[:-1] + x.shape[shared + indices.shape[-1] :]
        return _result(GatherNd, x.dtype, shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: GatherNdAttrs) -> Array:
        """The definition."""
        x, indices = arrays
        shared = attrs.batch_dims
        batch = np.indices(indices.shape[:-1])[:shared]
        extents = x.shape[shared:]
        named = [legal(indices[..., k], extents[k]) for k in range(indices.shape[-1])]
        return np.asarray(x[(*batch, *named)])

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: GatherNdAttrs,
    ) -> Any:
        """A load of each index, a load there."""
        x, indices = types
        shared, outer = attrs.batch_dims, len(indices.shape) - 1
        places = list(index[:shared])
        for k in range(indices.shape[-1]):
            value = b.load(1, [*index[:outer], k])
            places.append(legal_place(b, value, indices.dtype, x.shape[shared + k]))
        return b.load(0, [*places, *index[outer:]])


@dataclass(frozen=True, slots=True)
class ReverseSequenceAttrs:
    """Which axis runs through a sequence.

    Attributes:
        batch_axis: the axis that counts sequences.
        time_axis: the axis along which a sequence lies.
    """

    batch_axis: int
    time_axis: int


class ReverseSequence(IndexedMove):
    """The first lengths[n] elements of sequence n backwards, the rest as it is.

    Lengths below 0 count as 0, those above the axis as the axis.
    """

    name = "reverse_sequence"
    Attrs = ReverseSequenceAttrs
    operand_names = ("x", "lengths")

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ReverseSequenceAttrs) -> TensorType:
        """The type of x."""
        op = ReverseSequence
        check.arity(op, types)
        x, lengths = types
        check.positive_shape(op, x)
        batch = check.axis(op, attrs.batch_axis, x)
        if check.axis(op, attrs.time_axis, x) == batch:
            raise TypeInferenceError("`reverse_sequence` wants two axes, got one twice")
        check.vector(op, lengths, x.shape[batch], "lengths")
        check_indices(op, lengths, "lengths")
        return x

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ReverseSequenceAttrs) -> Array:
        """The definition."""
        x, lengths = arrays
        result = x.copy()
        source = np.moveaxis(x, (attrs.batch_axis, attrs.time_axis), (0, 1))
        target = np.moveaxis(result, (attrs.batch_axis, attrs.time_axis), (0, 1))
        for sequence, length in enumerate(np.clip(lengths, 0, source.shape[1])):
            target[sequence, :length] = source[sequence, :length][::-1]
        return result

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: ReverseSequenceAttrs,
    ) -> Any:
        """One load, at length - 1 - t for t below the length."""
        dtype, steps = types[1].dtype, result.shape[attrs.time_axis]
        given = b.load(1, [index[attrs.batch_axis]])
        length = b.max(b.min(given, b.const(steps, dtype)), b.const(0, dtype))
        t = b.value_of(index[attrs.time_axis], dtype)
        mirrored = b.sub(b.sub(length, b.const(1, dtype)), t)
        places = list(index)
        places[attrs.time_axis] = b.place_of(b.select(b.lt(t, length), mirrored, t))
        return b.load(0, places)


def check_within(op: type[Op], x: TensorType, indices: TensorType, axis: int) -> None:
    """The indices have the rank of x, and are nowhere but along the axis wider."""
    per_axis = enumerate(zip(indices.shape, x.shape, strict=False))
    narrow = all(found <= n or k == axis for k, (found, n) in per_axis)
    if len(indices.shape) != len(x.shape) or not narrow:
        raise TypeInferenceError(
            f"`{op.name}` along axis {axis} wants indices of the rank of x and, but for that axis,"
            f" of at most its extents; got {x} and {indices}"
        )


def _result(op: type[Op], dtype: DType, shape: tuple[int, ...]) -> TensorType:
    if len(shape) > MAX_RANK:
        raise TypeInferenceError(f"`{op.name}` has a result of rank {len(shape)}, above {MAX_RANK}")
    return check.result(op, dtype, shape)
