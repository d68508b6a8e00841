"""Resize and Upsample: each axis on its own, by a table of taps made here.

Coordinates are computed in f32, as engines do: a tie between two pixels is decided by how their
quotient is rounded, and models were trained and tested with that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.table import rule

F32 = np.float32
_MOST = 2**24  # beyond this f32 has no coordinate for every pixel
_COORDINATES = (
    *("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
    *("tf_half_pixel_for_nn", "tf_crop_and_resize"),
)
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How coordinates and taps are chosen, the same for all axes."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool
    antialias: bool
    extrapolation: float


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis that changes.

    `length` is its extent after, before it was rounded to `after` pixels.
    """

    axis: int
    before: int
    after: int
    scale: np.float32
    length: np.float32
    start: float = 0.0
    end: float = 1.0


@rule("Upsample", summary="enlargement by nearest or linear interpolation (before Resize)")
def upsample(call: Call) -> int:
    """Scales are attributes up to opset 8, an operand from 9 on; coordinates are plain."""
    mode = call.text("mode", "nearest", ("nearest", "linear", "bilinear"))
    scales: tuple[float, ...]
    if call.version < 7:
        scales = (1.0, 1.0, call.real("height_scale"), call.real("width_scale"))
    elif call.version < 9:
        scales = call.reals("scales") or ()
    else:
        scales = tuple(float(v) for v in call.constant(1, "scales").reshape(-1))
    plain = _Rule(mode.removeprefix("bi"), "asymmetric", "floor", -0.75, False, False, 0.0)
    return _resized(call, _scaled(call, scales, range(len(scales))), plain)


@rule(
    "Resize",
    summary="nearest, linear and cubic interpolation in all coordinate modes, antialiased or not",
)
def resize(call: Call) -> int:
    """Opset 10 has scales only; from 11 on sizes too, from 18 on axes and antialiasing."""
    mode = call.text("mode", "nearest", ("nearest", "linear", "cubic"))
    if call.version < 11:
        scales = tuple(float(v) for v in call.constant(1, "scales").reshape(-1))
        old = _Rule(mode, "asymmetric", "by_scale", -0.75, False, False, 0.0)
        return _resized(call, _scaled(call, scales, range(len(scales))), old)
    found = _Rule(
        mode,
        call.text("coordinate_transformation_mode", "half_pixel", _COORDINATES),
        call.text("nearest_mode", "round_prefer_floor", _NEAREST),
        call.real("cubic_coeff_a", -0.75),
        call.flag("exclude_outside"),
        call.flag("antialias"),
        call.real("extrapolation_value", 0.0),
    )
    rank = len(call.type(0).shape)
    given = call.integers("axes")
    axes = tuple(range(rank)) if given is None else tuple(call.axis(a, rank, "axes") for a in given)
    policy = call.text(
        "keep_aspect_ratio_policy", "stretch", ("stretch", "not_larger", "not_smaller")
    )
    scales_given = call.has(2) and call.constant(2, "scales").size > 0
    if scales_given:
        numbers = tuple(float(v) for v in call.constant(2, "scales").reshape(-1))
        changed = _scaled(call, numbers, axes)
    else:
        changed = _sized(call, call.whole(3, "sizes"), axes, policy)
    if found.coordinates == "tf_crop_and_resize":
        changed = _cropped(call, changed, axes)
    return _resized(call, changed, found)


def _scaled(call: Call, scales: Sequence[float], axes: Sequence[int]) -> list[_Axis]:
    shape = call.type(0).shape
    fits = len(scales) == len(axes) and all(a < len(shape) for a in axes)
    if not fits or any(not 0 < s < _MOST for s in scales):
        raise Refused(f"`scales` is {list(scales)} for {call.type(0)}")
    made = []
    for axis, scale in zip(axes, scales, strict=True):
        length = F32(shape[axis]) * F32(scale)
        made.append(_Axis(axis, shape[axis], int(np.floor(length)), F32(scale), length))
    return made


def _sized(call: Call, sizes: Sequence[int], axes: Sequence[int], policy: str) -> list[_Axis]:
    shape = call.type(0).shape
    if len(sizes) != len(axes) or min(sizes, default=1) < 1:
        raise Refused(f"`sizes` is {list(sizes)} for {call.type(0)}")
    ratios = [F32(n) / F32(shape[a]) for n, a in zip(sizes, axes, strict=True)]
    if policy == "stretch":
        return [
            _Axis(a, shape[a], n, r, F32(n)) for a, n, r in zip(axes, sizes, ratios, strict=True)
        ]
    one = min(ratios) if policy == "not_larger" else max(ratios)
    lengths = [one * F32(shape[a]) for a in axes]
    return [
        _Axis(a, shape[a], int(np.floor(length + F32(0.5))), one, length)
        for a, length in zip(axes, lengths, strict=True)
    ]


def _cropped(call: Call, changed: Sequence[_Axis], axes: Sequence[int]) -> list[_Axis]:
    """The part of each axis that `roi` names; the result's extent follows from it and the scale."""
    roi = call.constant(1, "roi").reshape(-1)
    if roi.size != 2 * len(axes):
        raise Refused(f"`roi` has {roi.size} numbers for {len(axes)} axes")
    made = []
    sized = not (call.has(2) and call.constant(2, "scales").size)
    for number, item in enumerate(changed):
        start, end = float(roi[number]), float(roi[number + len(axes)])
        after = item.after
        if not sized:
            after = int(np.floor(item.before * (end - start) * float(item.scale)))
        made.append(replace(item, after=after, start=start, end=end))
    return made


