"""Depthwise convolution: every channel has a filter of its own, so lanes never mix.

A tile is a run of output pixels of one row. For each kernel row the input pixels under the run are
loaded once and handed to all the taps that need them, so a 3x3 filter costs little more than one
load a pixel and row; the kernel row's weights stay in registers meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.conv_nest import ConvGeometry, conv_geometry, conv_halo, out_buffer
from cnncc.kernels.conv_tile import fma_per_cycle
from cnncc.kernels.cost import predict
from cnncc.kernels.epilogue import Epilogue, LaneMask
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
from cnncc.targets.target import Target


@dataclass(frozen=True, slots=True)
class _Operands:
    """Parameters of the function and the layouts behind them."""

    x: Value
    weights: Value
    bias: Value
    out: Value
    source: Layout
    result: Layout


class ConvDepthwise(Kernel):
    """One work item is one output row of one channel block."""

    name: ClassVar[str] = "conv_depthwise"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        groups = site.anchor.attrs.groups
        if groups != site.types[x].shape[1] or site.types[w].shape[0] != groups:
            return "not depthwise with one filter a channel"
        if site.ends_in_pool:
            return "does not pool"
        if site.constants[w] is None:
            return "the filter is computed at run time"
        source, out = site.layouts[x], site.out
        if not isinstance(source, Layout) or not isinstance(out, Layout):
            return "needs blocked layouts"
        if source.block != site.lanes or source.segments != out.segments:
            return f"needs blocks of {site.lanes} channels and equal segments"
        g = conv_geometry(site)
        types = (site.types[x], site.types[w], site.result)
        wanted = conv_halo(g.attrs, *types)
        if any(have < want for have, want in zip(source.halo, wanted, strict=True)):
            return f"needs a halo of {wanted}, has {source.halo}"
        return ""

    def estimate(self, site: Site) -> Estimate:
        g = conv_geometry(site)
        run = run_length(site.target, g)
        out = site.blocked_out
        macs = out.blocks * g.rows * g.columns * g.kernel[0] * g.kernel[1]
        loaded = (run - 1) * g.attrs.strides[1] + (g.kernel[1] - 1) * g.attrs.dilations[1] + 1
        loads = macs / g.kernel[1] * min(loaded / run, g.kernel[1]) / site.target.machine.loads
        cycles = max(macs / fma_per_cycle(site.target), loads) + out.blocks * g.rows * 20
        return predict(site, cycles, f"runs of {run} pixels", {}, fmas=macs)

    def lower(self, site: Site) -> list[Launch]:
        g = conv_geometry(site)
        source, result = site.blocked(site.anchor.args[0]), site.blocked_out
        epilogue = Epilogue(site)
        mask = LaneMask(site, needed=not epilogue.keeps_zero)
        filters = np.asarray(site.constant(site.anchor.args[1]), np.float32)
        weights = pack_depthwise(filters, result)
        bias = per_channel(
            np.asarray(site.constant(site.anchor.args[2]), np.float32)
            if len(site.anchor.args) == 3
            else np.zeros(result.channels, np.float32),
            result,
        )
        b = Builder(self.name)
        x = b.buffer("x", extent=source.elems)
        w = b.buffer("weights", extent=weights.size)
        bias_param = b.buffer("bias", extent=bias.size)
        epilogue.declare(b)
        mask.declare(b)
        out, out_arg = out_buffer(b, site)
        operands = _Operands(x, w, bias_param, out, source, result)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        run = run_length(site.target, g)
        with b.loop(lo, hi, hint="item") as items:
            block, row = b.idiv(items.iv, g.rows), b.irem(items.iv, g.rows)
            full, last = divmod(g.columns, run)
            if full:
                with b.loop(0, full, hint="run") as runs:
                    first = b.imul(runs.iv, run)
                    _emit_run(b, site, g, operands, epilogue, mask, (block, row, first), run)
            if last:
                at = (block, row, full * run)
                _emit_run(b, site, g, operands, epilogue, mask, at, last)
        args: tuple[Arg, ...] = (
            OperandArg(site.anchor.args[0]),
            PackedArg(weights),
            PackedArg(bias),
            *epilogue.args,
            *mask.args,
            out_arg,
        )
        return [Launch(b.func, args, result.blocks * g.rows)]


def run_length(target: Target, g: ConvGeometry) -> int:
    """Pixels in a run: what the registers hold beside a kernel row, in runs of like length."""
    room = max(1, target.vector_registers - g.kernel[1] - 2)
    most = min(room, 8 if target.vector_registers <= 16 else 14)
    runs = -(-g.columns // most)
    return -(-g.columns // runs)


def pack_depthwise(w: NDArray[np.float32], out: Layout) -> NDArray[np.float32]:
    """Filters [C,1,kh,kw] as `[block][kh][kw][lane]`."""
    lanes = np.zeros((out.blocks * out.block, *w.shape[2:]), np.float32)
    lanes[out.channel_slots] = w[:, 0]
    blocks = lanes.reshape(out.blocks, out.block, *w.shape[2:])
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))


def _emit_run(
    b: Builder,
    site: Site,
    g: ConvGeometry,
    operands: _Operands,
    epilogue: Epilogue,
    mask: LaneMask,
    at: tuple[Index, Index, Index],
    run: int,
) -> None:
    """`run` pixels of one row from column `at[2]` on."""
    block, row, column = at
    lanes = site.lanes
    (kernel_rows, kernel_columns), attrs = g.kernel, g.attrs
    origin = operands.source.index(
        b,
        block,
        b.isub(b.imul(row, attrs.strides[0]), attrs.pads[0]),
        b.isub(b.imul(column, attrs.strides[1]), attrs.pads[1]),
    )
    filters = b.imul(block, kernel_rows * kernel_columns * lanes)
    start = b.load(operands.bias, b.imul(block, lanes), lanes)
    with b.loop(0, kernel_rows, carry=[start] * run, hint="k") as rows:
        weights = b.iadd(filters, b.imul(rows.iv, kernel_columns * lanes))
        taps = [
            b.load(operands.weights, weights, lanes, offset=k * lanes)
            for k in range(kernel_columns)
        ]
        line = b.iadd(origin, b.imul(rows.iv, attrs.dilations[0] * operands.source.row_pitch))
        acc = rows.carried
        for place, uses in sorted(_uses(g, run).items()):
            pixel = b.load(operands.x, line, lanes, offset=place * operands.source.block)
            for k, t in uses:
                acc[t] = b.fma(pixel, taps[k], acc[t])
        rows.yields(acc)
    epilogue.open(b, block, row, column)
    base = operands.result.index(b, block, row, column)
    for t, value in enumerate(rows.results):
        finished = mask.apply(b, epilogue.apply(b, value, columns=t), block)
        b.store(operands.out, base, finished, offset=operands.result.offset(0, 0, t))


def _uses(g: ConvGeometry, run: int) -> dict[int, list[tuple[int, int]]]:
    """For each input pixel of a line, the (tap, output pixel) pairs that read it."""
    uses: dict[int, list[tuple[int, int]]] = {}
    for t in range(run):
        for k in range(g.kernel[1]):
            place = t * g.attrs.strides[1] + k * g.attrs.dilations[1]
            uses.setdefault(place, []).append((k, t))
    return uses
