"""Borders of any kind along any axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Array, ElementBuilder
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.shape import ElementMove

MODES = ("constant", "edge", "reflect", "wrap")


@dataclass(frozen=True, slots=True)
class PadAttrs:
    """A border along any axes.

    Attributes:
        mode: what it holds: `constant` (the value), `edge` (the nearest element), `reflect` (the
            elements mirrored at the outermost ones, again and again) or `wrap` (the elements from
            the other end).
        before: places added in front, for each axis.
        after: places added behind, for each axis.
        value: what a `constant` border holds; a number of x's element type.
    """

    mode: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float | int = 0


class Pad(ElementMove):
    """x within a border."""

    name = "pad"
    Attrs = PadAttrs

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: PadAttrs) -> TensorType:
        """Extents grow by the border."""
        check.arity(Pad, types)
        check.positive_shape(Pad, types[0])
        check.choice(Pad, "mode", attrs.mode, MODES)
        rank = len(types[0].shape)
        before = check.integers(Pad, "before", attrs.before, rank, 0)
        after = check.integers(Pad, "after", attrs.after, rank, 0)
        _check_value(attrs.value, types[0].dtype)
        shape = [n + low + high for n, low, high in zip(types[0].shape, before, after, strict=True)]
        return check.result(Pad, types[0].dtype, shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: PadAttrs) -> Array:
        """NumPy's definition."""
        border = list(zip(attrs.before, attrs.after, strict=True))
        if not border:
            return arrays[0]
        mode: Any = attrs.mode
        value = {"constant_values": attrs.value} if attrs.mode == "constant" else {}
        return np.pad(arrays[0], border, mode=mode, **value)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: PadAttrs,
    ) -> Any:
        """One load, at the place that the border copies; none in a `constant` border."""
        inside: Any = None
        places = []
        for i, n, before, wide in zip(
            index, types[0].shape, attrs.before, result.shape, strict=True
        ):
            place = b.plus(i, -before) if before else i
            if n == wide:
                places.append(place)
            elif attrs.mode != "constant":
                places.append(_PLACES[attrs.mode](b, place, n, before))
            else:
                here = b.within(place, 0, n)
                inside = here if inside is None else b.bit_and(inside, here)
                places.append(place)
        if inside is None:
            return b.load(0, places)
        return b.load_if(inside, 0, places, b.const(attrs.value, result.dtype))

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: PadAttrs) -> F64:
        """A `constant` border is exact, others copy errors."""
        exact = PadAttrs(attrs.mode, attrs.before, attrs.after)
        return np.asarray(cls.reference(errors, exact), np.float64)


def _check_value(value: Any, dtype: DType) -> None:
    """`value` is a number that the element type holds exactly."""
    fits = False
    if isinstance(value, bool | int | float) and not dtype.is_float:
        bounds = (0, 1) if dtype is DType.BOOL else _range(dtype)
        fits = bounds[0] <= value <= bounds[1] and value == int(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and dtype.is_float:
        with np.errstate(over="ignore"):
            held = float(dtype.numpy.type(value))
        fits = held == value or math.isnan(value)
    if not fits:
        raise TypeInferenceError(f"`pad` wants value to be a number of {dtype}, got {value!r}")


def _range(dtype: DType) -> tuple[int, int]:
    limits = np.iinfo(dtype.numpy.name)
    return int(limits.min), int(limits.max)


def _edge_place(b: ElementBuilder, place: Any, n: int, before: int) -> Any:
    return b.clamp(place, 0, n - 1)


def _wrapped_place(b: ElementBuilder, place: Any, n: int, before: int) -> Any:
    return b.remainder(b.plus(place, -(-before // n) * n), n)


def _mirrored_place(b: ElementBuilder, place: Any, n: int, before: int) -> Any:
    """The place in a row that runs to and fro with period 2·(n - 1)."""
    if n == 1:
        return 0
    way = _wrapped_place(b, place, 2 * (n - 1), before)
    back = b.clamp(b.plus(way, 1 - n), 0, n - 1)  # how far the way back has been walked
    return b.plus(b.clamp(way, 0, n - 1), b.times(back, -1))


_PLACES = {"edge": _edge_place, "wrap": _wrapped_place, "reflect": _mirrored_place}
