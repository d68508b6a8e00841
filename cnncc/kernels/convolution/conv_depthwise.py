"""Depthwise convolution: every channel has a filter of its own, so lanes never mix.

A tile is a run of output pixels of one row. For each kernel row the input pixels under the run are
loaded once and handed to all the taps that need them, so a 3x3 filter costs little more than one
load a pixel and row; the kernel row's weights stay in registers meanwhile. A row with too many of
them for that is taken a piece at a time. Rows that lie in the padding are left out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_geometry import ConvGeometry, conv_geometry, conv_halo
from cnncc.kernels.convolution.depthwise_runs import (
    DepthwiseTaps,
    RunEnds,
    emit_run,
    for_each_run,
    piece_length,
    row_cycles,
    run_length,
)
from cnncc.kernels.convolution.kernel_rows import KernelRows
from cnncc.kernels.cost import predict
from cnncc.kernels.epilogue import Epilogue
from cnncc.kernels.layout import Layout
from cnncc.kernels.shares import each_panel
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    bias_arg,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index
from cnncc.ops.fused import Step


class ConvDepthwise(Kernel):
    """One work item is one output row of one channel block."""

    name: ClassVar[str] = "conv_depthwise"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True
    gives_means: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        channels, filters = site.types[x].shape[1], site.types[w].shape[0]
        if site.anchor.attrs.groups != channels or not shares_lanes(site.lanes, channels, filters):
            return "not depthwise with so few filters a channel that lanes can share them"
        if site.ends_in_pool or site.last_conv:
            return "computes one convolution and no pool"
        if site.constants[w] is None:
            return "the filter is computed at run time"
        source, out = site.layouts[x], site.out
        if not isinstance(source, Layout) or not isinstance(out, Layout):
            return "needs blocked layouts"
        alike = source.segments == out.segments
        if channels != filters:
            alike = len(source.segments) == len(out.segments) == 1
        if source.block != site.lanes or not alike:
            return f"needs blocks of {site.lanes} channels and equal segments"
        g = conv_geometry(site)
        types = (site.types[x], site.types[w], site.result)
        wanted = conv_halo(g.attrs, *types)
        if any(have < want for have, want in zip(source.halo, wanted, strict=True)):
            return f"needs a halo of {wanted}, has {source.halo}"
        return ""

    def estimate(self, site: Site) -> Estimate:
        g = conv_geometry(site)
        taps = depthwise_taps(g, site.lanes)
        rows = site.blocked_out.blocks * g.rows
        share = kernel_rows(g, site).share
        cycles = rows * row_cycles(site.target, taps, g.columns, share)
        words = f"runs of {run_length(site.target, taps, g.columns)} pixels"
        macs = rows * g.columns * g.kernel[0] * g.kernel[1] * share
        return predict(site, cycles, words, {}, fmas=macs)

    def lower(self, site: Site) -> list[Launch]:
        g = conv_geometry(site)
        source, result = site.blocked(site.anchor.args[0]), site.blocked_out
        weights, elems = depthwise_filters(site, site.anchor.args[1], result)
        bias, slots = depthwise_bias(site, site.anchor, result)
        b = Builder(self.name)
        x = b.buffer("x", extent=source.elems)
        w = b.buffer("weights", extent=elems)
        bias_param = b.buffer("bias", extent=slots)
        taps = depthwise_taps(g, source.block)
        ends = RunEnds(b, site, Epilogue(site), run_length(site.target, taps, g.columns))
        lo, hi = b.index_param("lo"), b.index_param("hi")
        kernel = kernel_rows(g, site)
        times = result.channels // source.channels
        step = g.attrs.dilations[0] * source.row_pitch
        with (
            each_panel(b, (lo, hi), result.blocks, g.rows) as (block, first, end),
            b.loop(first, end, hint="row") as rows,
        ):
            row = rows.iv

            def row_of(taps: DepthwiseTaps) -> None:
                def compute(column: Index, run: int) -> None:
                    origin = source.index(
                        b,
                        b.idiv(block, times),
                        b.isub(b.imul(row, g.attrs.strides[0]), g.attrs.pads[0]),
                        b.isub(b.imul(column, g.attrs.strides[1]), g.attrs.pads[1]),
                    )
                    start = b.load(bias_param, b.imul(block, site.lanes), site.lanes)
                    lines = (x, lambda k: b.iadd(origin, b.imul(k, step)))
                    filters = (w, b.imul(block, taps.elems))
                    inside = kernel.bounds(b, row)
                    acc = emit_run(b, taps, run, lines, filters, start, inside)
                    ends.finish(acc, (block, row, column))

                for_each_run(b, g.columns, run_length(site.target, taps, g.columns), compute)

            ends.begin_row(block, row)
            if times == 1:
                row_of(taps)
            else:
                for number, order in enumerate(_orders(site.lanes, times)):
                    with b.when(b.compare("eq", b.irem(block, times), number)):
                        row_of(replace(taps, order=order))
            ends.end_row(block, row)
        args: tuple[Arg, ...] = (
            OperandArg(site.anchor.args[0]),
            weights,
            bias,
            *ends.args,
        )
        return [Launch(b.func, args, result.blocks * g.rows)]


def shares_lanes(lanes: int, channels: int, filters: int) -> bool:
    """Whether a block of channels becomes whole blocks of results, with so many filters in all."""
    times, rest = divmod(filters, channels)
    return rest == 0 and times > 0 and lanes % times == 0


def _orders(lanes: int, times: int) -> list[tuple[int, ...]]:
    """The lanes that each block of results sees of those of the input, `times` times each."""
    each = lanes // times
    return [tuple(first + k // times for k in range(lanes)) for first in range(0, lanes, each)]


def depthwise_taps(g: ConvGeometry, pixel: int) -> DepthwiseTaps:
    """The taps of a convolution whose pixels lie `pixel` elements apart."""
    piece = piece_length(g.site.target, g.kernel[1])
    return DepthwiseTaps(g.kernel, g.attrs.strides[1], g.attrs.dilations[1], pixel, g.block, piece)


def kernel_rows(g: ConvGeometry, site: Site) -> KernelRows:
    """The rows of the filter over the map that the convolution reads."""
    rows = site.types[site.anchor.args[0]].shape[2]
    attrs = g.attrs
    return KernelRows(
        g.kernel[0], attrs.strides[0], attrs.dilations[0], attrs.pads[0], rows, g.rows
    )


def depthwise_filters(site: Site, operand: int, out: Layout) -> tuple[Arg, int]:
    """The filters of a depthwise convolution, and how many elements they have."""

    def pack(site: Site) -> NDArray[np.float32]:
        return pack_depthwise(np.asarray(site.constant(operand), np.float32), out)

    elems = out.blocks * out.block * math.prod(site.types[operand].shape[2:])
    return site.packed(elems, pack), elems


def depthwise_bias(site: Site, step: Step, out: Layout) -> tuple[Arg, int]:
    """One number for each slot, zeros where the convolution has no bias, and how many there are."""
    slots = out.blocks * out.block
    if len(step.args) == 3:
        return bias_arg(site, step.args[2], out), slots
    return PackedArg(np.zeros(slots, np.float32)), slots


def pack_depthwise(w: NDArray[np.float32], out: Layout) -> NDArray[np.float32]:
    """Filters [C,1,kh,kw] as `[block][kh][kw][lane]`."""
    lanes = np.zeros((out.blocks * out.block, *w.shape[2:]), np.float32)
    lanes[out.channel_slots] = w[:, 0]
    blocks = lanes.reshape(out.blocks, out.block, *w.shape[2:])
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))
