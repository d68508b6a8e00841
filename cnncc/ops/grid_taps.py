"""Which pixels a coordinate of a sampling grid takes along one axis, and what they count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnncc.ir.op import ElementBuilder
from cnncc.ir.types import DType

CUBIC = -0.75  # Keys' parameter, as ONNX and PyTorch have it
FAR = 2.0**30  # pixels; coordinates beyond it are all alike, and i32 holds their neighbours
# The pixels taken, counted from the one before the coordinate.
OFFSETS = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}


@dataclass(frozen=True, slots=True)
class GridSampleAttrs:
    """How pixels are found.

    Attributes:
        mode: `nearest` (halves to even), `linear`, or `cubic` (two axes only).
        padding: what lies beyond the edges: `zeros`, `border` (the pixel at the edge, for each tap
            of a cubic mixture, as PyTorch has it) or `reflection` (the picture mirrored, again and
            again).
        align_corners: -1 and 1 are the centres of the outermost pixels, else their outer edges.
    """

    mode: str = "linear"
    padding: str = "zeros"
    align_corners: bool = False


@dataclass(frozen=True, slots=True)
class Tap:
    """One pixel along one axis: its place, whether the picture has it, and what it counts."""

    place: Any
    inside: Any
    weight: Any


def axis_taps(
    b: ElementBuilder,
    index: Sequence[Any],
    axis: int,
    extents: tuple[int, ...],
    attrs: GridSampleAttrs,
) -> list[Tap]:
    """The taps along one axis of x; a grid's last coordinate belongs to the first axis."""
    n = extents[axis]
    given = b.load(1, [index[0], *index[2:], len(extents) - 1 - axis])
    half, one = b.const(0.5), b.const(1.0)
    if attrs.align_corners:
        pixel = b.mul(b.mul(b.add(given, one), half), b.const(float(n - 1)))
    else:
        pixel = b.mul(b.sub(b.mul(b.add(given, one), b.const(float(n))), one), half)
    return pixel_taps(b, pixel, n, attrs)


def pixel_taps(b: ElementBuilder, pixel: Any, n: int, attrs: GridSampleAttrs) -> list[Tap]:
    """The taps of a coordinate in pixels along an axis of n of them."""
    pixel = b.max(b.min(pixel, b.const(FAR)), b.const(-FAR))
    if attrs.mode == "nearest":
        pixel = b.round_even(pixel)
    if attrs.padding == "border" and attrs.mode != "cubic":
        pixel = b.max(b.min(pixel, b.const(float(n - 1))), b.const(0.0))
    elif attrs.padding == "reflection":
        pixel = _reflect(b, pixel, n, attrs.align_corners)
    low = b.floor(pixel)
    first = b.cast(low, DType.I32)
    weights = _weights(b, b.sub(pixel, low), attrs.mode)
    return [
        _tap(b, first, offset, weight, n, attrs)
        for offset, weight in zip(OFFSETS[attrs.mode], weights, strict=True)
    ]


def _tap(
    b: ElementBuilder, first: Any, offset: int, weight: Any, n: int, attrs: GridSampleAttrs
) -> Tap:
    """The pixel `offset` behind the first one; beyond the edge what the padding says."""

    def whole(value: int) -> Any:
        return b.const(value, DType.I32)

    place = b.add(first, whole(offset)) if offset else first
    clamped = b.max(b.min(place, whole(n - 1)), whole(0))
    if attrs.padding == "reflection":
        clamped = _reflect_whole(b, place, n, attrs.align_corners)
    return Tap(b.place_of(clamped), b.eq(place, clamped), weight)


def _reflect(b: ElementBuilder, pixel: Any, n: int, align_corners: bool) -> Any:
    """A coordinate folded into the picture, at pixel centres or at outer edges."""
    span, low = (n - 1.0, 0.0) if align_corners else (float(n), -0.5)
    if span == 0:
        return b.const(0.0)
    way = b.rem(b.abs(b.sub(pixel, b.const(low))), b.const(2 * span))
    back = b.sub(b.const(2 * span), way)
    return b.add(b.min(way, back), b.const(low))


def _reflect_whole(b: ElementBuilder, place: Any, n: int, align_corners: bool) -> Any:
    """The same of a whole place that is at most 2 beyond an edge."""

    def whole(value: int) -> Any:
        return b.const(value, DType.I32)

    period = 2 * (n - 1) if align_corners else 2 * n
    if period == 0:
        return whole(0)
    way = b.rem(b.add(place, whole(2 * period)), whole(period))
    back = b.sub(whole(period if align_corners else period - 1), way)
    return b.max(b.min(way, back), whole(0))


def _weights(b: ElementBuilder, rest: Any, mode: str) -> list[Any]:
    """What the taps count, for a coordinate so far behind the first pixel's centre."""
    one = b.const(1.0)
    if mode == "nearest":
        return [one]
    if mode == "linear":
        return [b.sub(one, rest), rest]
    before = b.sub(one, rest)
    return [
        _outer_weight(b, b.add(rest, one)),
        _inner_weight(b, rest),
        _inner_weight(b, before),
        _outer_weight(b, b.add(before, one)),
    ]


def _inner_weight(b: ElementBuilder, distance: Any) -> Any:
    """((a + 2)·d - (a + 3))·d² + 1, for distances up to 1."""
    inner = b.sub(b.mul(b.const(CUBIC + 2), distance), b.const(CUBIC + 3))
    return b.add(b.mul(b.mul(inner, distance), distance), b.const(1.0))


def _outer_weight(b: ElementBuilder, distance: Any) -> Any:
    """((a·d - 5a)·d + 8a)·d - 4a, for distances from 1 to 2."""
    inner = b.sub(b.mul(b.const(CUBIC), distance), b.const(5 * CUBIC))
    inner = b.add(b.mul(inner, distance), b.const(8 * CUBIC))
    return b.sub(b.mul(inner, distance), b.const(4 * CUBIC))
