"""Convolution of windows that hang far over the edge, as those of large dilations do.

Each tile multiplies only the taps that see the picture (`tap_zones.py`): at a dilation of 12 on a
map of 16x16 that is a quarter of the definition's products, and where a transposed convolution
begins with a single pixel one tap of each window. The taps are the outer loop: the filters of one
stay in L2 while the sums of all tiles of an item pass by, and no tile waits for its own filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.convolution.conv_geometry import refuses_layouts
from cnncc.kernels.convolution.conv_nest import ConvNest, Place, short_chains, store_pixel
from cnncc.kernels.convolution.conv_tile import Taps, Tile
from cnncc.kernels.convolution.conv_transposed import filters_by_output
from cnncc.kernels.convolution.filter_panels import pack_filters
from cnncc.kernels.convolution.reduction import emit_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO
from cnncc.kernels.movement import OffsetTable
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    PackedArg,
    Site,
    out_buffer,
    scratch_buffer,
)
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.kernels.zones.tap_zones import (
    ZonesChoice,
    ZonesShape,
    definition_cycles,
    zones_choice,
    zones_shape,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.targets.target import Target

_LEAST_SAVED = 1 / 6  # of the definition's products; less does not pay for smaller tiles
_CLEARLY = 0.8  # of the time of others: their halo costs time and memory as well


class ConvZones(Kernel):
    """One work item is some tiles of pixels for one panel of output channels."""

    name: ClassVar[str] = "conv_zones"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d", "conv2d_transpose"})

    def refuses(self, site: Site) -> str:
        if site.ends_in_pool:
            return "does not pool"
        if site.last_conv:
            return "computes one convolution only"
        reason = refuses_layouts(site, NO_HALO)
        if reason:
            return reason
        if _shape(site).share > 1 - _LEAST_SAVED:
            return "hardly any tap sees nothing but padding"
        return ""

    def estimate(self, site: Site) -> Estimate:
        shape, groups = _shape(site), site.anchor.attrs.groups
        choice = zones_choice(site.target, shape)
        return predict(
            site,
            choice.cycles * groups,
            f"zones of taps, {choice.vectors} vectors",
            {"share_of_taps": shape.share},
            fmas=float(shape.products * shape.channels * shape.out_blocks * groups),
            weights=4.0 * site.types[site.anchor.args[1]].elems,
        )

    def lower(self, site: Site) -> list[Launch]:
        return _ZonesNest(site, zones_choice(site.target, _shape(site))).launches(self.name)


def _shape(site: Site) -> ZonesShape:
    attrs, types = site.anchor.attrs, [site.types[a] for a in site.anchor.args]
    result = lookup(site.anchor.op).infer(types, attrs)
    channels = depth_of(site.blocked(site.anchor.args[0]), attrs.groups).channels
    out_blocks = site.blocked_out.blocks // attrs.groups
    return zones_shape(attrs, types[0], types[1].shape[2:], result, channels, out_blocks)


def zones_pay(
    target: Target,
    attrs: Conv2dAttrs | Conv2dTransposeAttrs,
    types: Sequence[TensorType],
    result: TensorType,
) -> bool:
    """Whether zones are predicted to be much quicker than all other kernels, which want a halo.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W] in whole blocks, and filters.
        result: of the convolution.
    """
    if attrs.groups > 1:
        return False
    lanes, window = target.lanes(), types[1].shape[2:]
    ins, outs = (-(-t.shape[1] // lanes) for t in (types[0], result))
    shape = zones_shape(attrs, types[0], window, result, ins * lanes, outs)
    if shape.share > 1 - _LEAST_SAVED:
        return False
    others = [definition_cycles(target, shape)]
    if isinstance(attrs, Conv2dAttrs):
        filtered = WinogradShape(
            *(result.shape[2], result.shape[3], ins, outs, 1, (window[0], window[1])),
            attrs.strides,
            dilations=attrs.dilations,
        )
        others += [choice.cycles for choice in winograd_choices(target, filtered)[:1]]
    return zones_choice(target, shape).cycles < _CLEARLY * min(others)


class _ZonesNest:
    """The loop nest of one site."""

    def __init__(self, site: Site, choice: ZonesChoice) -> None:
        self.site, self.choice = site, choice
        self.shape = _shape(site)
        self.nest = ConvNest(site, choice.vectors)
        self.lanes = site.lanes
        self.tiles = choice.shapes
        self.most = max(self.tiles, key=lambda tile: tile.accumulators)
        self.taps = self.shape.down.window * self.shape.across.window
        self.tap_elems = self.shape.channels * choice.vectors * site.lanes

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b, nest, choice = Builder(name), self.nest, self.choice
        weights = pack_taps(self.site, choice.vectors)
        args = nest.declare(b, PackedArg(weights), weights[0].size, self.most)
        self.pieces, totals = short_chains(b, self.site, nest.in_blocks, self.shape.channels)
        args += totals
        args += self._tables(b)
        self.out, out_arg = out_buffer(b, self.site)
        held = max(map(len, choice.groups)) * self.most.accumulators * self.lanes
        self.sums, sums_arg = scratch_buffer(b, "partial", held)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel = b.idiv(items.iv, len(choice.groups))
            self._item(b, panel, b.irem(items.iv, len(choice.groups)))
        work = nest.panels * len(choice.groups)
        return [Launch(b.func, (*args, out_arg, sums_arg), work)]

    def _tables(self, b: Builder) -> list[Arg]:
        """What an item does, as tables.

        `parts`: shape, row and column of each tile; `jobs`: shape, place among the item's tiles
        and input (row, column) of each tile that sees a tap; both with the entry that each item,
        or each of its taps, begins with.
        """
        shapes = {tile: n for n, tile in enumerate(self.tiles)}
        window = self.shape.across.window
        jobs: list[list[tuple[int, ...]]] = []
        for group in self.choice.groups:
            of_taps: list[list[tuple[int, ...]]] = [[] for _ in range(self.taps)]
            for slot, part in enumerate(group):
                for (row, column), source in part.seen:
                    of_taps[row * window + column].append((shapes[part.tile], slot, *source))
            jobs += [sorted(tap) for tap in of_taps]
        parts = [[(shapes[p.tile], p.y, p.x) for p in group] for group in self.choice.groups]
        self.parts, self.part_starts = _tabled(b, "parts", parts)
        self.jobs, self.job_starts = _tabled(b, "jobs", jobs)
        tables = (self.parts, self.part_starts, self.jobs, self.job_starts)
        return [PackedArg(table.array) for table in tables]

    def _item(self, b: Builder, panel: Index, group: Index) -> None:
        first = self.part_starts.at(b, group)
        end = self.part_starts.at(b, b.iadd(group, 1))
        with b.loop(first, end, hint="part") as parts:
            shape = self.parts.at(b, b.imul(parts.iv, 3))
            slot = b.isub(parts.iv, first)
            for n, tile in enumerate(self.tiles):
                with b.when(b.compare("eq", shape, n)):
                    zero = b.splat(b.const(0.0), self.lanes)
                    self._park(b, slot, [zero] * tile.accumulators)
        with b.loop(0, self.taps, hint="tap") as taps:
            weights = b.imul(b.iadd(b.imul(panel, self.taps), taps.iv), self.tap_elems)
            number = b.iadd(b.imul(group, self.taps), taps.iv)
            begin, stop = (self.job_starts.at(b, b.iadd(number, k)) for k in (0, 1))
            with b.loop(begin, stop, hint="job") as jobs:
                self._job(b, panel, jobs.iv, weights)
        with b.loop(first, end, hint="part") as parts:
            self._finish(b, panel, parts.iv, b.isub(parts.iv, first))

    def _job(self, b: Builder, panel: Index, number: Value, weights: Index) -> None:
        """One tap of one tile."""
        nest = self.nest
        at = b.imul(number, 4)
        shape, slot, y, x = (self.jobs.at(b, b.iadd(at, k)) for k in range(4))
        source = nest.source.index(b, nest.first_input_block(b, panel), y, x)
        for n, tile in enumerate(self.tiles):
            with b.when(b.compare("eq", shape, n)):
                sums = emit_tile(
                    b,
                    tile,
                    self._one_tap(),
                    self.lanes,
                    (nest.x, source),
                    (nest.w, weights),
                    [b.splat(b.const(0.0), self.lanes)] * tile.vectors,
                    pieces=self.pieces,
                )
                before = self._parked(b, slot, tile)
                self._park(b, slot, [b.binary("add", *p) for p in zip(before, sums, strict=True)])

    def _one_tap(self) -> Taps:
        """The walk over all channels under a tap."""
        source = self.nest.source
        return Taps(
            blocks=self.nest.in_blocks,
            block=source.block,
            rows=1,
            columns=1,
            row_step=1,
            column_step=1,
            pixel_row_step=self.shape.down.source_step,
            pixel_column_step=self.shape.across.source_step,
            plane_pitch=source.plane_pitch,
            row_pitch=source.row_pitch,
            depth=self.nest.depth,
        )

    def _finish(self, b: Builder, panel: Index, number: Value, slot: Index) -> None:
        """What follows the convolution, for one tile."""
        at = b.imul(number, 3)
        shape, y, x = (self.parts.at(b, b.iadd(at, k)) for k in range(3))
        nest = self.nest
        base = nest.out.index(b, b.imul(panel, self.choice.vectors), y, x)
        step = self.shape.down.result_step, self.shape.across.result_step

        def store(down: int, right: Index, values: list[Value]) -> None:
            store_pixel(b, (self.out, base), nest.out, (down, right), values)

        place = Place(0, self._one_tap(), y, x, step)
        for n, tile in enumerate(self.tiles):
            with b.when(b.compare("eq", shape, n)):
                nest.finish(b, self._parked(b, slot, tile), tile, panel, place, store)

    def _park(self, b: Builder, slot: Index, values: list[Value]) -> None:
        first = b.imul(slot, self.most.accumulators * self.lanes)
        for n, value in enumerate(values):
            b.store(self.sums, first, value, offset=n * self.lanes)

    def _parked(self, b: Builder, slot: Index, tile: Tile) -> list[Value]:
        first = b.imul(slot, self.most.accumulators * self.lanes)
        return [
            b.load(self.sums, first, self.lanes, offset=n * self.lanes)
            for n in range(tile.accumulators)
        ]


def _tabled(
    b: Builder, hint: str, lists: Sequence[Sequence[tuple[int, ...]]]
) -> tuple[OffsetTable, OffsetTable]:
    """All entries one behind the other, and where each list begins, with the end."""
    entries = OffsetTable(np.asarray([entry for one in lists for entry in one], np.int64))
    starts = OffsetTable(np.asarray([0, *accumulate(map(len, lists))], np.int64))
    entries.declare(b, hint)
    starts.declare(b, f"{hint}_starts")
    return entries, starts


def pack_taps(site: Site, vectors: int) -> NDArray[np.float32]:
    """Filters as `[panel][kh][kw][channel][vectors * lanes]`, of channels that are multiplied."""
    filters = filters_by_output(site)
    source, groups = site.blocked(site.anchor.args[0]), site.anchor.attrs.groups
    packed = pack_filters(filters, source, site.blocked_out, groups, vectors)
    by_tap = packed.transpose(0, 2, 3, 1, 4, 5).reshape(
        len(packed), *filters.shape[2:], -1, packed.shape[-1]
    )
    used = depth_of(source, groups).columns(source.block)
    return np.ascontiguousarray(by_tap[:, :, :, used])
