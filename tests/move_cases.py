"""Cases of the operators that move, index, resample and select: operands of any rank and type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnncc.ir.types import DType, f32
from cnncc.ops.conv import Conv2d, Conv2dAttrs
from cnncc.ops.deform_conv import DeformConvAttrs
from cnncc.ops.grid_taps import GridSampleAttrs
from cnncc.ops.indexing import GatherAttrs, GatherNdAttrs, ReverseSequenceAttrs
from cnncc.ops.padding import PadAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.ops.resample import ResampleAttrs
from cnncc.ops.roi_align import RoiAlignAttrs
from cnncc.ops.scatter import ScatterElementsAttrs, ScatterNdAttrs
from cnncc.ops.selection import TopKAttrs
from cnncc.ops.shape import ConcatAttrs, ReshapeAttrs, TransposeAttrs
from cnncc.ops.slicing import ExpandAttrs, SliceAttrs
from cnncc.ops.suppression import NonMaxSuppressionAttrs
from tests.op_makers import Choices

Rng = np.random.Generator
General = Callable[[Choices, Rng], tuple[list[np.ndarray], Any]]
"""Makes the operands and the attributes of one application."""

EXTENTS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
RANKS = (0, 1, 1, 2, 2, 3, 3, 4, 5)
NUMBERS = tuple(d for d in DType if d not in (DType.F16, DType.BOOL))
TYPES = (DType.F32, DType.F32, *(d for d in DType if d is not DType.F16))
MAX_ELEMS = 4000


def random_shape(ch: Choices, least: int = 0, most: int = 5) -> tuple[int, ...]:
    """A shape of a rank within bounds, thinned to a size that references run quickly on."""
    shape = [ch.pick(EXTENTS) for _ in range(min(max(ch.pick(RANKS), least), most))]
    while np.prod(shape, dtype=int) > MAX_ELEMS:
        shape[int(np.argmax(shape))] //= 2
    return tuple(shape)


def random_values(rng: Rng, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Values over much of the type's range, with NaN, infinities and zeros of both signs."""
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy.name)
        low, high = max(limits.min, -(2**40)), min(limits.max, 2**40)
        wide = rng.integers(low, high, shape, endpoint=True)
        return np.where(rng.random(shape) < 0.5, wide % 5, wide).astype(dtype.numpy)
    values = np.asarray(rng.normal(size=shape), dtype.numpy)
    flat = values.reshape(-1)
    for _ in range(min(flat.size // 4, 4)):
        flat[int(rng.integers(flat.size))] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])
    return flat.reshape(shape)


def _any(ch: Choices, rng: Rng, least: int = 0, most: int = 5) -> np.ndarray:
    return random_values(rng, ch.pick(TYPES), random_shape(ch, least, most))


def _indices(ch: Choices, rng: Rng, extent: int, shape: tuple[int, ...]) -> np.ndarray:
    """Legal ones, from either end, and now and then one that is out of range."""
    wild = ch.pick((0, 0, 2))
    made = rng.integers(-extent - wild, extent + wild, shape)
    return np.asarray(made, ch.pick((np.int64, np.int32)))


