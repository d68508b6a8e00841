"""Regions of a feature map, each resampled to one size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, UNIT_ROUNDOFF, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.indexing import check_indices, legal, legal_place

MOST_SAMPLES = 1024  # along one axis of a bin; no sensible region asks for as many


@dataclass(frozen=True, slots=True)
class RoiAlignAttrs:
    """How regions are resampled.

    Attributes:
        output_size: rows and columns of bins of each region.
        mode: a bin is the average (`avg`) of its samples, or the largest (`max`) of their four
            weighted pixels, as ONNX has it.
        sampling_ratio: samples of a bin along each axis; 0 for the bin's size, rounded up.
        spatial_scale: pixels of the map for a unit of the regions' coordinates.
        half_pixel: coordinates count from pixels' edges, else from their centres, and a region is
            at least one pixel wide.
    """

    output_size: tuple[int, int]
    mode: str = "avg"
    sampling_ratio: int = 0
    spatial_scale: float = 1.0
    half_pixel: bool = True


class RoiAlign(Op):
    """Bins [R,C,h,w] of the regions [R,4] (x, y, x, y) of maps x [N,C,H,W]; which map, `batch` [R].

    A sample mixes the four pixels around it; more than one pixel outside the map it is 0. Indices
    of maps are made legal as those of `gather` are. A bin has at most 1,024 samples along an axis.
    """

    name = "roi_align"
    Attrs = RoiAlignAttrs
    arity = (3, 3)
    operand_names = ("x", "regions", "batch")
    traits = frozenset({Trait.ELEMENT})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: RoiAlignAttrs) -> TensorType:
        """[R,C,h,w]."""
        op = RoiAlign
        check.arity(op, types)
        x, regions, batch = types
        check.floats(op, [x, regions])
        check.rank(op, x, 4)
        check.positive_shape(op, regions, "regions")
        if len(regions.shape) != 2 or regions.shape[1] != 4:
            raise TypeInferenceError(f"`{op.name}` wants `regions` [R,4], got {regions}")
        check_indices(op, batch, "batch")
        check.vector(op, batch, regions.shape[0], "batch")
        size = check.integers(op, "output_size", attrs.output_size, 2, 1)
        check.choice(op, "mode", attrs.mode, ("avg", "max"))
        check.flag(op, "half_pixel", attrs.half_pixel)
        if check.integer(op, "sampling_ratio", attrs.sampling_ratio, 0) > MOST_SAMPLES:
            raise TypeInferenceError(
                f"`{op.name}` wants sampling_ratio up to {MOST_SAMPLES}, got {attrs.sampling_ratio}"
            )
        check.finite(op, "spatial_scale", attrs.spatial_scale)
        return check.result(op, DType.F32, (regions.shape[0], x.shape[1], *size))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: RoiAlignAttrs) -> Array:
        """The definition, in float64."""
        return _align(arrays[0].astype(np.float64), arrays[1], arrays[2], attrs)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: RoiAlignAttrs,
    ) -> Any:
        """A loop over the samples of a bin."""
        x, _, batch = types
        image = legal_place(b, b.load(2, [index[0]]), batch.dtype, x.shape[0])
        rows, columns = (_span(b, index, axis, attrs) for axis in (0, 1))

        def sample(iy: Any, ix: Any, value: Any) -> Any:
            ys, xs = _around(b, rows, iy, x.shape[2]), _around(b, columns, ix, x.shape[3])
            parts = [
                b.mul(b.mul(wy, wx), b.load(0, [image, index[1], y, x]))
                for (y, wy), (x, wx) in itertools.product(ys.taps, xs.taps)
            ]
            inside = b.bit_and(ys.inside, xs.inside)
            join = b.add if attrs.mode == "avg" else b.max
            mixed = join(join(parts[0], parts[1]), join(parts[2], parts[3]))
            return join(value, b.select(inside, mixed, b.const(0.0)))

        def row(iy: Any, values: list[Any]) -> list[Any]:
            return b.loop(columns.samples, values, lambda ix, v: [sample(iy, ix, v[0])])

        first = b.const(0.0 if attrs.mode == "avg" else -math.inf)
        total = b.loop(rows.samples, [first], row)[0]
        count = b.mul(rows.count, columns.count)
        if attrs.mode == "avg":
            return b.div(total, b.max(count, b.const(1.0)))
        return b.select(b.gt(count, b.const(0.0)), total, b.const(0.0))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: RoiAlignAttrs) -> Cost:
        """About 40 operations a sample; two samples an axis where regions decide."""
        samples = (attrs.sampling_ratio or 2) ** 2 * result.elems
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        return Cost(4 * samples, 36 * samples, moved)

    @classmethod
    @np.errstate(all="ignore")
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: RoiAlignAttrs) -> F64:
        """What rounded coordinates change, and the bound of a sum of all samples."""
        x, regions, batch = arrays
        edge = np.abs(regions).max(axis=1, keepdims=True)
        off = 16 * UNIT_ROUNDOFF * (edge + 1.0 / max(abs(attrs.spatial_scale), 1e-30))
        bins = [_bins(regions, axis, attrs)[2] for axis in (0, 1)]
        taps = 4.0 * np.maximum(bins[0] * bins[1], 1.0)
        growth = UNIT_ROUNDOFF * (16.0 + 2.0 * np.sqrt(taps))[:, None, None, None]
        sizes = _align(np.abs(x), regions, batch, attrs)
        return np.asarray(_moved(arrays, off, attrs) + growth * sizes + 2.0**-120)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: RoiAlignAttrs) -> F64:
        """Errors of pixels are mixed like pixels; those of regions move what is sampled."""
        _, regions, batch = arrays
        spread = [_align(errors[0], regions + signs * errors[1], batch, attrs) for signs in _SHIFTS]
        return np.asarray(np.max(spread, axis=0) + _moved(arrays, errors[1], attrs))


# How the corners of a region may be off: both alike, apart, together.
_SHIFTS = [np.array([a, b, c, d]) for a, b, c, d in itertools.product((-1.0, 1.0), repeat=4)]


# -- the rule on one element -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Span:
    """One axis of a bin: its start, the pixels from sample to sample, and how many there are."""

    start: Any
    step: Any
    samples: Any
    count: Any


def _span(b: ElementBuilder, index: Sequence[Any], axis: int, attrs: RoiAlignAttrs) -> _Span:
    """Rows (axis 0) or columns (axis 1) of the bin at a place of the result."""
    scale, offset = b.const(attrs.spatial_scale), b.const(0.5 if attrs.half_pixel else 0.0)
    start, end = (
        b.sub(b.mul(b.load(1, [index[0], corner]), scale), offset)
        for corner in (1 - axis, 3 - axis)
    )
    size = b.sub(end, start)
    if not attrs.half_pixel:
        size = b.max(size, b.const(1.0))
    width = b.div(size, b.const(float(attrs.output_size[axis])))
    start = b.add(start, b.mul(b.value_of(index[2 + axis], DType.F32), width))
    if attrs.sampling_ratio:
        count = b.const(float(attrs.sampling_ratio))
        return _Span(start, b.div(width, count), attrs.sampling_ratio, count)
    count = b.min(b.max(b.ceil(width), b.const(0.0)), b.const(float(MOST_SAMPLES)))
    samples = b.cast(count, DType.I32)
    return _Span(start, b.div(width, count), b.place_of(samples), b.cast(samples, DType.F32))


@dataclass(frozen=True, slots=True)
class _Around:
    """Two pixels around a coordinate with their weights, and whether it lies within the map."""

    taps: list[tuple[Any, Any]]
    inside: Any


def _around(b: ElementBuilder, span: _Span, sample: Any, n: int) -> _Around:
    middle = b.add(b.value_of(sample, DType.F32), b.const(0.5))
    given = b.add(span.start, b.mul(middle, span.step))
    inside = b.bit_and(b.ge(given, b.const(-1.0)), b.le(given, b.const(float(n))))
    place = b.max(b.min(given, b.const(n - 1.0)), b.const(0.0))
    low = b.floor(place)
    first = b.cast(low, DType.I32)
    last = b.const(n - 1, DType.I32)
    second = b.min(b.add(first, b.const(1, DType.I32)), last)
    rest = b.sub(place, low)
    weights = (b.sub(b.const(1.0), rest), rest)
    places = (b.place_of(first), b.place_of(second))
    return _Around(list(zip(places, weights, strict=True)), inside)


# -- the reference ---------------------------------------------------------------------------------


def _bins(regions: Array, axis: int, attrs: RoiAlignAttrs) -> tuple[F64, F64, F64]:
    """Start and bin size in pixels, and samples of a bin, of each region along an axis."""
    scale, offset = float(np.float32(attrs.spatial_scale)), 0.5 if attrs.half_pixel else 0.0
    start = regions[:, 1 - axis].astype(np.float64) * scale - offset
    size = regions[:, 3 - axis].astype(np.float64) * scale - offset - start
    if not attrs.half_pixel:
        size = np.maximum(size, 1.0)
    width = size / attrs.output_size[axis]
    fixed = np.full(width.shape, float(attrs.sampling_ratio))
    adapted = np.clip(np.ceil(np.nan_to_num(width)), 0, MOST_SAMPLES)
    return start, width, fixed if attrs.sampling_ratio else adapted


def _align(x: F64, regions: Array, batch: Array, attrs: RoiAlignAttrs) -> F64:
    """The bins [R,C,h,w] of all regions."""
    images = legal(batch, x.shape[0])
    spans = [_bins(regions, axis, attrs) for axis in (0, 1)]
    y = np.zeros((len(regions), x.shape[1], *attrs.output_size))
    for region, image in enumerate(images):
        coordinates = []
        for axis, (starts, widths, counts) in enumerate(spans):
            count = int(counts[region])
            within = (np.arange(count) + 0.5) / max(count, 1)
            bins = np.arange(attrs.output_size[axis])
            coordinates.append(starts[region] + (bins[:, None] + within) * widths[region])
        if coordinates[0].size and coordinates[1].size:
            y[region] = _pool(x[image], coordinates[0], coordinates[1], attrs.mode)
    return y


def _pool(x: F64, ys: F64, xs: F64, mode: str) -> F64:
    """The bins of one region of a map [C,H,W], from the coordinates [h,samples] and [w,samples]."""
    (y_taps, y_inside), (x_taps, x_inside) = _weighted(ys, x.shape[1]), _weighted(xs, x.shape[2])
    parts = []
    for (rows, row_weights), (columns, column_weights) in itertools.product(y_taps, x_taps):
        pixels = x[:, rows[:, :, None, None], columns]
        parts.append(pixels * row_weights[:, :, None, None] * column_weights)
    inside = y_inside[:, :, None, None] & x_inside
    mixed = np.sum(parts, axis=0) if mode == "avg" else np.max(parts, axis=0)
    samples = np.where(inside, mixed, 0.0)  # [C, h, samples, w, samples]
    return np.asarray(samples.mean(axis=(2, 4)) if mode == "avg" else samples.max(axis=(2, 4)))


def _weighted(places: F64, n: int) -> tuple[list[tuple[Array, F64]], Array]:
    """The two pixels around each coordinate with their weights, and which lie within the map."""
    held = np.clip(np.nan_to_num(places), 0, n - 1)
    low = np.floor(held)
    rest = held - low
    second = np.minimum(low + 1, n - 1)
    taps = [(low.astype(np.int64), 1.0 - rest), (second.astype(np.int64), rest)]
    return taps, (places >= -1.0) & (places <= n)


def _moved(arrays: Sequence[Array], off: F64, attrs: RoiAlignAttrs) -> F64:
    """Twice the largest change of the result when the regions' corners move so far."""
    x, regions, batch = arrays
    here = _align(x, regions, batch, attrs)
    changes = [np.abs(_align(x, regions + signs * off, batch, attrs) - here) for signs in _SHIFTS]
    return np.asarray(2 * np.max(changes, axis=0))