def _resized(call: Call, changed: Sequence[_Axis], how: _Rule) -> int:
    x = call.operand(0)
    dtype = call.type_of(x).dtype
    if dtype is DType.F64 or (dtype.is_integer and dtype.size_bytes > 2):
        raise Refused(
            f"interpolation of {dtype}", "f32, f16 and integers of 8 or 16 bits are taken"
        )
    if any(not 1 <= item.after <= _MOST for item in changed):
        raise Refused(f"extents of {[item.after for item in changed]}")
    x = call.cast(x, DType.F32)
    outside = None
    for item in changed:
        places = _coordinates(item, how)
        cropped = how.coordinates == "tf_crop_and_resize"
        beyond = (places < 0) | (places > item.before - 1) if cropped else None
        if beyond is not None and beyond.any():
            outside = _spread(beyond, item, outside, len(call.type_of(x).shape))
        if item.before == item.after and (places == np.arange(item.after)).all():
            continue
        indices, weights = _taps(places, item, how)
        operands = [x, call.array(indices, DType.I64), call.array(weights, DType.F32)]
        x = call.add("resample", operands, lookup("resample").Attrs(item.axis))
    if outside is not None:
        other = call.array(how.extrapolation, DType.F32)
        x = call.add("where", [call.array(outside), other, x])
    if dtype.is_integer:
        if how.mode != "nearest":
            limits = np.iinfo(dtype.numpy.str)
            x = call.add("clip", [x], lookup("clip").Attrs(float(limits.min), float(limits.max)))
        return call.cast(x, dtype)
    return x


def _spread(
    beyond: NDArray[np.bool_], item: _Axis, mask: NDArray[np.bool_] | None, rank: int
) -> NDArray[np.bool_]:
    """Which pixels of the result have a coordinate outside, along this axis or one before."""
    shape = [1] * rank
    shape[item.axis] = item.after
    here = beyond.reshape(shape)
    return here if mask is None else mask | here


def _coordinates(item: _Axis, how: _Rule) -> NDArray[np.float32]:
    """The place in the original of each pixel of the result, in pixels, as f32."""
    x = np.arange(item.after, dtype=F32)
    half, scale = F32(0.5), item.scale
    match how.coordinates:
        case "asymmetric":
            return x / scale
        case "align_corners":
            if item.after == 1:
                return np.zeros(1, F32)
            # ONNX's own tests count the part of a pixel that scales leave over.
            return x * F32(item.before - 1) / (item.length - 1)
        case "pytorch_half_pixel":
            return (x + half) / scale - half if item.after > 1 else np.zeros(1, F32)
        case "tf_half_pixel_for_nn":
            return (x + half) / scale
        case "half_pixel_symmetric":
            shift = F32(item.before) / 2 * (1 - F32(item.after) / item.length)
            return (shift + (x + half) / scale - half).astype(F32)
        case "tf_crop_and_resize":
            last = item.before - 1
            if item.after == 1:
                return np.full(1, 0.5 * (item.start + item.end) * last, F32)
            step = (item.end - item.start) * last / (item.after - 1)
            return (item.start * last + x.astype(np.float64) * step).astype(F32)
        case _:
            return (x + half) / scale - half


def _taps(
    places: NDArray[np.float32], item: _Axis, how: _Rule
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel of the result the pixels that count, and how much."""
    if how.mode == "nearest":
        rounding = how.nearest
        if rounding == "by_scale":  # opset 10, whose text leaves it open, as engines have it
            rounding = "ceil" if item.scale < 1 else "floor"
        indices = np.clip(_nearest(places, rounding), 0, item.before - 1)[:, None]
        return indices, np.ones(indices.shape, F32)
    scale = min(float(item.scale), 1.0) if how.antialias else 1.0
    reach = 1 if how.mode == "linear" else 2
    kernel = _linear if how.mode == "linear" else _cubic(how.cubic)
    left = int(np.floor(-reach / scale)) + 1  # the first tap, seen from the pixel to the left
    taps = np.arange(left, 1 - left + 1)
    x = places.astype(np.float64)
    base = np.ceil(x) - 1  # the pixel to the left, even of a whole number
    ratio = x - base
    weights = kernel(np.abs(taps - ratio[:, None]) * scale)
    if how.antialias:
        weights = weights / weights.sum(axis=1, keepdims=True)
    indices = (base[:, None] + taps).astype(np.int64)
    if how.exclude_outside:
        weights = np.where((indices < 0) | (indices >= item.before), 0.0, weights)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, item.before - 1), weights.astype(F32)


def _nearest(places: NDArray[np.float32], mode: str) -> NDArray[np.int64]:
    half = F32(0.5)
    match mode:
        case "round_prefer_floor":
            rounded = np.ceil(places - half)
        case "round_prefer_ceil":
            rounded = np.floor(places + half)
        case "floor":
            rounded = np.floor(places)
        case _:
            rounded = np.ceil(places)
    return np.asarray(rounded, np.int64)


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - distance, 0, 1)


def _cubic(a: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Keys' kernel (IEEE Trans. ASSP 29, 1981, equation 4)."""

    def weight(d: NDArray[np.float64]) -> NDArray[np.float64]:
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return weight
