"""Operators that move elements: reshapes, joins, borders, slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


class Move(Op):
    """Base of the operators that move elements and leave their values."""

    traits = frozenset({Trait.ANCHOR, Trait.SHAPE_ONLY})

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """Reads and writes only."""
        return Cost(0, 0, sum(t.size_bytes for t in types) + result.size_bytes)


class ElementMove(Move):
    """Base of the moves that say of each element of the result which one of x it is."""

    traits = frozenset({Trait.ELEMENT, Trait.SHAPE_ONLY})


class Relayout(Move):
    """The same values in f32, stored in another layout; plans insert it."""

    name = "relayout"
    accuracy = Accuracy(ulps=0.5)  # whole numbers beyond 2^24; f32 values stay as they are

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The shape of x."""
        check.arity(Relayout, types)
        check.positive_shape(Relayout, types[0])
        return TensorType(DType.F32, types[0].shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The operand."""
        return arrays[0].astype(np.float64)


@dataclass(frozen=True, slots=True)
class FlattenAttrs:
    """In which order a feature map becomes a vector.

    Attributes:
        order: `hwc` (TensorFlow, Keras) or `chw` (PyTorch).
    """

    order: str = "hwc"


class Flatten(Move):
    """A feature map [N,C,H,W] as a vector [N,H·W·C] in the named order; a vector stays."""

    name = "flatten"
    Attrs = FlattenAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: FlattenAttrs) -> TensorType:
        """[N,H·W·C]."""
        check.arity(Flatten, types)
        check.choice(Flatten, "order", attrs.order, ("hwc", "chw"))
        check.channelled(Flatten, types[0])
        batch, *rest = types[0].shape
        return TensorType(types[0].dtype, (batch, math.prod(rest)))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: FlattenAttrs) -> Array:
        """The definition."""
        x = arrays[0]
        if x.ndim == 4 and attrs.order == "hwc":
            x = x.transpose(0, 2, 3, 1)
        return x.reshape(x.shape[0], -1)


@dataclass(frozen=True, slots=True)
class ReshapeAttrs:
    """The new shape.

    Attributes:
        shape: all axes of the result; one of them may be -1, which takes what is left. A -1 in
            front lets the batch stay free.
    """

    shape: tuple[int, ...]


class Reshape(Move):
    """The same elements in row-major order under another shape."""

    name = "reshape"
    Attrs = ReshapeAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ReshapeAttrs) -> TensorType:
        """The shape given, with -1 filled in."""
        check.arity(Reshape, types)
        check.positive_shape(Reshape, types[0])
        shape, wanted = attrs.shape, types[0].elems
        whole = isinstance(shape, tuple) and all(type(n) is int and n != 0 for n in shape)
        if not whole or len(shape) > 8 or min(shape, default=1) < -1 or shape.count(-1) > 1:
            raise TypeInferenceError(
                f"`reshape` wants up to 8 axes of at least 1, at most one of them -1; got {shape!r}"
            )
        known = math.prod(n for n in shape if n != -1)
        if wanted % known or (-1 not in shape and known != wanted):
            raise TypeInferenceError(
                f"`reshape` to {list(shape)} has {known} elements, but x {types[0]} has {wanted}"
            )
        filled = [wanted // known if n == -1 else n for n in shape]
        return check.result(Reshape, types[0].dtype, filled)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ReshapeAttrs) -> Array:
        """The definition."""
        return arrays[0].reshape(attrs.shape)


@dataclass(frozen=True, slots=True)
class TransposeAttrs:
    """The order of the axes.

    Attributes:
        perm: for each axis of the result, the axis of x that it is.
    """

    perm: tuple[int, ...]


class Transpose(Move):
    """The same elements with axes in another order."""

    name = "transpose"
    Attrs = TransposeAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.SHAPE_ONLY})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: TransposeAttrs) -> TensorType:
        """Extents in the new order."""
        check.arity(Transpose, types)
        check.positive_shape(Transpose, types[0])
        rank = len(types[0].shape)
        check.integers(Transpose, "perm", attrs.perm, rank, 0)
        if sorted(attrs.perm) != list(range(rank)):
            raise TypeInferenceError(
                f"`transpose` wants each axis of {types[0]} once, got perm={list(attrs.perm)}"
            )
        return TensorType(types[0].dtype, tuple(types[0].shape[p] for p in attrs.perm))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: TransposeAttrs) -> Array:
        """The definition."""
        return arrays[0].transpose(attrs.perm)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: TransposeAttrs,
    ) -> Any:
        """One load."""
        return b.load(0, [index[attrs.perm.index(axis)] for axis in range(len(index))])


@dataclass(frozen=True, slots=True)
class ConcatAttrs:
    """Where `concat` joins.

    Attributes:
        axis: the axis along which operands follow each other; channels by default.
    """

    axis: int = 1


class Concat(Move):
    """Operands one after another along an axis; all other extents are equal."""

    name = "concat"
    Attrs = ConcatAttrs
    arity = (1, None)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ConcatAttrs) -> TensorType:
        """Extents along the axis add up."""
        check.arity(Concat, types)
        first = types[0]
        axis = check.axis(Concat, attrs.axis, first)
        for index, found in enumerate(types):
            check.positive_shape(Concat, found, f"operand {index}")
            others = (found.shape[:axis], found.shape[axis + 1 :])
            same = others == (first.shape[:axis], first.shape[axis + 1 :])
            if not same or len(found.shape) != len(first.shape) or found.dtype != first.dtype:
                raise TypeInferenceError(
                    f"`concat` along axis {axis} wants operands that differ in that axis only;"
                    f" got {first} and {found} (operand {index})"
                )
        shape = list(first.shape)
        shape[axis] = sum(t.shape[axis] for t in types)
        return check.result(Concat, first.dtype, shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ConcatAttrs) -> Array:
        """The definition."""
        return np.concatenate(list(arrays), axis=attrs.axis)


@dataclass(frozen=True, slots=True)
class Pad2dAttrs:
    """A border.

    Attributes:
        pads: rows and columns added: top, left, bottom, right.
        value: what they hold.
    """

    pads: tuple[int, int, int, int]
    value: float = 0.0


class Pad2d(Move):
    """A feature map within a border of one value."""

    name = "pad2d"
    Attrs = Pad2dAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.SHAPE_ONLY})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Pad2dAttrs) -> TensorType:
        """Height and width grow by the border."""
        check.arity(Pad2d, types)
        check.floats(Pad2d, types)
        check.rank(Pad2d, types[0], 4)
        top, left, bottom, right = check.integers(Pad2d, "pads", attrs.pads, 4, 0)
        if isinstance(attrs.value, bool) or not isinstance(attrs.value, int | float):
            raise TypeInferenceError(f"`pad2d` wants value to be a number, got {attrs.value!r}")
        batch, channels, height, width = types[0].shape
        extents = (height + top + bottom, width + left + right)
        return check.result(Pad2d, types[0].dtype, (batch, channels, *extents))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Pad2dAttrs) -> Array:
        """The definition, with the value as f32 holds it."""
        top, left, bottom, right = attrs.pads
        border = ((0, 0), (0, 0), (top, bottom), (left, right))
        x = arrays[0].astype(np.float64)
        return np.pad(x, border, constant_values=float(np.float32(attrs.value)))

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Pad2dAttrs,
    ) -> Any:
        """One load, none in the border."""
        top, left, _, _ = attrs.pads
        height, width = types[0].shape[2:]
        row, column = b.plus(index[2], -top), b.plus(index[3], -left)
        inside = b.bit_and(b.within(row, 0, height), b.within(column, 0, width))
        return b.load_if(inside, 0, [*index[:2], row, column], b.const(attrs.value))

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Pad2dAttrs) -> F64:
        """The border is exact."""
        return np.asarray(cls.reference(errors, Pad2dAttrs(attrs.pads)), np.float64)


@dataclass(frozen=True, slots=True)
class Crop2dAttrs:
    """What `crop2d` cuts off.

    Attributes:
        pads: rows and columns removed: top, left, bottom, right.
    """

    pads: tuple[int, int, int, int]


class Crop2d(Move):
    """A feature map without its border."""

    name = "crop2d"
    Attrs = Crop2dAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.SHAPE_ONLY})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Crop2dAttrs) -> TensorType:
        """Height and width shrink by the border; something is left."""
        check.arity(Crop2d, types)
        check.rank(Crop2d, types[0], 4)
        top, left, bottom, right = check.integers(Crop2d, "pads", attrs.pads, 4, 0)
        batch, channels, height, width = types[0].shape
        extents = (height - top - bottom, width - left - right)
        if min(extents) < 1:
            raise TypeInferenceError(
                f"`crop2d` with pads={list(attrs.pads)} leaves nothing of {types[0]}"
            )
        return TensorType(types[0].dtype, (batch, channels, *extents))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Crop2dAttrs) -> Array:
        """The definition."""
        top, left, bottom, right = attrs.pads
        height, width = arrays[0].shape[2:]
        return arrays[0][:, :, top : height - bottom, left : width - right]

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Crop2dAttrs,
    ) -> Any:
        """One load."""
        top, left, _, _ = attrs.pads
        return b.load(0, [*index[:2], b.plus(index[2], top), b.plus(index[3], left)])


@dataclass(frozen=True, slots=True)
class SliceChannelsAttrs:
    """Which channels.

    Attributes:
        start: the first channel.
        stop: one past the last channel.
    """

    start: int
    stop: int


class SliceChannels(Move):
    """Channels `start` to `stop` - 1 of a feature map or vector."""

    name = "slice_channels"
    Attrs = SliceChannelsAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.SHAPE_ONLY})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: SliceChannelsAttrs) -> TensorType:
        """Stop - start channels."""
        check.arity(SliceChannels, types)
        channels = check.channelled(SliceChannels, types[0])
        start = check.integer(SliceChannels, "start", attrs.start, 0)
        stop = check.integer(SliceChannels, "stop", attrs.stop, 1)
        if not start < stop <= channels:
            raise TypeInferenceError(
                f"`slice_channels` wants 0 <= start < stop <= {channels}, got {start} and {stop}"
            )
        batch, _, *rest = types[0].shape
        return TensorType(types[0].dtype, (batch, stop - start, *rest))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: SliceChannelsAttrs) -> Array:
        """The definition."""
        return arrays[0][:, attrs.start : attrs.stop]

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: SliceChannelsAttrs,
    ) -> Any:
        """One load."""
        return b.load(0, [index[0], b.plus(index[1], attrs.start), *index[2:]])


@dataclass(frozen=True, slots=True)
class ChannelShuffleAttrs:
    """How `channel_shuffle` mixes.

    Attributes:
        groups: number of groups; it divides the channels.
    """

    groups: int


class ChannelShuffle(Move):
    """Channels in round robin over groups (ShuffleNet): y[i·G + g] = x[g·C/G + i]."""

    name = "channel_shuffle"
    Attrs = ChannelShuffleAttrs
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.SHAPE_ONLY})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ChannelShuffleAttrs) -> TensorType:
        """The type of x."""
        check.arity(ChannelShuffle, types)
        channels = check.channelled(ChannelShuffle, types[0])
        groups = check.integer(ChannelShuffle, "groups", attrs.groups, 1)
        check.divides(ChannelShuffle, groups, channels, "channels")
        return types[0]

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ChannelShuffleAttrs) -> Array:
        """The definition."""
        x = arrays[0]
        split = x.reshape(x.shape[0], attrs.groups, -1, *x.shape[2:])
        return split.swapaxes(1, 2).reshape(x.shape)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: ChannelShuffleAttrs,
    ) -> Any:
        """One load."""
        depth = result.shape[1] // attrs.groups
        group = b.remainder(index[1], attrs.groups)
        channel = b.plus(b.times(group, depth), b.quotient(index[1], attrs.groups))
        return b.load(0, [index[0], channel, *index[2:]])
