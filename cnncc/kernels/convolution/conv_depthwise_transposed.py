"""Depthwise transposed convolution: every channel has a filter of its own, so lanes never mix.

A row of the result sees every stride-th row of the filter, and so do its columns: the pixels a
stride apart are an ordinary depthwise convolution with every stride-th column of the filter
(`conv_transposed`). Runs of such pixels are computed as `conv_depthwise` computes neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_depthwise import pack_depthwise
from cnncc.kernels.convolution.conv_transposed import transposed_halo
from cnncc.kernels.convolution.depthwise_runs import (
    DepthwiseTaps,
    RunEnds,
    emit_run,
    for_each_run,
    piece_length,
    row_cycles,
    run_length,
)
from cnncc.kernels.cost import STORE_CYCLES, predict
from cnncc.kernels.epilogue import Epilogue
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    per_channel,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dTransposeAttrs


class ConvDepthwiseTransposed(Kernel):
    """One work item is one output row of one channel block."""

    name: ClassVar[str] = "conv_depthwise_transposed"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d_transpose"})

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        channels = site.types[x].shape[1]
        if site.types[w].shape[1] != 1 or not lanes_stay(site.anchor.attrs, channels):
            return "not depthwise with one filter a channel, or dilated"
        if site.ends_in_pool or site.last_conv:
            return "computes one convolution and no pool"
        if site.constants[w] is None:
            return "the filter is computed at run time"
        source, out = site.layouts[x], site.out
        if not isinstance(source, Layout) or not isinstance(out, Layout):
            return "needs blocked layouts"
        if source.block != site.lanes or source.segments != out.segments:
            return f"needs blocks of {site.lanes} channels and equal segments"
        wanted = transposed_halo(site.anchor.attrs, site.types[x], site.types[w], site.result)
        if any(have < want for have, want in zip(source.halo, wanted, strict=True)):
            return f"needs a halo of {wanted}, has {source.halo}"
        return ""

    def estimate(self, site: Site) -> Estimate:
        shape = _shape(site)
        share = shape.kernel[0] / shape.strides[0] / shape.most[0]
        row, macs = 0.0, 0.0
        for run in shape.columns:
            taps = _taps(site, shape.most[0], run.taps)
            row += run.phases * row_cycles(site.target, taps, run.count, share)
            macs += run.phases * run.count * run.taps * shape.most[0] * share
        row += STORE_CYCLES * site.result.shape[3]
        rows = site.blocked_out.blocks * site.result.shape[2]
        words = f"{shape.strides[0]}x{shape.strides[1]} phases of rows"
        return predict(site, rows * row, words, {}, fmas=rows * macs)

    def lower(self, site: Site) -> list[Launch]:
        shape, result = _shape(site), site.blocked_out
        source = site.blocked(site.anchor.args[0])
        filters = np.asarray(site.constant(site.anchor.args[1]), np.float32)
        weights = _pack(filters, shape, result)
        bias = np.zeros(result.channels, np.float32)
        if len(site.anchor.args) == 3:
            bias = np.asarray(site.constant(site.anchor.args[2]), np.float32)
        slots = per_channel(bias, result)
        b = Builder(self.name)
        x = b.buffer("x", extent=source.elems)
        w = b.buffer("weights", extent=weights.size)
        bias_param = b.buffer("bias", extent=slots.size)
        longest = max(_run(site, _taps(site, 1, c.taps), c) for c in shape.columns)
        ends = RunEnds(b, site, Epilogue(site), longest, step=shape.strides[1])
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            block, row = b.idiv(items.iv, result.height), b.irem(items.iv, result.height)
            line = b.iadd(row, shape.pads[0])
            first, phase = b.idiv(line, shape.strides[0]), b.irem(line, shape.strides[0])
            # Every stride-th of the filter's rows, from that of the phase on.
            left = b.isub(shape.kernel[0] + shape.strides[0] - 1, phase)
            rows = b.idiv(left, shape.strides[0])
            start = b.load(bias_param, b.imul(block, site.lanes), site.lanes)
            filters_of_row = b.iadd(b.imul(block, shape.strides[0]), phase)

            def columns_of(columns: _Columns, number: Index) -> None:
                across = b.iadd(number, shape.pads[1])
                under = b.idiv(across, shape.strides[1])
                origin = b.isub(under, columns.taps - 1)
                kind = b.iadd(
                    b.imul(filters_of_row, shape.strides[1]), b.irem(across, shape.strides[1])
                )
                filters = (w, b.imul(kind, shape.cell * site.lanes))
                taps = _taps(site, shape.most[0], columns.taps)

                def compute(column: Index, run: int) -> None:
                    def at(k: Value) -> Index:
                        # No phase reaches beyond the halo: the bounds' proof needs to be told.
                        y = b.imax(b.isub(first, k), -source.halo[0])
                        y = b.imin(y, source.height + source.halo[2] - 1)
                        return source.index(b, block, y, b.iadd(origin, column))

                    acc = [start] * run
                    if columns.taps:
                        acc = emit_run(b, taps, run, (x, at), filters, start, (0, rows))
                    x_of = b.iadd(b.imul(column, shape.strides[1]), number)
                    ends.finish(acc, (block, row, x_of))

                for_each_run(b, columns.count, _run(site, taps, columns), compute)

            for columns in shape.columns:
                with b.loop(columns.first, columns.first + columns.phases, hint="phase") as phases:
                    columns_of(columns, phases.iv)
        args: tuple[Arg, ...] = (
            OperandArg(site.anchor.args[0]),
            PackedArg(weights),
            PackedArg(slots),
            *ends.args,
        )
        return [Launch(b.func, args, result.blocks * result.height)]


def lanes_stay(attrs: Conv2dTransposeAttrs, channels: int) -> bool:
    """Whether a transposed convolution of filters [C,1,kh,kw] suits this kernel."""
    return attrs.groups == channels and tuple(attrs.dilations) == (1, 1)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Phases of columns that lie side by side and have equally many pixels and taps.

    Attributes:
        first: the first pixel of the first phase.
        phases: how many there are.
        count: pixels of each.
        taps: columns of the filter that reach them.
    """

    first: int
    phases: int
    count: int
    taps: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """What decides about the loops.

    Attributes:
        kernel: rows and columns of the filter.
        strides: down and across.
        pads: above and left.
        columns: the phases of columns.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    columns: tuple[_Columns, ...]

    @property
    def most(self) -> tuple[int, int]:
        """The most rows and columns of the filter that a phase has."""
        down, across = (-(-k // s) for k, s in zip(self.kernel, self.strides, strict=True))
        return down, across

    @property
    def cell(self) -> int:
        """Taps that there is room for in each phase."""
        return self.most[0] * self.most[1]


def _shape(site: Site) -> _Shape:
    attrs = site.anchor.attrs
    rows, columns = site.types[site.anchor.args[1]].shape[2:]
    stride, width = attrs.strides[1], site.result.shape[3]

    def of_phase(first: int) -> tuple[int, int]:
        phase = (first + attrs.pads[1]) % stride
        return -(-(width - first) // stride), -(-max(0, columns - phase) // stride)

    found = []
    for (count, taps), firsts in groupby(range(min(stride, width)), key=of_phase):
        members = list(firsts)
        found.append(_Columns(members[0], len(members), count, taps))
    pads = attrs.pads[0], attrs.pads[1]
    return _Shape((rows, columns), (attrs.strides[0], stride), pads, tuple(found))


def _taps(site: Site, rows: int, columns: int) -> DepthwiseTaps:
    columns = max(1, columns)
    piece = piece_length(site.target, columns)
    return DepthwiseTaps((rows, columns), 1, 1, site.lanes, site.lanes, piece)


def _run(site: Site, taps: DepthwiseTaps, columns: _Columns) -> int:
    return run_length(site.target, taps, columns.count)


def _pack(w: NDArray[np.float32], shape: _Shape, out: Layout) -> NDArray[np.float32]:
    """Filters [C,1,kh,kw] as `[block][row phase][column phase][taps][lane]`.

    The taps of a phase are rows of those columns that it has, the last column first.
    """
    blocks = pack_depthwise(w, out)  # [block][kh][kw][lane]
    down, across = shape.strides
    packed = np.zeros((len(blocks), down, across, shape.cell, out.block), np.float32)
    for row in range(down):
        for column in range(across):
            taps = blocks[:, row::down, column::across][:, :, ::-1]
            count = taps.shape[1] * taps.shape[2]
            packed[:, row, column, :count] = taps.reshape(len(blocks), count, out.block)
    return packed
