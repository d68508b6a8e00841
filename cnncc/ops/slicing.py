"""Parts of a value, and values repeated along axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import Array, ElementBuilder
from cnncc.ir.types import TensorType
from cnncc.ops import check
from cnncc.ops.shape import ElementMove

MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class SliceAttrs:
    """Which places, for each axis.

    Attributes:
        starts: the first place.
        steps: from one place to the next; negative ones go backwards.
        sizes: how many places: the extents of the result.
    """

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: tuple[int, ...]


class Slice(ElementMove):
    """y[i, j, ...] = x[starts[0] + i·steps[0], starts[1] + j·steps[1], ...]."""

    name = "slice"
    Attrs = SliceAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: SliceAttrs) -> TensorType:
        """The sizes; every place lies within x."""
        check.arity(Slice, types)
        check.positive_shape(Slice, types[0])
        rank = len(types[0].shape)
        starts = check.integers(Slice, "starts", attrs.starts, rank, 0)
        steps = check.integers(Slice, "steps", attrs.steps, rank, -(2**31))
        sizes = check.integers(Slice, "sizes", attrs.sizes, rank, 1)
        for axis, (n, start, step, size) in enumerate(
            zip(types[0].shape, starts, steps, sizes, strict=True)
        ):
            last = start + step * (size - 1)
            if not (start < n and 0 <= last < n and step):
                raise TypeInferenceError(
                    f"`slice` takes places {start} to {last} (step {step}) of axis {axis},"
                    f" but x is {types[0]}"
                )
        return TensorType(types[0].dtype, sizes)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: SliceAttrs) -> Array:
        """The definition."""
        per_axis = zip(attrs.starts, attrs.steps, attrs.sizes, strict=True)
        places = [start + step * np.arange(size) for start, step, size in per_axis]
        return arrays[0][np.ix_(*places)]

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: SliceAttrs,
    ) -> Any:
        """One load."""
        per_axis = zip(index, attrs.starts, attrs.steps, strict=True)
        return b.load(0, [b.plus(start, b.times(i, step)) for i, start, step in per_axis])


@dataclass(frozen=True, slots=True)
class ExpandAttrs:
    """The wider shape.

    Attributes:
        shape: all axes of the result; x is aligned with the last ones.
    """

    shape: tuple[int, ...]


class Expand(ElementMove):
    """x repeated along axes where its extent is 1, and along new leading axes."""

    name = "expand"
    Attrs = ExpandAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ExpandAttrs) -> TensorType:
        """The shape given."""
        check.arity(Expand, types)
        check.positive_shape(Expand, types[0])
        shape, own = attrs.shape, types[0].shape
        rank = len(shape) if isinstance(shape, tuple) else 0
        check.integers(Expand, "shape", shape, min(rank, MAX_RANK), 1)
        fits = zip(own[::-1], shape[::-1], strict=False)
        if len(own) > rank or any(n not in (1, wide) for n, wide in fits):
            raise TypeInferenceError(f"`expand` cannot widen {types[0]} to {list(shape)}")
        return check.result(Expand, types[0].dtype, shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ExpandAttrs) -> Array:
        """The definition."""
        return np.broadcast_to(arrays[0], attrs.shape)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: ExpandAttrs,
    ) -> Any:
        """One load; place 0 of repeated axes."""
        own = types[0].shape
        last = index[len(index) - len(own) :]
        return b.load(0, [0 if n == 1 else i for n, i in zip(own, last, strict=True)])