def _slice(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng)
    starts, steps, sizes = [], [], []
    for n in x.shape:
        step = ch.pick((1, 1, 1, -1, 2, -2, 3))
        start = ch.whole(0, n - 1)
        room = n - start if step > 0 else start + 1
        starts.append(start)
        steps.append(step)
        sizes.append(ch.whole(1, -(-room // abs(step))))
    return [x], SliceAttrs(tuple(starts), tuple(steps), tuple(sizes))


def _expand(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = random_values(rng, ch.pick(TYPES), random_shape(ch, 0, 3))
    x = np.array(x[tuple(slice(ch.pick((None, 1))) for _ in x.shape)])
    wide = [n if n > 1 else ch.pick((1, 2, 3, 9)) for n in x.shape]
    front = [ch.pick((1, 2, 3)) for _ in range(ch.pick((0, 0, 1, 2)))]
    return [x], ExpandAttrs((*front, *wide))


def _pad(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = random_values(rng, ch.pick(TYPES), random_shape(ch, 0, 4))
    sides = [tuple(ch.pick((0, 0, 1, 2, 5)) for _ in x.shape) for _ in range(2)]
    value: float | int = 1
    if x.dtype.kind == "f":
        value = ch.pick((0.0, -2.5, -np.inf))
    return [x], PadAttrs(ch.pick(("constant", "edge", "reflect", "wrap")), *sides, value)


def _reshape(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng)
    first = ch.pick([d for d in range(1, x.size + 1) if x.size % d == 0])
    options = [(-1,), (first, -1), (x.size // first, 1, first), (1, *x.shape)]
    return [x], ReshapeAttrs(ch.pick([*options, ()]) if x.size == 1 else ch.pick(options))


def _transpose(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng)
    return [x], TransposeAttrs(tuple(int(p) for p in rng.permutation(x.ndim)))


def _concat(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 1, 5)
    axis = ch.whole(0, x.ndim - 1)
    others = []
    for _ in range(ch.whole(0, 3)):
        shape = (*x.shape[:axis], ch.pick((1, 2, 5, 8)), *x.shape[axis + 1 :])
        others.append(random_values(rng, DType.of(x.dtype), shape))
    return [x, *others], ConcatAttrs(axis)


def _gather(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 1, 4)
    axis = ch.whole(0, x.ndim - 1)
    shape = tuple(ch.pick((1, 2, 3, 5)) for _ in range(ch.pick((0, 1, 1, 2))))
    return [x, _indices(ch, rng, x.shape[axis], shape)], GatherAttrs(axis)


def _beside(ch: Choices, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape of indices for an axis."""
    wide = (n if ch.pick((True, True, False)) else ch.whole(1, n) for n in shape)
    return tuple(ch.pick((1, 2, 4, 9)) if k == axis else n for k, n in enumerate(wide))


def _gather_elements(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 1, 4)
    axis = ch.whole(0, x.ndim - 1)
    indices = _indices(ch, rng, x.shape[axis], _beside(ch, x.shape, axis))
    return [x, indices], GatherAttrs(axis)


def _coordinates(
    ch: Choices, rng: Rng, extents: tuple[int, ...], outer: tuple[int, ...]
) -> np.ndarray:
    columns = [_indices(ch, rng, n, outer) for n in extents]
    return np.stack(columns, axis=-1).astype(columns[0].dtype)


def _gather_nd(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 1, 4)
    shared = ch.whole(0, x.ndim - 1)
    counted = ch.whole(1, x.ndim - shared)
    outer = (*x.shape[:shared], *(ch.pick((1, 2, 4)) for _ in range(ch.whole(0, 2))))
    indices = _coordinates(ch, rng, x.shape[shared : shared + counted], outer)
    return [x, indices], GatherNdAttrs(shared)


def _reverse_sequence(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 2, 4)
    batch, time = (int(a) for a in rng.permutation(x.ndim)[:2])
    lengths = rng.integers(-1, x.shape[time] + 2, x.shape[batch])
    return [x, lengths.astype(ch.pick((np.int64, np.int32)))], ReverseSequenceAttrs(batch, time)


def _resample(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = random_values(rng, DType.F32, random_shape(ch, 1, 4))
    axis, taps = ch.whole(0, x.ndim - 1), (ch.pick((1, 2, 5, 9)), ch.pick((1, 2, 4, 6)))
    indices = rng.integers(-1, x.shape[axis] + 1, taps)
    weights = np.where(rng.random(taps) < 0.3, 0.0, rng.normal(size=taps)).astype(np.float32)
    return [x, indices, weights], ResampleAttrs(axis)


def _reduction(ch: Choices, rng: Rng, x: np.ndarray, shape: tuple[int, ...]) -> tuple[Any, str]:
    """Updates and what they do; the sizes of repeated products stay in range."""
    dtype = DType.of(x.dtype)
    kinds = ("none", "none", "add", "mul", "max", "min")
    return random_values(rng, dtype, shape), ch.pick(
        kinds if dtype is not DType.BOOL else kinds[:1]
    )


def _scatter_elements(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 1, 4)
    axis = ch.whole(0, x.ndim - 1)
    indices = _indices(ch, rng, x.shape[axis], _beside(ch, x.shape, axis))
    updates, reduction = _reduction(ch, rng, x, indices.shape)
    return [x, indices, updates], ScatterElementsAttrs(axis, reduction)


def _scatter_nd(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = _any(ch, rng, 1, 4)
    counted = ch.whole(1, x.ndim)
    outer = tuple(ch.pick((1, 2, 4)) for _ in range(ch.whole(0, 2)))
    indices = _coordinates(ch, rng, x.shape[:counted], outer)
    updates, reduction = _reduction(ch, rng, x, outer + x.shape[counted:])
    return [x, indices, updates], ScatterNdAttrs(reduction)


def _topk(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = random_values(rng, ch.pick(NUMBERS), random_shape(ch, 1, 4))
    axis = ch.whole(0, x.ndim - 1)
    if ch.pick((True, False)):  # many equal ones
        x = np.where(np.isnan(x), x, np.sign(x)).astype(x.dtype)
    return [x], TopKAttrs(ch.whole(1, x.shape[axis]), axis, ch.pick((True, False)))


def _non_max_suppression(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    images, classes, count = ch.pick((1, 2)), ch.pick((1, 2, 3)), ch.pick((1, 5, 17, 40))
    center_point = ch.pick((True, False))
    corners = rng.random((images, count, 2, 2)) * [[4, 4], [4, 4]]
    boxes = corners.reshape(images, count, 4)
    if not center_point:
        boxes[..., 2:] = boxes[..., :2] + boxes[..., 2:] * rng.choice([-0.5, 0.5, 0.25])
    scores = np.round(rng.random((images, classes, count)) * 10) / 10
    attrs = NonMaxSuppressionAttrs(
        max_output=ch.pick((1, 3, 100)),
        iou_threshold=ch.pick((0.0, 0.3, 0.5, 1.0)),
        score_threshold=ch.pick((None, 0.25, 0.75)),
        center_point=center_point,
    )
    return [boxes.astype(np.float32), scores.astype(np.float32)], attrs


def _count_rows(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    rows = rng.integers(0, 9, (ch.pick((1, 2, 9, 40)), 3))
    rows[ch.whole(0, len(rows)) :] = -1
    return [rows], None


def _grid_sample(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    mode = ch.pick(("nearest", "linear", "cubic"))
    axes = ch.pick((2, 2, 1) if mode == "cubic" else (2, 2, 2, 1, 3))
    batch, channels = ch.pick((1, 2)), ch.pick((1, 3))
    x = rng.normal(size=(batch, channels, *(ch.pick((1, 2, 3, 5, 8)) for _ in range(axes))))
    places = tuple(ch.pick((1, 2, 4)) for _ in range(axes))
    grid = rng.normal(size=(batch, *places, axes)) * ch.pick((0.5, 1.0, 4.0))
    if ch.pick((False, True)):
        grid = np.round(grid * 4) / 4  # centres, edges and halves
    attrs = GridSampleAttrs(
        mode, ch.pick(("zeros", "border", "reflection")), ch.pick((False, True))
    )
    return [x.astype(np.float32), grid.astype(np.float32)], attrs


def _roi_align(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    images, channels, count = ch.pick((1, 2)), ch.pick((1, 3)), ch.pick((1, 3))
    x = rng.normal(size=(images, channels, ch.pick((1, 4, 9)), ch.pick((1, 5, 8))))
    corner = rng.uniform(-3, 9, (count, 2))
    regions = np.concatenate([corner, corner + rng.uniform(-0.5, 8, (count, 2))], axis=1)
    attrs = RoiAlignAttrs(
        output_size=(ch.pick((1, 2, 3)), ch.pick((1, 2, 4))),
        mode=ch.pick(("avg", "max")),
        sampling_ratio=ch.pick((0, 1, 2, 3)),
        spatial_scale=ch.pick((1.0, 0.5, 0.3)),
        half_pixel=ch.pick((False, True)),
    )
    batch = rng.integers(-1, images + 1, count)
    return [x.astype(np.float32), regions.astype(np.float32), batch], attrs


def _max_pool_places(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    extents = tuple(ch.pick((1, 4, 5, 9, 17)) for _ in range(2))
    window = tuple(min(n, ch.pick((1, 2, 3))) for n in extents)
    x = rng.normal(size=(ch.pick((1, 2)), ch.pick((1, 3)), *extents)).astype(np.float32)
    if ch.pick((False, True)):
        x = np.round(x)  # several equal maxima
    flat = x.reshape(-1)
    for _ in range(min(flat.size // 4, 4)):
        flat[int(rng.integers(flat.size))] = rng.choice([np.nan, np.inf, -np.inf])
    attrs = MaxPool2dAttrs(
        window,
        (ch.pick((1, 2, 3)), ch.pick((1, 2))),
        tuple(ch.pick((0, k // 2)) for k in (*window, *window)),
        ch.pick((False, True)),
        tuple(
            ch.pick((1, 2)) if 2 * (k - 1) < n else 1 for k, n in zip(window, extents, strict=True)
        ),
    )
    return [x], attrs


def _deform_conv(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    groups, moved = ch.pick((1, 2)), ch.pick((1, 1, 2))
    channels, filters = ch.pick((2, 4)), groups * ch.pick((1, 2))
    batch, extents = ch.pick((1, 2)), [ch.pick((3, 5, 6)) for _ in range(2)]
    taps = [ch.pick((1, 2, 3)) for _ in range(2)]
    attrs = DeformConvAttrs(
        strides=(ch.pick((1, 2)), 1),
        pads=(ch.pick((0, 1)), 0, 1, ch.pick((0, 2))),
        dilations=(1, ch.pick((1, 2)) if extents[1] >= 5 else 1),
        groups=groups,
        offset_groups=moved,
    )
    x, w = f32(batch, channels, *extents), f32(filters, channels // groups, *taps)
    out = Conv2d.infer([x, w], Conv2dAttrs(attrs.strides, attrs.pads, attrs.dilations, groups))
    places = moved * taps[0] * taps[1]
    shapes = [x.shape, w.shape, (batch, 2 * places, *out.shape[2:])]
    if ch.pick((True, False)):
        shapes.append((batch, places, *out.shape[2:]))
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    if ch.pick((True, False)):
        arrays[2] = np.round(arrays[2])
    return arrays, attrs


MOVES: dict[str, General] = {
    "slice": _slice,
    "expand": _expand,
    "pad": _pad,
    "gather": _gather,
    "gather_elements": _gather_elements,
    "gather_nd": _gather_nd,
    "reverse_sequence": _reverse_sequence,
    "resample": _resample,
    "grid_sample": _grid_sample,
    "roi_align": _roi_align,
    "deform_conv": _deform_conv,
    "max_pool_places": _max_pool_places,
    "scatter_elements": _scatter_elements,
    "scatter_nd": _scatter_nd,
    "topk_values": _topk,
    "topk_indices": _topk,
    "non_max_suppression": _non_max_suppression,
    "count_rows": _count_rows,
}

GENERAL_MOVES: dict[str, General] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "concat": _concat,
}
"""Operators that have cases on feature maps too, on any rank and type."""
