"""1x1 convolution whose input channels may lie anywhere: a table says where each of them is.

An element of the table is read once for a tile of multiply-adds, so that costs nothing.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.op import Trait, lookup
from cnncc.kernels.convolution.conv_direct import tile_estimate
from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile
from cnncc.kernels.convolution.tile_loops import for_numbered_tile
from cnncc.kernels.epilogue import Epilogue, LaneMask, refuses_epilogue
from cnncc.kernels.layout import Layout, Picked
from cnncc.kernels.movement import OffsetTable
from cnncc.kernels.shares import each_panel, rows_pay
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    out_buffer,
    per_channel,
)
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.fused import Step

_STEP = 4  # input channels unrolled, as in `reduction.py`


def gathers(steps: tuple[Step, ...], window: tuple[int, ...]) -> bool:
    """Whether a group begins with a convolution that this kernel computes, by its attributes."""
    anchor = steps[0]
    if anchor.op != "conv2d" or anchor.attrs.groups != 1 or any(anchor.attrs.pads):
        return False
    later = all(Trait.POINTWISE in lookup(s.op).traits for s in steps[1:])
    return later and tuple(window) == (1, 1)


class ConvGather(Kernel):
    """One work item is one tile of pixels for one panel of output channels, panels outermost."""

    name: ClassVar[str] = "conv_gather"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "gather"

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        if not gathers(site.steps, site.types[w].shape[2:]):
            return "computes 1x1 convolutions of one group, without padding and pools"
        if site.constants[w] is None:
            return "the filter is computed at run time"
        source, out = site.layouts[x], site.out
        if not isinstance(source, Picked) or source.block != site.lanes:
            return "the input's channels lie in blocks of their own"
        if not isinstance(out, Layout) or out.block != site.lanes:
            return f"the result's blocks must have {site.lanes} channels"
        return refuses_epilogue(site)

    def estimate(self, site: Site) -> Estimate:
        return tile_estimate(site, _choice(site), 1)

    def lower(self, site: Site) -> list[Launch]:
        nest = _Nest(site)
        out, tile = site.blocked_out, _choice(site).tile
        b = Builder(self.name)
        args = nest.declare(b, tile.vectors)
        result, result_arg = out_buffer(b, site)
        # Networks have many such convolutions that differ in depth only: they share one function.
        turns = b.index_param("turns")
        lo, hi = b.index_param("lo"), b.index_param("hi")
        tiles, panels = tile.count(out.height, out.width), out.blocks // tile.vectors
        filters, values = (4.0 * site.types[site.anchor.args[k]].elems for k in (1, 0))
        by_rows = rows_pay(filters, values, out.height, tile.rows)
        with (
            each_panel(b, (lo, hi), panels, tiles, by_rows=by_rows) as (panel, first, end),
            b.loop(first, end, hint="tile") as numbers,
        ):
            number = numbers.iv

            def body(part: Tile, y: Index, x: Index) -> None:
                base = out.index(b, b.imul(panel, part.vectors), y, x)
                for (v, row, column), value in nest.tile(b, part, turns, panel, y, x):
                    b.store(result, base, value, offset=out.offset(v, row, column))

            for_numbered_tile(b, out.height, out.width, tile, number, body)
        every = (*args, result_arg, nest.channels // _STEP)
        return [Launch(b.func, every, panels * tiles)]


def _choice(site: Site) -> TileChoice:
    """The register tile of a site."""
    out = site.blocked_out
    channels = site.types[site.anchor.args[0]].shape[1]
    return choose_tile(site.target, out.height, out.width, out.blocks, channels)


class _Nest:
    """Parameters of the function, and the code of one tile."""

    def __init__(self, site: Site) -> None:
        self.site = site
        found = site.layouts[site.anchor.args[0]]
        if not isinstance(found, Picked):
            raise InternalError(f"{site.name}: the input is in one piece")
        self.source = found
        self.attrs: Conv2dAttrs = site.anchor.attrs
        self.out = site.blocked_out
        self.channels = self.source.channels
        self.epilogue = Epilogue(site)
        # Even if the epilogue keeps zeros: NaN times a padding lane's zero filter is NaN.
        self.mask = LaneMask(site, needed=True)
        self.table = OffsetTable(self.source.channel_offsets)

    def declare(self, b: Builder, vectors: int) -> list[Arg]:
        """Add the parameters that a tile reads; returns their arguments in order."""
        site, lanes = self.site, self.site.lanes
        x, w = site.anchor.args[:2]
        filters = np.zeros((self.out.blocks * lanes, self.channels), np.float32)
        filters[self.out.channel_slots] = np.asarray(site.constant(w), np.float32)[:, :, 0, 0]
        panels = filters.reshape(-1, vectors * lanes, self.channels).transpose(0, 2, 1)
        weights = np.ascontiguousarray(panels)
        bias = np.zeros(self.out.blocks * lanes, np.float32)
        if len(site.anchor.args) == 3:
            numbers = np.asarray(site.constant(site.anchor.args[2]), np.float32)
            bias = per_channel(numbers, self.out)
        self._x = b.buffer("x", extent=self.source.elems, unique=False)
        self.table.declare(b, "channel")
        self._w = b.buffer("weights", extent=weights.size)
        self._bias = b.buffer("bias", extent=bias.size)
        self.epilogue.declare(b)
        self.mask.declare(b)
        own: list[Arg] = [OperandArg(x)]
        own += map(PackedArg, (self.table.array, weights, bias))
        return [*own, *self.epilogue.args, *self.mask.args]

    def tile(
        self, b: Builder, tile: Tile, turns: Index, panel: Index, y: Index, x: Index
    ) -> list[tuple[tuple[int, int, int], Value]]:
        """Finished vectors, each with the block, row and column that it lies behind the first."""
        lanes, first = self.site.lanes, b.imul(panel, tile.vectors)
        row_step, column_step = self.attrs.strides
        position = b.iadd(
            b.imul(y, row_step * self.source.row_pitch),
            b.imul(x, column_step * self.source.block),
        )
        acc = self._reduce(b, tile, turns, position, panel)
        bias = [
            b.load(self._bias, b.imul(first, lanes), lanes, offset=v * lanes)
            for v in range(tile.vectors)
        ]
        self.epilogue.open(b, first, y, x)
        finished = []
        places = np.ndindex(tile.rows, tile.columns, tile.vectors)
        for (row, column, v), value in zip(places, acc, strict=True):
            value = b.binary("add", value, bias[v])  # last, as in `ConvNest.finish`
            done = self.epilogue.apply(b, value, blocks=v, rows=row, columns=column)
            done = self.mask.apply(b, done, b.iadd(first, v))
            finished.append(((v, row, column), done))
        return finished

    def _reduce(
        self,
        b: Builder,
        tile: Tile,
        turns: Index,
        position: Index,
        panel: Index,
    ) -> list[Value]:
        """The accumulators after all channels, in order (row, column, vector)."""
        width, spare = tile.vectors * self.site.lanes, self.channels % _STEP
        depth = b.iadd(b.imul(turns, _STEP), spare)
        filters = b.imul(panel, b.imul(depth, width))
        cursor = filters if isinstance(filters, Value) else b.const(filters, INDEX)
        sums = [b.splat(b.const(0.0), self.site.lanes)] * tile.accumulators
        with b.loop(0, turns, carry=[cursor, *sums], hint="ic") as loop:
            at, *acc = loop.carried
            for channel in range(_STEP):
                number = b.iadd(b.imul(loop.iv, _STEP), channel)
                acc = self._channel(b, tile, position, number, (at, channel * width), acc)
            loop.yields([b.binary("add", at, _STEP * width), *acc])
        at, *acc = loop.results
        for channel in range(spare):
            number = b.iadd(b.imul(turns, _STEP), channel)
            acc = self._channel(b, tile, position, number, (at, channel * width), acc)
        return acc

    def _channel(
        self,
        b: Builder,
        tile: Tile,
        position: Index,
        number: Index,
        weights: tuple[Index, int],
        acc: list[Value],
    ) -> list[Value]:
        """One input channel: every pixel's splat against every weight vector."""
        lanes = self.site.lanes
        at, first = weights
        filters = [
            b.load(self._w, at, lanes, offset=first + v * lanes) for v in range(tile.vectors)
        ]
        source = b.iadd(self.table.at(b, number), position)
        result: list[Value] = []
        for row, column in np.ndindex(tile.rows, tile.columns):
            offset = row * self.attrs.strides[0] * self.source.row_pitch
            offset += column * self.attrs.strides[1] * self.source.block
            pixel = b.load_splat(self._x, source, lanes, offset=offset)
            for weight in filters:
                result.append(b.fma(pixel, weight, acc[len(result)]))
        return result
