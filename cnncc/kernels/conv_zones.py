"""Direct convolution of windows that hang far over the edge, as those of large dilations do.

Which taps of a window see the picture, and not its padding, depends on where it stands: rows of
results fall into zones, columns as well, and where a zone of rows meets one of columns all windows
see the same block of taps. Each zone has tiles of its own, which multiply those taps only. At a
dilation of 12 on a map of 16x16 that is a quarter of the definition's products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.conv_depth import depth_of
from cnncc.kernels.conv_nest import (
    ConvNest,
    conv_geometry,
    conv_place,
    out_buffer,
    pack_filters,
    refuses_layouts,
    store_pixel,
)
from cnncc.kernels.conv_tile import Tile, choose_tile, emit_tile, tile_cycles
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO
from cnncc.kernels.movement import OffsetTable
from cnncc.kernels.template import Estimate, Kernel, Launch, PackedArg, Site
from cnncc.kernels.winograd_choice import WinogradShape, winograd_choices
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets.target import Target

_LEAST_SAVED = 1 / 6  # of the definition's products; less does not pay for smaller tiles
_TAP_OVERHEAD = 12.0  # cycles of a tile for each tap
_CLEARLY = 0.8  # of the time of others: their halo costs time and memory as well


@dataclass(frozen=True, slots=True)
class Zone:
    """Rows (or columns) of the result whose windows see the same taps.

    Attributes:
        start: the first of them.
        size: how many there are.
        tap: the first tap that they see.
        taps: how many they see; may be none.
    """

    start: int
    size: int
    tap: int
    taps: int


def zones_along(
    extent: int, results: int, window: int, stride: int, pad: int, dilation: int
) -> tuple[Zone, ...]:
    """The zones along one axis of an input of `extent` pixels with `pad` before it."""
    found: list[Zone] = []
    for place in range(results):
        origin = place * stride - pad
        seen = [k for k in range(window) if 0 <= origin + k * dilation < extent]
        tap, taps = (seen[0] if seen else 0), len(seen)
        last = found[-1] if found else None
        if last is not None and (last.tap, last.taps) == (tap, taps):
            found[-1] = Zone(last.start, last.size + 1, tap, taps)
        else:
            found.append(Zone(place, 1, tap, taps))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ZonesShape:
    """What decides about a convolution.

    Attributes:
        down: zones of rows.
        across: zones of columns.
        window: rows and columns of the filter.
        channels: that a reduction multiplies.
        out_blocks: blocks of output channels of a group.
    """

    down: tuple[Zone, ...]
    across: tuple[Zone, ...]
    window: tuple[int, int]
    channels: int
    out_blocks: int

    @property
    def share(self) -> float:
        """Share of the definition's products whose taps see the picture."""
        lines = sum(z.size * z.taps for z in self.down)
        columns = sum(z.size * z.taps for z in self.across)
        every = sum(z.size for z in self.down) * sum(z.size for z in self.across)
        return lines * columns / (every * self.window[0] * self.window[1])


@dataclass(frozen=True, slots=True)
class ZonesChoice:
    """The tiles of all zones.

    Attributes:
        vectors: vectors of output channels of each.
        parts: each tile's zones and its first row and column, in the order of work.
        cycles: predicted time of a group.
    """

    vectors: int
    parts: tuple[tuple[Zone, Zone, Tile, int, int], ...]
    cycles: float

    @property
    def shapes(self) -> list[Tile]:
        """The tiles that occur."""
        return list(dict.fromkeys(tile for _, _, tile, _, _ in self.parts))


class ConvZones(Kernel):
    """One work item is one tile of pixels for one panel of output channels."""

    name: ClassVar[str] = "conv_zones"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})

    def refuses(self, site: Site) -> str:
        if site.ends_in_pool:
            return "does not pool"
        if site.last_conv:
            return "computes one convolution only"
        reason = refuses_layouts(site, NO_HALO)
        if reason:
            return reason
        if site.blocked(site.anchor.args[0]).block != site.lanes:
            return "the input's blocks are narrow"
        if _shape(site).share > 1 - _LEAST_SAVED:
            return "hardly any tap sees nothing but padding"
        return ""

    def estimate(self, site: Site) -> Estimate:
        g, shape, choice = conv_geometry(site), _shape(site), _choice(site)
        products = shape.share * g.rows * g.columns * g.steps * g.out_blocks * g.attrs.groups
        return predict(
            site,
            choice.cycles * g.attrs.groups,
            f"{len(shape.down)}x{len(shape.across)} zones of taps, {choice.vectors} vectors",
            {"share_of_taps": shape.share},
            fmas=products,
            weights=4.0 * site.types[site.anchor.args[1]].elems,
        )

    def lower(self, site: Site) -> list[Launch]:
        return _ZonesNest(site).launches(self.name)


