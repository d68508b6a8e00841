"""Feature maps sampled at coordinates that an operand computes: one pixel, or a mixture of some."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, UNIT_ROUNDOFF, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.grid_taps import CUBIC, FAR, OFFSETS, GridSampleAttrs, Tap, axis_taps


class GridSample(Op):
    """x [N,C,H,W] at places of a grid [N,h,w,2] of (x, y), from -1 to 1: a map [N,C,h,w].

    Volumes [N,C,D,H,W] with grids [N,d,h,w,3] of (x, y, z) alike. Coordinates are cut off at 2^30
    pixels; what NaN and infinite ones give is open, but nothing outside x is read.
    """

    name = "grid_sample"
    Attrs = GridSampleAttrs
    arity = (2, 2)
    operand_names = ("x", "grid")
    traits = frozenset({Trait.ELEMENT})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: GridSampleAttrs) -> TensorType:
        """[N,C] and the axes of the grid."""
        op = GridSample
        check.arity(op, types)
        check.floats(op, types)
        x, grid = types
        axes = len(x.shape) - 2
        check.positive_shape(op, x)
        check.positive_shape(op, grid, "grid")
        check.choice(op, "mode", attrs.mode, ("nearest", "linear", "cubic"))
        check.choice(op, "padding", attrs.padding, ("zeros", "border", "reflection"))
        check.flag(op, "align_corners", attrs.align_corners)
        fits = len(grid.shape) == axes + 2 and (grid.shape[0], grid.shape[-1]) == (x.shape[0], axes)
        if axes not in (1, 2, 3) or not fits:
            raise TypeInferenceError(
                f"`{op.name}` wants a map [N,C,H,W] and a grid [N,h,w,2], or a volume and a grid"
                f" [N,d,h,w,3]; got {x} and {grid}"
            )
        if attrs.mode == "cubic" and axes > 2:
            raise TypeInferenceError(f"`{op.name}` is cubic along two axes only, got {x}")
        return check.result(op, DType.F32, x.shape[:2] + grid.shape[1:-1])

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: GridSampleAttrs) -> Array:
        """The definition, in float64."""
        return sample(arrays[0].astype(np.float64), _pixels(arrays, attrs), attrs)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: GridSampleAttrs,
    ) -> Any:
        """Coordinates of each axis, then its taps, then their products."""
        extents = types[0].shape[2:]
        taps = [axis_taps(b, index, axis, extents, attrs) for axis in range(len(extents))]
        total: Any = None
        for combination in itertools.product(*taps):
            places = [*index[:2], *(tap.place for tap in combination)]
            if attrs.padding == "zeros":
                inside = functools.reduce(b.bit_and, [tap.inside for tap in combination])
                pixel = b.load_if(inside, 0, places, b.const(0.0))
            else:
                pixel = b.load(0, places)
            weight = functools.reduce(b.mul, [tap.weight for tap in combination])
            if attrs.mode == "nearest":
                return pixel
            total = b.mul(weight, pixel) if total is None else b.fma(weight, pixel, total)
        return total

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: GridSampleAttrs) -> Cost:
        """A multiply-add a tap, and about 20 operations an axis for coordinates and weights."""
        axes = len(result.shape) - 2
        taps = len(OFFSETS[attrs.mode]) ** axes if attrs.mode != "nearest" else 0
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        return Cost(result.elems * taps, 20 * axes * result.elems, moved)

    @classmethod
    @np.errstate(all="ignore")
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: GridSampleAttrs) -> F64:
        """What rounded coordinates change, and the bound of a sum of all taps."""
        x = arrays[0].astype(np.float64)
        pixels = _pixels(arrays, attrs)
        extents = np.array(x.shape[2:], np.float64)
        off = 8 * UNIT_ROUNDOFF * (np.abs(pixels) + extents[::-1])
        bound = _moved(x, pixels, off, attrs)
        if attrs.mode != "nearest":
            taps = len(OFFSETS[attrs.mode]) ** len(extents)
            growth = UNIT_ROUNDOFF * (32.0 + 2.0 * math.sqrt(taps))
            sizes = sample(np.abs(x), pixels, attrs, bound=True)
            bound = bound + growth * sizes + taps * 2.0**-149
        return bound

    @classmethod
    @np.errstate(all="ignore")
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: GridSampleAttrs
    ) -> F64:
        """Errors of pixels count like pixels; those of the grid move what is sampled."""
        x = arrays[0].astype(np.float64)
        pixels = _pixels(arrays, attrs)
        extents = np.array(x.shape[2:], np.float64)
        off = errors[1] * extents[::-1] / 2
        spread = [
            sample(errors[0], pixels + sign * off, attrs, bound=True)
            for sign in _corners(len(extents))
        ]
        return np.asarray(np.max(spread, axis=0) + _moved(x, pixels, off, attrs))


def _pixels(arrays: Sequence[Array], attrs: GridSampleAttrs) -> F64:
    """The grid in pixels of x, its last axis (x, y, ..)."""
    extents = np.array(arrays[0].shape[:1:-1], np.float64)
    unit = (arrays[1].astype(np.float64) + 1) / 2
    made = unit * (extents - 1) if attrs.align_corners else unit * extents - 0.5
    return np.asarray(np.clip(made, -FAR, FAR))


def _corners(axes: int) -> list[F64]:
    return [np.array(signs) for signs in itertools.product((-1.0, 1.0), repeat=axes)]


def _moved(x: F64, pixels: F64, off: F64, attrs: GridSampleAttrs) -> F64:
    """Twice the largest change of the result when coordinates move so far, either way."""
    here = sample(x, pixels, attrs)
    changes = [
        np.abs(sample(x, pixels + signs * off, attrs) - here)
        for signs in _corners(pixels.shape[-1])
    ]
    return np.asarray(2 * np.max(changes, axis=0))


def _fold(place: Array, n: int, align_corners: bool) -> Array:
    """Coordinates mirrored into the picture."""
    span, low = (n - 1.0, 0.0) if align_corners else (float(n), -0.5)
    if span == 0:
        return np.zeros(place.shape)
    way = np.mod(place - low, 2 * span)
    return np.where(way > span, 2 * span - way, way) + low


def sample(x: F64, pixels: F64, attrs: GridSampleAttrs, bound: bool = False) -> F64:
    """The samples of x at pixel coordinates; with `bound`, weights count by their absolute value.

    A cubic weight counts as up to 8 then: that is what its polynomial adds and takes away.
    """
    axes = pixels.shape[-1]
    per_axis = [
        _axis_taps(pixels[..., axes - 1 - axis], x.shape[2 + axis], attrs, bound)
        for axis in range(axes)
    ]
    samples = np.arange(x.shape[0]).reshape(-1, *[1] * axes)
    y: F64 = np.zeros(x.shape[:2] + pixels.shape[1:-1])
    for taps in itertools.product(*per_axis):
        index: Any = (samples, slice(None), *(tap.place for tap in taps))
        # Advanced indices on both sides of a slice put the sliced axis last.
        found = np.moveaxis(x[index], -1, 1)
        inside = np.all([tap.inside for tap in taps], axis=0)[:, None]
        weight = np.prod([tap.weight for tap in taps], axis=0)[:, None]
        y = y + weight * np.where(inside, found, 0.0)
    return y


def _axis_taps(pixel: Array, n: int, attrs: GridSampleAttrs, bound: bool) -> list[Tap]:
    """The taps of all samples along one axis."""
    if attrs.mode == "nearest":
        pixel = np.rint(pixel)
    if attrs.padding == "border" and attrs.mode != "cubic":
        pixel = np.clip(pixel, 0, n - 1)
    elif attrs.padding == "reflection":
        pixel = _fold(pixel, n, attrs.align_corners)
    low = np.floor(np.nan_to_num(pixel))
    rest = pixel - low
    taps = []
    for offset in OFFSETS[attrs.mode]:
        place, distance = low + offset, np.abs(rest - offset)
        weight = _kernel(distance, attrs.mode)
        if bound:
            weight = np.full(place.shape, 8.0) if attrs.mode == "cubic" else np.abs(weight)
        inside = (place >= 0) & (place < n) | (attrs.padding != "zeros")
        if attrs.padding == "reflection":
            place = _fold(place, n, attrs.align_corners)
        taps.append(Tap(np.clip(place, 0, n - 1).astype(np.int64), inside, weight))
    return taps


def _kernel(distance: F64, mode: str) -> F64:
    """What a pixel so far away counts (cubic: Keys 1981)."""
    if mode == "nearest":
        return np.ones(distance.shape)
    if mode == "linear":
        return np.asarray(1.0 - distance)
    d, a = distance, CUBIC
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    return np.where(d <= 1, near, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a)
