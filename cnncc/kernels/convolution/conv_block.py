"""A convolution and the depthwise one behind it in one loop nest, a panel of channels at a time.

A depthwise convolution reads no channel but its own, so a panel of the first convolution's channels
is all that the same panel of the result needs. Its rows go through a ring in the cache (`ConvRing`)
and the map between the two, the largest of a network with inverted residuals, is never in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.types import TensorType, f32
from cnncc.kernels.convolution.conv_depthwise import depthwise_bias, depthwise_filters
from cnncc.kernels.convolution.conv_geometry import conv_geometry, conv_halo, refuses_layouts
from cnncc.kernels.convolution.conv_nest import ConvNest
from cnncc.kernels.convolution.conv_ring import ConvRing, RingShape, ring_shape, ring_tile
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
from cnncc.kernels.convolution.tile_choice import TileChoice
from cnncc.kernels.cost import STORE_CYCLES, bytes_per_cycle, predict
from cnncc.kernels.epilogue import Epilogue
from cnncc.kernels.layout import Layout
from cnncc.kernels.shares import each_panel
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    Site,
    scratch_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.fused import Step

_MOST_TWICE = 0.02  # share of the rows that two threads both compute, where they share rows
_RING_BYTES = 128 << 10  # of one vector of channels: it stays in L2


@dataclass(frozen=True, slots=True)
class _Depthwise:
    """The second convolution.

    Attributes:
        step: operator, attributes and operands.
        kernel: rows and columns of its filters.
        rows: rows of the result.
        columns: columns of the result.
    """

    step: Step
    kernel: tuple[int, int]
    rows: int
    columns: int

    @property
    def attrs(self) -> Conv2dAttrs:
        """Strides, pads, dilations, groups."""
        found: Conv2dAttrs = self.step.attrs
        return found

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns from the first tap to the last, both included."""
        rows, columns = (
            (k - 1) * d + 1 for k, d in zip(self.kernel, self.attrs.dilations, strict=True)
        )
        return rows, columns


class ConvBlock(Kernel):
    """One work item is one row of the result for one panel of channels.

    Neighbouring items of a panel share rows of the first convolution; only the first item of a call
    computes rows that another call has computed too.
    """

    name: ClassVar[str] = "conv_block"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    gives_means: ClassVar[bool] = True
    by_shape: ClassVar[bool] = True
    switch: ClassVar[str] = "conv-block"

    def refuses(self, site: Site) -> str:
        """Two convolutions, the second one depthwise, both with filters known at compile time."""
        if not site.last_conv or site.ends_in_pool:
            return "no depthwise convolution follows"
        if not isinstance(site.layouts[site.anchor.args[0]], Layout):
            return "needs blocked layouts"
        step = site.steps[site.last_conv]
        filters = site.types[step.args[1]].shape
        between = conv_type(site)
        if not (step.attrs.groups == between.shape[1] == filters[0]):
            return "the second convolution is not depthwise with one filter a channel"
        if any(s.op == "conv2d" for s in site.steps[1 : site.last_conv]):
            return "has more than two convolutions"
        if any(site.constants[a] is None for a in step.args[1:]):
            return "the second filter is computed at run time"
        x, w = site.anchor.args[:2]
        halo = conv_halo(site.anchor.attrs, site.types[x], site.types[w], between)
        reason = refuses_layouts(site, halo)
        if not reason and _ring(site).pixels * site.lanes * 4 > _RING_BYTES:
            reason = f"a ring of rows is larger than {_RING_BYTES} bytes"
        return reason

    def estimate(self, site: Site) -> Estimate:
        """The rows of both convolutions, the second one read from the ring's cache."""
        g, second, ring, choice = conv_geometry(site), _depthwise(site), _ring(site), _choice(site)
        blocks = site.blocked_out.blocks
        held = ring.pixels * choice.tile.vectors * site.lanes * 4
        taps = _taps(site, choice.tile.vectors)
        share = _kernel_rows(site).share
        behind = row_cycles(site.target, taps, second.columns, share)
        if held > site.target.l1_bytes:
            read = ring.width * site.lanes * 4 * second.kernel[0]
            behind = max(behind, read / bytes_per_cycle(site.target, held))
        rows = min(g.rows, ring.reach - ring.top)
        first = choice.cycles * rows * g.attrs.groups
        if held <= site.target.l1_bytes:  # stores so near hide between the multiply-adds
            first -= STORE_CYCLES * rows * ring.columns * blocks
        cycles = first + blocks * second.rows * behind
        macs = blocks * second.rows * second.columns * second.kernel[0] * second.kernel[1] * share
        figures = {"cycles_first": first, "ring_bytes": float(held)}
        filters = [site.anchor.args[1], second.step.args[1]]
        return predict(
            site,
            cycles,
            f"tile {choice.tile}, then runs of {_run(site, taps)} pixels",
            figures,
            fmas=first * choice.utilisation * site.target.machine.fmas + macs,
            weights=4.0 * sum(site.types[w].elems for w in filters),
        )

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        g, tile = conv_geometry(site), _choice(site).tile
        nest = ConvNest(site, tile.vectors, last=site.last_conv)
        b = Builder(self.name)
        args = nest.declare(b, *nest.panel_filters(), tile)
        second = _Second(site, b, tile.vectors)
        args += second.args
        shape = _ring(site)
        held, ring_arg = scratch_buffer(b, "ring", shape.pixels * tile.vectors * site.lanes)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        ring = ConvRing(b, nest, g, tile, shape, held, 0.0)
        ring.clear_edges()
        stride = second.conv.attrs.strides[0]
        rows, shared = second.conv.rows, shape.rows - stride
        by_rows = shared <= _MOST_TWICE * shape.reach
        with (
            each_panel(b, (lo, hi), nest.panels, rows, by_rows=by_rows) as (panel, first, end),
            b.loop(first, end, hint="row") as loop,
        ):
            row, start = loop.iv, b.imul(loop.iv, stride)
            new: Index = start
            if shared > 0:
                new = b.select(b.compare("eq", row, first), start, b.iadd(start, shared))
            ring.fill(panel, new, b.iadd(start, shape.rows))
            second.row(ring, panel, row)
        return [Launch(b.func, (*args, ring_arg), nest.panels * second.conv.rows)]


