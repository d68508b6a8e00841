"""Convolution whose taps are moved by an operand (deformable convolution, versions 1 and 2)."""

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
from cnncc.ops.grid_taps import GridSampleAttrs, Tap, pixel_taps
from cnncc.ops.sampling import sample
from cnncc.ops.window import conv_extent

LINEAR = GridSampleAttrs("linear", "zeros")


@dataclass(frozen=True, slots=True)
class DeformConvAttrs:
    """Geometry of a deformable convolution.

    Attributes:
        strides: step of the window over H and W.
        pads: zeros around the input: top, left, bottom, right.
        dilations: distance of neighbouring taps over H and W, before they are moved.
        groups: number of channel groups that do not see each other.
        offset_groups: number of channel groups whose taps move alike.
    """

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    offset_groups: int = 1


class DeformConv(Op):
    """A convolution, tap k of offset group g moved by offset[n, 2·(g·K + k) + (0, 1), i, j] pixels.

    Moved taps mix the four pixels around them; pixels outside the map are 0. `mask` multiplies each
    tap. x [N,C,H,W], w [O,C/G,kh,kw], offset [N,2·D·kh·kw,oh,ow], mask [N,D·kh·kw,oh,ow].
    """

    name = "deform_conv"
    Attrs = DeformConvAttrs
    arity = (3, 4)
    operand_names = ("x", "w", "offset", "mask")
    traits = frozenset({Trait.ELEMENT})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: DeformConvAttrs) -> TensorType:
        """[N,O,oh,ow], as of a convolution."""
        op = DeformConv
        check.arity(op, types)
        check.floats(op, types)
        for found, word in zip(types, op.operand_names, strict=False):
            check.rank(op, found, 4, word)
        (batch, channels, *extents), (filters, depth, *taps) = types[0].shape, types[1].shape
        strides = check.integers(op, "strides", attrs.strides, 2, 1)
        pads = check.integers(op, "pads", attrs.pads, 4, 0)
        dilations = check.integers(op, "dilations", attrs.dilations, 2, 1)
        groups = check.integer(op, "groups", attrs.groups, 1)
        moved = check.integer(op, "offset_groups", attrs.offset_groups, 1)
        for count, size, word in (
            (groups, channels, "input channels"),
            (groups, filters, "filters"),
            (moved, channels, "input channels"),
        ):
            check.divides(op, count, size, word)
        if depth * groups != channels:
            raise TypeInferenceError(
                f"`{op.name}` wants filters over {channels // groups} channels, got w {types[1]}"
            )
        out = tuple(
            conv_extent(op, word, n, k, s, d, pads[axis], pads[axis + 2])
            for axis, (word, n, k, s, d) in enumerate(
                zip(("the height", "the width"), extents, taps, strides, dilations, strict=True)
            )
        )
        for found, word, each in zip(types[2:], ("offset", "mask"), (2, 1), strict=False):
            wanted = (batch, each * moved * math.prod(taps), *out)
            if found.shape != wanted:
                raise TypeInferenceError(
                    f"`{op.name}` wants `{word}` of shape {list(wanted)}, got {found}"
                )
        return check.result(op, DType.F32, (batch, filters, *out))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: DeformConvAttrs) -> Array:
        """The definition, in float64."""
        x, w, offset, *mask = (a.astype(np.float64) for a in arrays)
        return _contract(_weighed(_columns(x, w, offset, attrs), mask), w, attrs)

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: DeformConvAttrs,
    ) -> Any:
        """A loop over taps, in it one over channels; taps that move alike are placed once."""
        channels, (filters, depth, kh, kw) = types[0].shape[1], types[1].shape
        first = b.times(b.quotient(index[1], filters // attrs.groups), depth)
        alike = channels // attrs.offset_groups

        def tap(k: Any, sums: list[Any]) -> list[Any]:
            window = (b.quotient(k, kw), b.remainder(k, kw))

            def moved(group: Any) -> tuple[list[tuple[Tap, Tap]], Any]:
                at = b.plus(b.times(group, kh * kw), k)
                return _moved_tap(b, types, index, attrs, window, at)

            placed = moved(0) if attrs.offset_groups == 1 else None

            def channel(c: Any, inner: list[Any]) -> list[Any]:
                at = b.plus(first, c)
                pixels, factor = placed or moved(b.quotient(at, alike))
                mixed = b.const(0.0)
                for y, x in pixels:
                    place = [index[0], at, y.place, x.place]
                    pixel = b.load_if(b.bit_and(y.inside, x.inside), 0, place, b.const(0.0))
                    mixed = b.fma(b.mul(y.weight, x.weight), pixel, mixed)
                if factor is not None:
                    mixed = b.mul(mixed, factor)
                return [b.fma(b.load(1, [index[1], c, *window]), mixed, inner[0])]

            return b.loop(depth, sums, channel)

        return b.loop(kh * kw, [b.const(0.0)], tap)[0]

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: DeformConvAttrs) -> Cost:
        """Five multiply-adds for each product of a convolution: four mix the pixel."""
        products = result.elems * math.prod(types[1].shape[1:])
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        return Cost(5 * products, 0, moved)

    @classmethod
    @np.errstate(all="ignore")
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: DeformConvAttrs) -> F64:
        """What rounded coordinates change, and the bound of the sum."""
        x, w, offset, *mask = (a.astype(np.float64) for a in arrays)
        off = 4 * UNIT_ROUNDOFF * (np.abs(offset) + max(x.shape[2:]) + sum(attrs.pads))
        wrong = _weighed(_changes(x, w, offset, off, attrs), mask)
        sizes = _weighed(_columns(np.abs(x), w, offset, attrs), mask)
        growth = UNIT_ROUNDOFF * (16.0 + 2.0 * math.sqrt(4 * math.prod(w.shape[1:])))
        return _contract(np.abs(wrong) + growth * np.abs(sizes), np.abs(w), attrs) + 2.0**-120

    @classmethod
    @np.errstate(all="ignore")
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: DeformConvAttrs
    ) -> F64:
        """Errors of pixels, taps and masks count with what they multiply; offsets move pixels."""
        x, w, offset, *mask = (a.astype(np.float64) for a in arrays)
        wrong = _changes(x, w, offset, errors[2], attrs)
        spread = [_columns(errors[0], w, offset + s * errors[2], attrs) for s in _signs(offset)]
        wrong = wrong + np.max(spread, axis=0)
        seen = np.abs(_columns(x, w, offset, attrs))
        if mask:
            largest = np.abs(mask[0]) + errors[3]
            wrong = _weighed(wrong, [largest]) + _weighed(seen, [errors[3]])
        seen = np.abs(_weighed(seen, mask))
        return _contract(wrong, np.abs(w) + errors[1], attrs) + _contract(seen, errors[1], attrs)