def zones_shape(
    attrs: Conv2dAttrs,
    types: tuple[TensorType, TensorType],
    result: TensorType,
    channels: int,
    out_blocks: int,
) -> ZonesShape:
    """The shape of a convolution of input [1,C,H,W] and filters [O,C/g,kh,kw]."""
    window = types[1].shape[2], types[1].shape[3]
    down, across = (
        zones_along(
            types[0].shape[2 + axis],
            result.shape[2 + axis],
            window[axis],
            attrs.strides[axis],
            attrs.pads[axis],
            attrs.dilations[axis],
        )
        for axis in (0, 1)
    )
    return ZonesShape(down, across, window, channels, out_blocks)


def _shape(site: Site) -> ZonesShape:
    g = conv_geometry(site)
    x, w = (site.types[a] for a in site.anchor.args[:2])
    conv = lookup("conv2d").infer([site.types[a] for a in site.anchor.args], g.attrs)
    return zones_shape(g.attrs, (x, w), conv, g.depth.channels, g.out_blocks)


def _choice(site: Site) -> ZonesChoice:
    return zones_choice(site.target, _shape(site))


def zones_pay(
    target: Target, attrs: Conv2dAttrs, types: Sequence[TensorType], result: TensorType
) -> bool:
    """Whether zones are predicted to be much quicker than all other kernels, which want a halo.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W] and filters [O,C/g,kh,kw].
        result: of the convolution.
    """
    lanes = target.lanes()
    ins, outs = (-(-count // lanes) for count in (types[0].shape[1], types[1].shape[0]))
    shape = zones_shape(attrs, (types[0], types[1]), result, ins * lanes, outs)
    if attrs.groups > 1 or shape.share > 1 - _LEAST_SAVED:
        return False
    rows, columns, window = result.shape[2], result.shape[3], shape.window
    filtered = WinogradShape(
        rows, columns, ins, outs, 1, window, attrs.strides, dilations=attrs.dilations
    )
    direct = choose_tile(target, rows, columns, outs, ins * lanes * window[0] * window[1])
    others = [direct.cycles, *(c.cycles for c in winograd_choices(target, filtered)[:1])]
    return zones_choice(target, shape).cycles < _CLEARLY * min(others)


@cache
def zones_choice(target: Target, shape: ZonesShape) -> ZonesChoice:
    """The number of vectors with the fewest predicted cycles, and the tiles of each zone."""
    found = [
        _tiled(target, shape, held, vectors)
        for held, vectors in target.tiles
        if shape.out_blocks % vectors == 0
    ]
    return min(found, key=lambda c: (c.cycles, -c.vectors))


def _tiled(target: Target, shape: ZonesShape, held: int, vectors: int) -> ZonesChoice:
    parts: list[tuple[Zone, Zone, Tile, int, int]] = []
    cycles = 0.0
    for rows in shape.down:
        for columns in shape.across:
            taps = rows.taps * columns.taps
            steps = shape.channels * taps

            def took(tile: Tile, steps: int = steps) -> float:
                return tile_cycles(target, tile.rows * tile.columns, vectors, steps)

            found = [
                list(_places(rows.size, columns.size, Tile(r, c, vectors)))
                for r in range(1, min(rows.size, held) + 1)
                for c in range(1, min(columns.size, held // r) + 1)
            ]
            best = min(found, key=lambda tiles: sum(took(tile) for tile, _, _ in tiles))
            for tile, y, x in best:
                parts.append((rows, columns, tile, rows.start + y, columns.start + x))
                cycles += took(tile) + taps * _TAP_OVERHEAD
    return ZonesChoice(vectors, tuple(parts), cycles * (shape.out_blocks // vectors))


def _places(rows: int, columns: int, tile: Tile) -> Iterator[tuple[Tile, int, int]]:
    """The tiles that cover a zone, smaller at its far edges, with their first row and column."""
    for y in range(0, rows, tile.rows):
        for x in range(0, columns, tile.columns):
            height, width = min(tile.rows, rows - y), min(tile.columns, columns - x)
            yield replace(tile, rows=height, columns=width), y, x


class _ZonesNest:
    """The loop nest of one site."""

    def __init__(self, site: Site) -> None:
        self.site, self.g = site, conv_geometry(site)
        self.choice = _choice(site)
        self.nest = ConvNest(site, self.choice.vectors)
        self.tap_elems = self.g.depth.channels * self.choice.vectors * site.lanes

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b, choice, shapes = Builder(name), self.choice, self.choice.shapes
        weights = pack_taps(self.site, choice.vectors)
        most = max(shapes, key=lambda tile: tile.accumulators)
        args = self.nest.declare(b, weights, weights.size, most)
        rows = [
            (y, x, down.tap, down.taps, across.tap, across.taps, shapes.index(tile))
            for down, across, tile, y, x in choice.parts
        ]
        table = OffsetTable(np.asarray(rows, np.int64))
        table.declare(b, "zones")
        self.out, out_arg = out_buffer(b, self.site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel, number = b.idiv(items.iv, len(rows)), b.irem(items.iv, len(rows))
            first = b.imul(number, len(rows[0]))
            entries = [table.at(b, b.iadd(first, k)) for k in range(len(rows[0]))]
            for number, tile in enumerate(shapes):
                with b.when(b.compare("eq", entries[-1], number)):
                    self._tile(b, tile, panel, entries)
        items_in_all = self.nest.panels * len(rows)
        return [Launch(b.func, (*args, PackedArg(table.array), out_arg), items_in_all)]

    def _tile(self, b: Builder, tile: Tile, panel: Index, entries: list[Value]) -> None:
        """One tile: all channels of the first tap that it sees, then those of the next."""
        nest, g = self.nest, self.g
        y, x, row, rows, column, columns, _ = entries
        place = conv_place(b, nest, g, panel, y, x)
        taps = replace(place.taps, rows=1, columns=1)
        pitches = (taps.row_step * taps.row_pitch, taps.column_step * taps.block)
        weights = b.imul(panel, self.tap_elems * g.kernel[0] * g.kernel[1])
        acc = nest.start(b, panel, tile) * (tile.rows * tile.columns)
        with b.loop(row, b.iadd(row, rows), carry=acc, hint="kh") as down:
            with b.loop(column, b.iadd(column, columns), carry=down.carried, hint="kw") as across:
                at = b.iadd(
                    place.position, b.imul(down.iv, pitches[0]), b.imul(across.iv, pitches[1])
                )
                tap = b.iadd(b.imul(down.iv, g.kernel[1]), across.iv)
                filters = (nest.w, b.iadd(weights, b.imul(tap, self.tap_elems)))
                sums = emit_tile(
                    b, tile, taps, self.site.lanes, (nest.x, at), filters, across.carried
                )
                across.yields(sums)
            down.yields(across.results)
        base = nest.out.index(b, b.imul(panel, tile.vectors), y, x)

        def store(down: int, right: int, values: list[Value]) -> None:
            store_pixel(b, (self.out, base), nest.out, (down, right), values)

        nest.finish(b, down.results, tile, panel, place, store)


def pack_taps(site: Site, vectors: int) -> NDArray[np.float32]:
    """Filters [O,C/g,kh,kw] as `[panel][kh][kw][channel][vectors * lanes]`.

    Channels are those that a reduction multiplies.
    """
    filters = np.asarray(site.constant(site.anchor.args[1]), np.float32)
    source, groups = site.blocked(site.anchor.args[0]), site.anchor.attrs.groups
    packed = pack_filters(filters, source, site.blocked_out, groups, vectors)
    by_tap = packed.transpose(0, 2, 3, 1, 4, 5).reshape(
        len(packed), *filters.shape[2:], -1, packed.shape[-1]
    )
    used = depth_of(source, groups).columns(source.block)
    return np.ascontiguousarray(by_tap[:, :, :, used])
