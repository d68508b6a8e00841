"""Convolutions of few filters over planes: a vector holds neighbouring pixels of one channel.

Where input and result lie in planes, a weight is one number for all lanes: no lane waits for output
channels that do not exist, and the steps behind the convolution pass over full vectors. Vectors of
several filters, and of all rows of a pooling window, stay in registers together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import ClassVar

import numpy as np

from cnncc.ir.op import lookup
from cnncc.kernels.convolution.conv_geometry import conv_geometry, conv_halo, refuses_operands
from cnncc.kernels.convolution.conv_planes import gathered
from cnncc.kernels.convolution.tile_choice import narrow_lanes
from cnncc.kernels.cost import fma_per_cycle, predict
from cnncc.kernels.epilogue import Epilogue
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    ResultArg,
    Site,
    per_channel,
    scratch_buffer,
)
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Kind, Type, Value
from cnncc.ops.fused import Step
from cnncc.ops.pool import WINDOW_POOLS, windows_apart
from cnncc.targets.target import Target

_GAIN = 0.9  # of the vectors that lanes of channels take: above, planes are not worth a change
_OTHERS = 8  # registers that are no accumulators: with fewer, targets of 16 spill
_RUN_OVERHEAD = 30.0  # cycles


@dataclass(frozen=True, slots=True)
class _Patch:
    """What is computed together.

    Attributes:
        rows: rows of the convolution: those of a pooling window.
        step: columns of the convolution for a column of the result: those of the window.
        vectors: vectors of neighbouring columns.
        filters: output channels.
    """

    rows: int
    step: int
    vectors: int
    filters: int


def _patch(site: Site) -> _Patch:
    rows, step = site.steps[-1].attrs.window if site.ends_in_pool else (1, 1)
    columns = site.result.shape[3] * step
    vectors = step if site.ends_in_pool else min(2, -(-columns // site.lanes))
    room = _room(site.target) // (rows * vectors)
    return _Patch(rows, step, vectors, min(site.result.shape[1], room))


def _room(target: Target) -> int:
    """Accumulators: beside them the pixels of a tap and weights are in registers."""
    return target.vector_registers - _OTHERS


def suits_columns(
    target: Target, steps: Sequence[Step], pixels: tuple[int, int], filters: int
) -> bool:
    """Whether lanes of columns are the quicker way for a result that may lie in planes.

    Args:
        target: the machine.
        steps: a convolution over planes and what is fused behind it.
        pixels: rows and columns of the convolution's own result.
        filters: output channels.
    """
    lanes, attrs, last = target.lanes(), steps[0].attrs, steps[-1]
    if lanes == 1 or attrs.groups != 1 or attrs.strides[1] != 1:
        return False
    if last.op in WINDOW_POOLS:
        rows, columns = last.attrs.window
        if not windows_apart(last.attrs) or rows * columns > _room(target):
            return False
    planes = filters * pixels[0] * -(-pixels[1] // lanes)
    narrow = 0.5 if narrow_lanes(target, filters % lanes or lanes) else 0.0
    return planes <= _GAIN * pixels[0] * pixels[1] * (-(-filters // lanes) - narrow)


class ConvColumns(Kernel):
    """One work item is one row of the result for a panel of filters."""

    name: ClassVar[str] = "conv_columns"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "planes"

    def refuses(self, site: Site) -> str:
        if site.last_conv:
            return "computes one convolution only"
        types, attrs = [site.types[a] for a in site.anchor.args], site.anchor.attrs
        result = lookup("conv2d").infer(types, attrs)
        reason = refuses_operands(site, conv_halo(attrs, types[0], types[1], result))
        if reason:
            return reason
        if site.blocked(site.anchor.args[0]).block != 1 or site.blocked_out.block != 1:
            return "input and result must lie in planes"
        if site.lanes == 1 or attrs.groups != 1 or attrs.strides[1] != 1:
            return "multiplies neighbouring columns of one group"
        if site.ends_in_pool and not windows_apart(site.steps[-1].attrs):
            return "pooling windows overlap or hang over the edge"
        if _patch(site).filters == 0:
            return "a pooling window does not fit the registers"
        if any(site.constants[a] is None for s in site.steps[1:] for a in s.args if a >= 0):
            return "the epilogue reads values besides constants"
        return ""

    def estimate(self, site: Site) -> Estimate:
        g, patch = conv_geometry(site), _patch(site)
        _, channels, rows, columns = site.result.shape
        run = patch.vectors * site.lanes // patch.step
        tiles = rows * -(-columns // run) * channels  # of one filter
        vectors = rows * patch.rows * -(-columns * patch.step // site.lanes) * channels
        fmas = float(vectors * g.steps)
        cycles = fmas / fma_per_cycle(site.target) + tiles / patch.filters * _RUN_OVERHEAD
        words = f"runs of {run} pixels, {patch.filters} filters at once"
        weights = 4.0 * site.types[site.anchor.args[1]].elems
        return predict(site, cycles, words, {}, fmas=fmas, weights=weights)

    def lower(self, site: Site) -> list[Launch]:
        return [_Rows(site).launch()]


class _Rows:
    """The function of one site."""

    def __init__(self, site: Site) -> None:
        self.site, self.patch, self.g = site, _patch(site), conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.lanes = site.lanes
        self.pool = site.steps[-1] if site.ends_in_pool else None
        self.epilogue = Epilogue(site, last=-1 if self.pool else None)

    def launch(self) -> Launch:
        """One work item a row and panel."""
        site, patch, b = self.site, self.patch, Builder(ConvColumns.name)
        self.b = b
        channels, rows = self.out.channels, self.out.height
        panels = -(-channels // patch.filters)
        # [panel][input channel][row][column][filter of the panel]
        w = np.asarray(site.constant(site.anchor.args[1]), np.float32)
        filled = np.zeros((panels * patch.filters, *w.shape[1:]), np.float32)
        filled[: len(w)] = w
        weights = filled.reshape(panels, patch.filters, *w.shape[1:]).transpose(0, 2, 3, 4, 1)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(site.anchor.args) == 3:
            bias = per_channel(np.asarray(site.constant(site.anchor.args[2])), self.out)
            self.bias = b.buffer("bias", extent=bias.size)
            args.append(PackedArg(bias))
        self.epilogue.declare(b)
        most = patch.filters * patch.rows * patch.vectors * self.lanes
        self.sums, sums_arg = scratch_buffer(b, "sums", most)
        self.result = b.buffer("out", extent=self.out.elems, writable=True)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel, row = b.idiv(items.iv, rows), b.irem(items.iv, rows)
            last = channels - (panels - 1) * patch.filters
            if last == patch.filters or panels == 1:
                self._row(panel, row, last)
            else:
                with b.when(b.compare("eq", panel, panels - 1)):
                    self._row(panel, row, last)
                with b.otherwise():
                    self._row(panel, row, patch.filters)
        return Launch(b.func, (*args, *self.epilogue.args, sums_arg, ResultArg()), panels * rows)

    def _row(self, panel: Index, row: Index, filters: int) -> None:
        """A row of `filters` channels."""
        b, run = self.b, self.patch.vectors * self.lanes // self.patch.step
        full, left = divmod(self.out.width, run)
        if full:
            with b.loop(0, full, hint="run") as runs:
                self._run(panel, row, b.imul(runs.iv, run), (filters, run))
        if left:
            self._run(panel, row, full * run, (filters, left))

    def _run(self, panel: Index, row: Index, column: Index, size: tuple[int, int]) -> None:
        """`size`: filters and pixels of the result from a column on."""
        b, patch, lanes = self.b, self.patch, self.lanes
        filters, pixels = size
        held = pixels * patch.step  # columns of the convolution
        vectors = -(-held // lanes)
        first = b.imul(panel, patch.filters)
        tile = patch.rows * vectors
        sums = self._reduce(
            panel,
            (b.imul(row, patch.rows), b.imul(column, patch.step)),
            self._start(first, filters, tile),
            (filters, held),
        )
        for number, value in enumerate(sums):
            b.store(self.sums, 0, value, offset=number * lanes)
        with b.loop(0, filters, hint="filter") as channels:
            channel = b.iadd(first, channels.iv)
            at = b.imul(channels.iv, tile * lanes)
            self.epilogue.open(b, channel, row, column)
            done = [
                self.epilogue.apply(b, b.load(self.sums, at, lanes, offset=k * lanes))
                for k in range(tile)
            ]
            rows = [done[r * vectors : (r + 1) * vectors] for r in range(patch.rows)]
            base = self.out.index(b, channel, row, column)
            for number, value in enumerate(pooled_columns(b, self.pool, rows, pixels)):
                mask = lane_mask(b, lanes, pixels - number * lanes)
                b.store(self.result, base, value, offset=number * lanes, mask=mask)

    def _start(self, first: Index, filters: int, tile: int) -> list[Value]:
        """The bias of each filter in all its vectors."""
        b, lanes = self.b, self.lanes
        if self.bias is None:
            return [b.splat(b.const(0.0), lanes)] * (filters * tile)
        start = [b.load_splat(self.bias, first, lanes, offset=f) for f in range(filters)]
        return [value for value in start for _ in range(tile)]

    def _reduce(
        self, panel: Index, at: tuple[Index, Index], sums: list[Value], size: tuple[int, int]
    ) -> list[Value]:
        """`sums` of filters, rows and vectors plus all products; `at`: the first pixel."""
        b, g, patch, lanes = self.b, self.g, self.patch, self.lanes
        filters, held = size
        (down, right), (sy, _), (dy, dx) = g.kernel, g.attrs.strides, g.attrs.dilations
        position = self.source.index(
            b, 0, b.isub(b.imul(at[0], sy), g.attrs.pads[0]), b.isub(at[1], g.attrs.pads[1])
        )
        pitch = self.source.row_pitch
        nest = [
            ("ic", self.source.blocks, self.source.plane_pitch),
            ("kh", down, dy * pitch),
            ("kw", right, dx),
        ]
        starts = range(0, held, lanes)
        masks = {s: lane_mask(b, lanes, held - s) for s in starts}

        def walk(level: int, place: Index, carry: list[Value]) -> list[Value]:
            if level < len(nest):
                hint, extent, step = nest[level]
                with b.loop(0, extent, carry=carry, hint=hint) as loop:
                    inner = b.iadd(place, b.imul(loop.iv, step))
                    loop.yields(walk(level + 1, inner, loop.carried))
                return loop.results
            pixels = [
                b.load(self.x, place, lanes, offset=r * sy * pitch + s, mask=masks[s])
                for r in range(patch.rows)
                for s in starts
            ]
            done = []
            for f in range(filters):
                weight = b.load_splat(self.w, carry[0], lanes, offset=f)
                mine = carry[1 + f * len(pixels) :]
                done += [b.fma(p, weight, s) for p, s in zip(pixels, mine, strict=False)]
            return [b.binary("add", carry[0], patch.filters), *done]

        depth = self.source.blocks * down * right * patch.filters
        cursor = b.imul(panel, depth)
        first = cursor if isinstance(cursor, Value) else b.const(cursor, INDEX)
        return walk(0, position, [first, *sums])[1:]


def lane_mask(b: Builder, lanes: int, left: int) -> Value | None:
    """The lanes that exist where a vector begins `left` elements before the end; None for all."""
    if left >= lanes:
        return None
    held = tuple(i < left for i in range(lanes))
    return b.const(held, Type(Kind.BOOL, lanes))


def pooled_columns(
    b: Builder, pool: Step | None, rows: list[list[Value]], pixels: int
) -> list[Value]:
    """Vectors of the result: maximum or mean of whole windows, or the one row itself.

    Args:
        b: where the code goes.
        pool: whose windows are as high as there are rows.
        rows: vectors of neighbouring columns of each.
        pixels: of the result that these are.
    """
    if pool is None:
        return rows[0]
    step, op = pool.attrs.window[1], "max" if pool.op == "max_pool2d" else "add"
    columns = [reduce(partial(b.binary, op), column) for column in zip(*rows, strict=True)]
    lanes = columns[0].type.lanes
    parts = []
    for t in range(step):
        places = [i * step + t if i < pixels else None for i in range(lanes)]
        wanted = [p if p is None else (columns[p // lanes], p % lanes) for p in places]
        parts.append(gathered(b, wanted))
    total = reduce(partial(b.binary, op), parts)
    if op == "max":
        return [total]
    return [b.binary("div", total, b.splat(b.const(float(len(rows) * step)), lanes))]