def _moved_tap(
    b: ElementBuilder,
    types: Sequence[TensorType],
    index: Sequence[Any],
    attrs: DeformConvAttrs,
    window: tuple[Any, Any],
    at: Any,
) -> tuple[list[tuple[Tap, Tap]], Any]:
    """The four pixels around tap `at` of the offsets, and its mask, if there is one."""
    per_axis = []
    for axis in (0, 1):
        steps = b.times(index[2 + axis], attrs.strides[axis])
        place = b.plus(steps, b.times(window[axis], attrs.dilations[axis]))
        still = b.sub(b.value_of(place, DType.F32), b.const(float(attrs.pads[axis])))
        offset = b.load(2, [index[0], b.plus(b.times(at, 2), axis), *index[2:]])
        extent = types[0].shape[2 + axis]
        per_axis.append(pixel_taps(b, b.add(still, offset), extent, LINEAR))
    mask = b.load(3, [index[0], at, *index[2:]]) if len(types) == 4 else None
    return list(itertools.product(per_axis[0], per_axis[1])), mask


def _columns(x: F64, w: F64, offset: F64, attrs: DeformConvAttrs) -> F64:
    """The moved pixel of each channel and tap: [N,D,C/D,K,oh,ow]."""
    (batch, _, out_h, out_w), (kh, kw), moved = offset.shape, w.shape[2:], attrs.offset_groups
    offsets = offset.reshape(batch, moved, kh, kw, 2, out_h, out_w)
    rows = np.arange(out_h)[:, None] * attrs.strides[0] - attrs.pads[0]
    columns = np.arange(out_w) * attrs.strides[1] - attrs.pads[1]
    maps = x.reshape(batch, moved, -1, *x.shape[2:])
    made = np.zeros((*maps.shape[:3], kh * kw, out_h, out_w))
    for group, p, q in np.ndindex(moved, kh, kw):
        ys = rows + p * attrs.dilations[0] + offsets[:, group, p, q, 0]
        xs = columns + q * attrs.dilations[1] + offsets[:, group, p, q, 1]
        made[:, group, :, p * kw + q] = sample(maps[:, group], np.stack([xs, ys], -1), LINEAR)
    return made


def _weighed(columns: F64, mask: list[F64]) -> F64:
    """Moved pixels times their mask, if there is one."""
    if not mask:
        return columns
    batch, moved, _, taps, *out = columns.shape
    return np.asarray(columns * mask[0].reshape(batch, moved, 1, taps, *out))


def _contract(columns: F64, w: F64, attrs: DeformConvAttrs) -> F64:
    """The sum over the channels of each group and taps: [N,O,oh,ow]."""
    batch, groups = len(columns), attrs.groups
    out = columns.shape[4:]
    seen = columns.reshape(batch, groups, -1, math.prod(out))
    return (w.reshape(groups, len(w) // groups, -1) @ seen).reshape(batch, len(w), *out)


def _signs(offset: F64) -> list[F64]:
    """Which way the two coordinates of every tap move, as factors of the offsets."""
    taps = offset.shape[1] // 2
    pairs = itertools.product((-1.0, 1.0), repeat=2)
    return [np.tile(pair, taps)[:, None, None] for pair in pairs]


def _changes(x: F64, w: F64, offset: F64, off: F64, attrs: DeformConvAttrs) -> F64:
    """Twice the largest change of the moved pixels when offsets are off so far, either way."""
    here = _columns(x, w, offset, attrs)
    changes = [
        np.abs(_columns(x, w, offset + signs * off, attrs) - here) for signs in _signs(offset)
    ]
    return np.asarray(2 * np.max(changes, axis=0))
