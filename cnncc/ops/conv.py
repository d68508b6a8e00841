"""Convolutions: plain, grouped, dilated and transposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.linear import linear_errors
from cnncc.ops.window import conv_extent, span


@dataclass(frozen=True, slots=True)
class Conv2dAttrs:
    """Geometry of a convolution.

    Attributes:
        strides: step of the window over H and W.
        pads: zeros around the input: top, left, bottom, right.
        dilations: distance of neighbouring taps over H and W.
        groups: number of channel groups that do not see each other.
    """

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1


def _check_geometry(op: type[Op], types: Sequence[TensorType], attrs: Conv2dAttrs) -> None:
    check.arity(op, types)
    check.floats(op, types)
    check.rank(op, types[0], 4)
    check.rank(op, types[1], 4, "w")
    check.integers(op, "strides", attrs.strides, 2, 1)
    check.integers(op, "pads", attrs.pads, 4, 0)
    check.integers(op, "dilations", attrs.dilations, 2, 1)
    check.integer(op, "groups", attrs.groups, 1)


class Conv2d(Op):
    """Convolution (cross-correlation) of a feature map with a filter bank, plus bias.

    y[n,o,i,j] = b[o] + Σ x[n, g·C/G + c, i·sh + p·dh - top, j·sw + q·dw - left] · w[o,c,p,q], where
    g is the group of filter o and pixels outside the map are 0.
    x [N,C,H,W], w [O,C/G,kh,kw], b [O].
    """

    name = "conv2d"
    Attrs = Conv2dAttrs
    arity = (2, 3)
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.WINDOW})
    operand_names = ("x", "w", "b")
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Conv2dAttrs) -> TensorType:
        """[N,O,oh,ow] with o = floor((n + before + after - ek) / s) + 1."""
        _check_geometry(Conv2d, types, attrs)
        batch, channels, height, width = types[0].shape
        filters, depth, kh, kw = types[1].shape
        check.divides(Conv2d, attrs.groups, channels, "input channels")
        check.divides(Conv2d, attrs.groups, filters, "filters")
        if depth * attrs.groups != channels:
            raise TypeInferenceError(
                f"`conv2d` wants filters over {channels // attrs.groups} channels"
                f" ({channels} channels, groups={attrs.groups}), got w {types[1]}"
            )
        if len(types) == 3:
            check.vector(Conv2d, types[2], filters, "b")
        (sh, sw), (dh, dw) = attrs.strides, attrs.dilations
        top, left, bottom, right = attrs.pads
        out_h = conv_extent(Conv2d, "the height", height, kh, sh, dh, top, bottom)
        out_w = conv_extent(Conv2d, "the width", width, kw, sw, dw, left, right)
        return check.result(Conv2d, DType.F32, (batch, filters, out_h, out_w))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Conv2dAttrs) -> Array:
        """The definition: for each tap, a matrix product over the channels of each group."""
        w = arrays[1].astype(np.float64)
        (filters, depth, kh, kw), groups = w.shape, attrs.groups
        (sh, sw), (dh, dw), (top, left, bottom, right) = attrs.strides, attrs.dilations, attrs.pads
        x = np.pad(arrays[0].astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
        batch, _, height, width = x.shape
        out_h, out_w = (height - span(kh, dh)) // sh + 1, (width - span(kw, dw)) // sw + 1
        y = np.zeros((batch, groups, filters // groups, out_h * out_w))
        for p, q in np.ndindex(kh, kw):
            rows = slice(p * dh, p * dh + (out_h - 1) * sh + 1, sh)
            columns = slice(q * dw, q * dw + (out_w - 1) * sw + 1, sw)
            seen = x[:, :, rows, columns].reshape(batch, groups, depth, -1)
            y += w[:, :, p, q].reshape(groups, -1, depth) @ seen
        y = y.reshape(batch, filters, out_h, out_w)
        return y + arrays[2].astype(np.float64)[:, None, None] if len(arrays) == 3 else y

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Conv2dAttrs,
    ) -> Any:
        """The definition: one sum over channels of the group and taps that lie inside."""
        (_, _, height, width), (filters, depth, kh, kw) = types[0].shape, types[1].shape
        n, o, y, x = index
        first = b.times(b.quotient(o, filters // attrs.groups), depth)
        top, left = attrs.pads[:2]
        border = any(attrs.pads)

        def channel(c: Any, totals: list[Any]) -> Sequence[Any]:
            def row(p: Any, above: list[Any]) -> Sequence[Any]:
                at = b.plus(b.times(y, attrs.strides[0]), b.times(p, attrs.dilations[0]), -top)

                def tap(q: Any, carried: list[Any]) -> Sequence[Any]:
                    to = b.plus(b.times(x, attrs.strides[1]), b.times(q, attrs.dilations[1]), -left)
                    place = (n, b.plus(first, c), at, to)
                    if border:
                        inside = b.bit_and(b.within(at, 0, height), b.within(to, 0, width))
                        value = b.load_if(inside, 0, place, b.const(0.0))
                    else:
                        value = b.load(0, place)
                    return [b.fma(value, b.load(1, (o, c, p, q)), carried[0])]

                return b.loop(kw, above, tap)

            return b.loop(kh, totals, row)

        (total,) = b.loop(depth, [b.const(0.0)], channel)
        return b.add(total, b.load(2, (o,))) if len(types) == 3 else total

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Conv2dAttrs) -> Cost:
        """C/G·kh·kw multiply-adds a result, and an addition for the bias."""
        macs = result.elems * types[1].elems // types[1].shape[0]
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        return Cost(macs, result.elems if len(types) == 3 else 0, moved)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Conv2dAttrs) -> int:
        """C/G·kh·kw products and the bias."""
        return types[1].elems // types[1].shape[0] + 1

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Conv2dAttrs) -> F64:
        """The errors of x through |w|, and those of w and b."""
        return linear_errors(cls, arrays, errors, attrs)


@dataclass(frozen=True, slots=True)
class Conv2dTransposeAttrs(Conv2dAttrs):
    """Geometry of a transposed convolution: that of `conv2d`, seen from its result.

    Attributes:
        strides: step of the window over the result.
        pads: rows and columns cut off the result: top, left, bottom, right.
        dilations: distance of neighbouring taps.
        groups: number of channel groups.
        output_pads: rows and columns added at bottom and right, less than stride or dilation.
    """

    output_pads: tuple[int, int] = (0, 0)


class Conv2dTranspose(Op):
    """Transposed convolution (deconvolution): the adjoint of `conv2d`, plus bias.

    Every pixel x[n,c,i,j] adds x·w[c,o,p,q] to y[n,o, i·sh + p·dh - top, j·sw + q·dw - left].
    x [N,C,H,W], w [C,O/G,kh,kw], b [O].
    """

    name = "conv2d_transpose"
    Attrs = Conv2dTransposeAttrs
    arity = (2, 3)
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT, Trait.WINDOW})
    operand_names = ("x", "w", "b")
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Conv2dTransposeAttrs) -> TensorType:
        """[N,O,oh,ow] with o = (n-1)·s - before - after + ek + output_pad."""
        op = Conv2dTranspose
        _check_geometry(op, types, attrs)
        check.integers(op, "output_pads", attrs.output_pads, 2, 0)
        batch, channels = types[0].shape[:2]
        check.divides(op, attrs.groups, channels, "input channels")
        if types[1].shape[0] != channels:
            raise TypeInferenceError(
                f"`{op.name}` wants w [C,O/G,kh,kw] with C = {channels}, got {types[1]}"
            )
        filters = types[1].shape[1] * attrs.groups
        if len(types) == 3:
            check.vector(op, types[2], filters, "b")
        for extra, stride, dilation in zip(
            attrs.output_pads, attrs.strides, attrs.dilations, strict=True
        ):
            if extra >= max(stride, dilation):
                raise TypeInferenceError(
                    f"`{op.name}` wants output_pads below the stride or the dilation,"
                    f" got {extra} with stride {stride} and dilation {dilation}"
                )
        height, width = _transposed_extents(types[0].shape, types[1].shape, attrs)
        if height < 1 or width < 1:
            raise TypeInferenceError(
                f"`{op.name}`: pads={attrs.pads} cut everything off; the result would be"
                f" {height}x{width}"
            )
        return check.result(op, DType.F32, (batch, filters, height, width))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Conv2dTransposeAttrs) -> Array:
        """The definition: every tap adds a strided copy of the input to an uncut result."""
        x, w = arrays[0].astype(np.float64), arrays[1].astype(np.float64)
        (batch, channels, height, width), (_, depth, kh, kw) = x.shape, w.shape
        (sh, sw), (dh, dw), groups = attrs.strides, attrs.dilations, attrs.groups
        top, left = attrs.pads[:2]
        out_h, out_w = _transposed_extents(x.shape, w.shape, attrs)
        full_h = max((height - 1) * sh + span(kh, dh), top + out_h)
        full_w = max((width - 1) * sw + span(kw, dw), left + out_w)
        full = np.zeros((batch, groups, depth, full_h, full_w))
        grouped_x = x.reshape(batch, groups, channels // groups, height * width)
        grouped_w = w.reshape(groups, channels // groups, depth, kh, kw).swapaxes(1, 2)
        for p, q in np.ndindex(kh, kw):
            rows = slice(p * dh, p * dh + (height - 1) * sh + 1, sh)
            columns = slice(q * dw, q * dw + (width - 1) * sw + 1, sw)
            part = grouped_w[:, :, :, p, q] @ grouped_x
            full[:, :, :, rows, columns] += part.reshape(batch, groups, depth, height, width)
        y = full.reshape(batch, groups * depth, full_h, full_w)
        y = y[:, :, top : top + out_h, left : left + out_w]
        return y + arrays[2].astype(np.float64)[:, None, None] if len(arrays) == 3 else y

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Conv2dTransposeAttrs,
    ) -> Any:
        """The definition, gathered: the taps whose stride ends at this pixel."""
        (_, channels, height, width), (_, depth, kh, kw) = types[0].shape, types[1].shape
        n, o, y, x = index
        shared = channels // attrs.groups
        first = b.times(b.quotient(o, depth), shared)
        filter_ = b.remainder(o, depth)

        def source(place: Any, tap: Any, axis: int, extent: int) -> tuple[Any, Any]:
            """The pixel that a tap spreads to this place, and whether there is one."""
            stride = attrs.strides[axis]
            off = b.plus(place, attrs.pads[axis], b.times(tap, -attrs.dilations[axis]))
            near = b.clamp(off, 0, (extent - 1) * stride)
            exact = b.within(b.remainder(near, stride), 0, 1)
            inside = b.within(off, 0, (extent - 1) * stride + 1)
            return b.quotient(near, stride), b.bit_and(inside, exact)

        def channel(c: Any, totals: list[Any]) -> Sequence[Any]:
            def row(p: Any, above: list[Any]) -> Sequence[Any]:
                at, on_row = source(y, p, 0, height)

                def tap(q: Any, carried: list[Any]) -> Sequence[Any]:
                    to, on_column = source(x, q, 1, width)
                    place = (n, b.plus(first, c), at, to)
                    value = b.load_if(b.bit_and(on_row, on_column), 0, place, b.const(0.0))
                    weight = b.load(1, (b.plus(first, c), filter_, p, q))
                    return [b.fma(value, weight, carried[0])]

                return b.loop(kw, above, tap)

            return b.loop(kh, totals, row)

        (total,) = b.loop(shared, [b.const(0.0)], channel)
        return b.add(total, b.load(2, (o,))) if len(types) == 3 else total

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Conv2dAttrs) -> Cost:
        """O/G·kh·kw multiply-adds a pixel of the input, and an addition for the bias."""
        macs = types[0].elems * types[1].elems // types[1].shape[0]
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        return Cost(macs, result.elems if len(types) == 3 else 0, moved)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Conv2dAttrs) -> int:
        """At most C/G·kh·kw products, and the bias."""
        channels, _, kh, kw = types[1].shape
        return channels // attrs.groups * kh * kw + 1

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Conv2dAttrs) -> F64:
        """The errors of x through |w|, and those of w and b."""
        return linear_errors(cls, arrays, errors, attrs)


def _transposed_extents(
    x: Sequence[int], w: Sequence[int], attrs: Conv2dTransposeAttrs
) -> tuple[int, int]:
    height, width = (
        (x[2 + i] - 1) * attrs.strides[i]
        - attrs.pads[i]
        - attrs.pads[2 + i]
        + span(w[2 + i], attrs.dilations[i])
        + attrs.output_pads[i]
        for i in (0, 1)
    )
    return height, width