class _Second:
    """Parameters of the depthwise convolution, and the code of one row of it."""

    def __init__(self, site: Site, b: Builder, vectors: int) -> None:
        self.b, self.site, self.conv = b, site, _depthwise(site)
        self.taps, self._kernel = _taps(site, vectors), _kernel_rows(site)
        layout, step = site.blocked_out, self.conv.step
        weights, elems = depthwise_filters(site, step.args[1], layout)
        bias, slots = depthwise_bias(site, step, layout)
        self._weights = b.buffer("depthwise", extent=elems)
        self._bias = b.buffer("depthwise_bias", extent=slots)
        steps = Epilogue(site, first=site.last_conv + 1)
        self._ends = RunEnds(b, site, steps, _run(site, self.taps))
        self.args: list[Arg] = [weights, bias, *self._ends.args]

    def row(self, ring: ConvRing, panel: Index, row: Index) -> None:
        """Row `row` of one panel of the result, out of the ring."""
        b, attrs, tile, lanes = self.b, self.conv.attrs, ring.tile, self.site.lanes
        first, inside = b.imul(row, attrs.strides[0]), self._kernel.bounds(b, row)

        def compute(column: Index, run: int) -> None:
            across = b.imul(column, attrs.strides[1] * ring.pixel)
            for v in range(tile.vectors):
                under = b.iadd(across, v * lanes)

                def line(k: Value, under: Index = under) -> Index:
                    number = b.iadd(first, b.imul(k, attrs.dilations[0]))
                    return b.iadd(ring.row(number), under)

                block = b.iadd(b.imul(panel, tile.vectors), v)
                start = b.load(self._bias, b.imul(block, lanes), lanes)
                filters = (self._weights, b.imul(block, self.taps.elems))
                lines = (ring.buffer, line)
                acc = emit_run(b, self.taps, run, lines, filters, start, inside)
                self._ends.finish(acc, (block, row, column))

        blocks = [b.iadd(b.imul(panel, tile.vectors), v) for v in range(tile.vectors)]
        for block in blocks:
            self._ends.begin_row(block, row)
        for_each_run(b, self.conv.columns, _run(self.site, self.taps), compute)
        for block in blocks:
            self._ends.end_row(block, row)


def conv_type(site: Site) -> TensorType:
    """The type of the first convolution's result [1,C,h,w]."""
    g = conv_geometry(site)
    return f32(1, site.types[site.anchor.args[1]].shape[0], g.rows, g.columns)


def _depthwise(site: Site) -> _Depthwise:
    step = site.steps[site.last_conv]
    rows, columns = site.types[step.args[1]].shape[2:]
    return _Depthwise(step, (rows, columns), site.result.shape[2], site.result.shape[3])


def _ring(site: Site) -> RingShape:
    second = _depthwise(site)
    strides, pads = second.attrs.strides, second.attrs.pads
    return ring_shape(
        conv_geometry(site).columns, second.window, strides, pads, (second.rows, second.columns)
    )


def _choice(site: Site) -> TileChoice:
    """The register tile of the first convolution: few enough vectors that the ring fits in L1."""
    return ring_tile(site, conv_geometry(site), _ring(site), site.target.l1_bytes)


def _taps(site: Site, vectors: int) -> DepthwiseTaps:
    second, lanes = _depthwise(site), site.lanes
    attrs, piece = second.attrs, piece_length(site.target, second.kernel[1])
    return DepthwiseTaps(
        second.kernel, attrs.strides[1], attrs.dilations[1], vectors * lanes, lanes, piece
    )


def _kernel_rows(site: Site) -> KernelRows:
    second = _depthwise(site)
    attrs, rows = second.attrs, conv_geometry(site).rows
    return KernelRows(
        second.kernel[0], attrs.strides[0], attrs.dilations[0], attrs.pads[0], rows, second.rows
    )


def _run(site: Site, taps: DepthwiseTaps) -> int:
    return run_length(site.target, taps, site.result.shape[3])
