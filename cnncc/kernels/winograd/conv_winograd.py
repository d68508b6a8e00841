"""Convolution with fewer multiplications, after Winograd, Toom and Cook.

A work item is one panel of output channels of one block of tiles. Its steps stay in the caches:
the inputs of the block are transformed into this thread's scratch memory (once for all panels that
the thread computes in a row), each plane is multiplied by its filters with the micro-kernel of all
convolutions, tiles playing pixels, and the products are transformed back, with bias, epilogue and
pool, and stored. Filters are transformed in f64 at compile time.

A NaN, an infinity or a number near overflow in an input reaches all results of the tiles that read
it, not only of the windows that do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from cnncc.ir.op import F64, Array
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import DepthTable, depth_of
from cnncc.kernels.convolution.conv_nest import (
    Cases,
    branch,
    conv_geometry,
    for_each_tile,
    phase_sizes,
    refuses_layouts,
)
from cnncc.kernels.convolution.conv_tile import (
    Ahead,
    BlockSums,
    Pieces,
    Taps,
    Tile,
    emit_tile,
    piece_blocks,
)
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO, Halo, Layout
from cnncc.kernels.pool_behind import combine_window, pool_of
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    Site,
    bias_arg,
    out_buffer,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.kernels.winograd.block_tiles import BlockTiles
from cnncc.kernels.winograd.cook_toom import transform_places, transform_tile_outputs
from cnncc.kernels.winograd.tile_rounding import dilations_of, tile_rounding
from cnncc.kernels.winograd.winograd_choice import (
    WinogradChoice,
    WinogradShape,
    fetches_ahead,
    winograd_choices,
)
from cnncc.kernels.winograd.winograd_expand import ExpandedProducts, run_blocks
from cnncc.kernels.winograd.winograd_filters import pack_transformed
from cnncc.kernels.winograd.winograd_regions import Region
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets.target import Target


class ConvWinograd(Kernel):
    """One work item is one panel of output channels of one block of tiles of one group."""

    name: ClassVar[str] = "conv_winograd"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        reason = refuses_layouts(site, NO_HALO) or self._refuses_geometry(site)
        if reason:
            return reason
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread over its tile"
        return "" if self._choices(site) else "the halo does not hold whole tiles"

    @staticmethod
    def _refuses_geometry(site: Site) -> str:
        if site.blocked(site.anchor.args[0]).block != site.lanes:
            return "the input's blocks are narrow"
        if site.ends_in_pool and pool_of(site).overlaps:
            return "pooling windows overlap or hang over the edge"
        if not winograd_choices(site.target, winograd_shape(site)):
            return "no transform saves multiplications of such windows and strides"
        return ""

    @staticmethod
    def _choices(site: Site) -> list[WinogradChoice]:
        """What the input's halo allows, the quickest first."""
        source = site.blocked(site.anchor.args[0])
        pads = site.anchor.attrs.pads[:2]
        return [
            choice
            for choice in winograd_choices(site.target, winograd_shape(site))
            if all(
                have >= want
                for have, want in zip(
                    source.halo, choice.halo(pads, source.height, source.width), strict=True
                )
            )
        ]

    def estimate(self, site: Site) -> Estimate:
        choice = self._choices(site)[site.pick]
        figures = {"error_bound_k": choice.rounding}
        g = conv_geometry(site)
        depth = g.in_blocks * site.lanes if choice.expands else g.depth.channels
        vectors = g.attrs.groups * depth * g.out_blocks
        inputs, outputs = transform_places(choice.vertical, choice.horizontal)
        transforms = g.attrs.groups * (g.in_blocks * inputs + g.out_blocks * outputs)
        return predict(
            site,
            choice.cycles,
            str(choice),
            figures,
            fmas=vectors * choice.products + transforms * choice.tiles,
            weights=vectors * choice.filters * site.target.vector_bits / 8,
        )

    def picks(self, site: Site) -> int:
        return len(self._choices(site))

    def code_bytes(self, site: Site) -> int:
        return 12 << 10

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a tile, infinite where it meets numbers that are not finite."""
        choice = self._choices(site)[site.pick]

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            if op != "conv2d":
                return None
            return tile_rounding(choice, attrs, arrays[0], arrays[1])

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return _WinogradNest(site, self._choices(site)[site.pick]).launches(self.name)


def winograd_shape(site: Site) -> WinogradShape:
    """What the choice depends on, of a site that is a convolution of blocks."""
    g = conv_geometry(site)
    window = tuple(site.steps[-1].attrs.window) if site.ends_in_pool else (1, 1)
    return WinogradShape(
        g.rows,
        g.columns,
        g.in_blocks,
        g.out_blocks,
        g.attrs.groups,
        g.kernel,
        g.attrs.strides,
        window,
        dilations_of(g.attrs, g.kernel),
        _fewer(g.depth.channels, g.in_blocks * site.lanes),
    )


def _fewer(channels: int, slots: int) -> int:
    """The channels that are multiplied, 0 for all slots."""
    return channels if channels < slots else 0


def winograd_halo(
    target: Target,
    attrs: Conv2dAttrs,
    types: Sequence[TensorType],
    result: TensorType,
    window: tuple[int, int],
) -> Halo:
    """The halo that whole tiles need, where they are predicted to be quicker than the definition.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W] and filters [O,C/g,kh,kw].
        result: of the convolution.
        window: of a pool behind it that has no overlap, else (1, 1).
    """
    (_, channels, height, width), (filters, _, *kernel) = types[0].shape, types[1].shape
    lanes, groups = target.lanes(), attrs.groups
    if channels < lanes:
        return NO_HALO
    ins, outs = (-(-count // groups // lanes) for count in (channels, filters))
    rows, columns = result.shape[2:]
    depth = depth_of(Layout(lanes, (channels // groups,), 1, 1), 1).channels
    shape = WinogradShape(
        rows,
        columns,
        ins,
        outs,
        groups,
        (kernel[0], kernel[1]),
        attrs.strides,
        window,
        dilations_of(attrs, kernel),
        _fewer(depth, ins * lanes),
    )
    choices = winograd_choices(target, shape)
    if not choices:
        return NO_HALO
    direct = choose_tile(target, rows, columns, outs, ins * lanes * kernel[0] * kernel[1])
    if choices[0].cycles >= groups * direct.cycles:
        return NO_HALO
    return choices[0].halo((attrs.pads[0], attrs.pads[1]), height, width)


@dataclass(frozen=True, slots=True)
class _TilePlace:
    """Where a tile lies.

    Attributes:
        row: first row of its phase.
        column: first column of it.
        down: number of the tile in a column of the phase.
        across: number of it in a row.
    """

    row: Index
    column: Index
    down: Index
    across: Index


class _WinogradNest:
    """The loop nest of one site."""

    def __init__(self, site: Site, choice: WinogradChoice) -> None:
        self.site, self.choice = site, choice
        self.g = conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.depth = DepthTable(self.g.depth)
        self.tiles = BlockTiles(choice)
        pixels = choice.vertical.outputs * choice.horizontal.outputs
        self.epilogue = TileEpilogue(site, last=-1 if site.ends_in_pool else None, most=pixels)
        self.vectors = choice.tile.vectors
        self.panels = self.g.out_blocks // self.vectors
        # Planes a multiple of a page apart would share few sets of the cache.
        self.plane = (self.g.in_blocks * choice.block + 1) * site.lanes

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b, choice = Builder(name), self.choice
        elems = self.g.attrs.groups * self.panels * self._panel_elems
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=elems)
        weights = self.site.packed(elems, partial(pack_transformed, choice=choice))
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), weights]
        self.bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            self.bias = b.buffer("bias", extent=self.out.blocks * self.out.block)
            args.append(bias_arg(self.site, self.site.anchor.args[2], self.out))
        args += self.epilogue.declare(b)
        if not choice.expands:
            args += self.depth.declare(b)
        self.result, out_arg = out_buffer(b, self.site)
        self.inputs, inputs_arg = scratch_buffer(b, "inputs", choice.planes * self.plane)
        held = choice.planes * self.vectors * choice.block * self.site.lanes
        self.products, products_arg = scratch_buffer(b, "products", held)
        cut = self._declare_pieces(b)
        blocks = -(-choice.tiles // choice.block)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel = b.irem(items.iv, self.panels)
            outer = b.idiv(items.iv, self.panels)
            block, group = b.irem(outer, blocks), b.idiv(outer, blocks)
            self._item(b, group, block, panel, b.compare("eq", items.iv, lo))
        every = (*args, out_arg, inputs_arg, products_arg, *cut)
        return [Launch(b.func, every, self.g.attrs.groups * blocks * self.panels)]

    @property
    def _panel_elems(self) -> int:
        """Numbers of a panel of filters."""
        if self.choice.expands:
            taps = self.g.kernel[0] * self.g.kernel[1]
            return self.g.in_blocks * self.site.lanes * taps * self.vectors * self.site.lanes
        depth = self.g.depth.channels * self.vectors * self.site.lanes
        return self.choice.planes * depth

    def _item(self, b: Builder, group: Index, block: Index, panel: Index, first: Value) -> None:
        size = self.choice.block
        full, last = divmod(self.choice.tiles, size)

        def body(count: Index, start: Index) -> None:
            # The inputs are still there when the item before was another panel of this block.
            fresh = b.select(first, 1, b.select(b.compare("eq", panel, 0), 1, 0))
            with b.when(b.compare("eq", fresh, 1)):
                self._transform_inputs(b, group, start, count)
            whole_panel = b.iadd(b.imul(group, self.panels), panel)
            if self.choice.expands:
                branch(b, expanded, partial(self._expand, b, whole_panel))
            else:
                with b.loop(0, self.choice.planes, hint="plane") as planes:
                    self._multiply(b, whole_panel, planes.iv, count)
            with b.loop(0, self.vectors, hint="v") as v:
                at = b.iadd(b.imul(whole_panel, self.vectors), v.iv)
                self._transform_outputs(b, at, v.iv, start, count)

        count: Index = size
        expanded: Cases = size, None
        if last:
            is_last = b.compare("eq", block, full)
            count, expanded = b.select(is_last, last, size), (size, (is_last, last))
        body(count, b.imul(block, size))

    # -- transforms --------------------------------------------------------------------------------

    def _regions(self, count: Index) -> Iterator[tuple[Region, Index]]:
        """The tiles of a block by their size, and how many there are of each."""
        choice = self.choice
        if self.tiles.fringed:
            yield from ((region, region.count) for region in choice.regions.regions)
            return
        most = choice.block
        yield Region(choice.vertical, choice.horizontal, 0, 0, 0, choice.across, most), count

    def _number(self, b: Builder, start: Index, tile: Index) -> Index:
        """A tile's number in the map: none lies beyond the last one, as the bounds' proof needs."""
        number = b.iadd(start, tile)
        if self.choice.tiles % self.choice.block == 0:
            return number
        return b.imin(number, self.choice.tiles - 1)

    def _tile_place(self, b: Builder, region: Region, number: Index) -> _TilePlace:
        """Where a tile of a region lies."""
        choice = self.choice
        line, across = b.idiv(number, region.across), b.irem(number, region.across)
        if choice.phases == (1, 1):
            return _TilePlace(0, 0, b.iadd(line, region.line), b.iadd(across, region.column))
        phase, down = b.idiv(line, choice.down), b.irem(line, choice.down)
        return _TilePlace(
            b.idiv(phase, choice.phases[1]), b.irem(phase, choice.phases[1]), down, across
        )

    def _transform_inputs(self, b: Builder, group: Index, start: Index, count: Index) -> None:
        for region, tiles in self._regions(count):
            self._transform_region(b, group, start, tiles, region)

    def _transform_region(
        self, b: Builder, group: Index, start: Index, count: Index, region: Region
    ) -> None:
        large, broad, lanes = self.choice.vertical, self.choice.horizontal, self.site.lanes
        tall, wide = region.vertical, region.horizontal
        (top, left), (dy, dx) = self.g.attrs.pads[:2], self.choice.dilations
        with (
            b.loop(0, self.g.in_blocks, hint="icb") as blocks,
            b.loop(0, count, hint="t") as tiles,
        ):
            at = self._tile_place(b, region, self._number(b, start, tiles.iv))
            source = self.source.index(
                b,
                b.iadd(b.imul(group, self.g.in_blocks), blocks.iv),
                b.isub(b.iadd(at.row, b.imul(at.down, large.outputs * large.stride * dy)), top),
                b.isub(
                    b.iadd(at.column, b.imul(at.across, broad.outputs * broad.stride * dx)), left
                ),
            )
            first = b.iadd(b.imul(blocks.iv, self.choice.block), region.first)
            to = b.imul(b.iadd(first, tiles.iv), lanes)
            for rows in tall.groups():
                columns = []
                for k in range(wide.inputs):
                    seen = {
                        i: b.load(
                            self.x, source, lanes, offset=self.source.offset(0, i * dy, k * dx)
                        )
                        for i in tall.reads(rows)
                    }
                    columns.append(tall.transform_inputs(b, rows, seen))
                for place, row in enumerate(rows):
                    for group_of in wide.groups():
                        seen = {k: columns[k][place] for k in wide.reads(group_of)}
                        made = wide.transform_inputs(b, group_of, seen)
                        for k, value in zip(group_of, made, strict=True):
                            plane = region.plane(row * wide.products + k, broad.products)
                            b.store(self.inputs, to, value, offset=plane * self.plane)

    def _transform_outputs(
        self, b: Builder, block: Index, vector: Index, start: Index, count: Index
    ) -> None:
        lanes, planes, most = self.site.lanes, self.choice.horizontal.products, self.choice.block
        pitch = self.vectors * most * lanes  # from one plane of products to the next
        bias = None
        if self.bias is not None:
            bias = b.load(self.bias, b.imul(block, lanes), lanes)
        for region, among in self._regions(count):
            with b.loop(0, among, hint="t") as tiles:
                where = self._tile_place(b, region, self._number(b, start, tiles.iv))
                place = b.iadd(b.imul(vector, most), tiles.iv, region.first)
                at = b.imul(place, lanes)

                def product(own: int, at: Index = at, region: Region = region) -> Value:
                    offset = region.plane(own, planes) * pitch
                    return b.load(self.products, at, lanes, offset=offset)

                pixels = transform_tile_outputs(b, region.vertical, region.horizontal, product)
                if bias is not None:
                    pixels = [[b.binary("add", p, bias) for p in line] for line in pixels]
                self._store(b, block, region, where, pixels)

    def _store(
        self,
        b: Builder,
        block: Index,
        region: Region,
        where: _TilePlace,
        pixels: list[list[Value]],
    ) -> None:
        """Finish the results of a tile that lie in the picture."""
        rows, columns = self.g.rows, self.g.columns
        pool = pool_of(self.site) if self.site.ends_in_pool else None
        if pool is not None:
            window = pool.step.attrs.window
            rows, columns = pool.rows * window[0], pool.columns * window[1]
        phases = self.choice.phases
        heights = phase_sizes(b, rows, phases[0], where.row)
        widths = phase_sizes(b, columns, phases[1], where.column)

        def across_cases(height: int) -> None:
            def store(width: int) -> None:
                self._store_in(b, block, region, where, pixels, (height, width))

            branch(b, widths, store)

        branch(b, heights, across_cases)

    def _store_in(
        self,
        b: Builder,
        block: Index,
        region: Region,
        where: _TilePlace,
        pixels: list[list[Value]],
        extent: tuple[int, int],
    ) -> None:
        """The same in a phase of so many rows and columns."""
        tall, wide = self.choice.vertical.outputs, self.choice.horizontal.outputs
        steps = self.choice.dilations
        pool = pool_of(self.site) if self.site.ends_in_pool else None
        window = (1, 1) if pool is None else pool.step.attrs.window

        def body(part: Tile, line: Index, place: Index) -> None:
            y = b.iadd(where.row, b.imul(line, steps[0]))
            x = b.iadd(where.column, b.imul(place, steps[1]))
            base = self.out.index(b, block, b.idiv(y, window[0]), b.idiv(x, window[1]))
            values = [p for pixel_row in pixels[: part.rows] for p in pixel_row[: part.columns]]
            patch = Patch(part.rows, part.columns, 1, steps)
            finished = self.epilogue.finish(b, values, patch, block, y, x)
            done = dict(zip(patch.pixels, finished, strict=True))
            for i, k in patch.pixels:
                if i % window[0] or k % window[1]:
                    continue
                value = done[i, k]
                if pool is not None:
                    seen = [done[i + p, k + q] for p in range(window[0]) for q in range(window[1])]
                    value = combine_window(b, pool, seen, self.site.lanes)
                at = self.out.offset(0, i // window[0], k // window[1])
                b.store(self.result, base, value, offset=at)

        if self.tiles.fringed:
            line, column = region.line * tall, region.column * wide
            rows = min(extent[0] - line, region.count // region.across * tall)
            columns = min(extent[1] - column, region.across * wide)
            tile = Tile(region.vertical.outputs, region.horizontal.outputs, 1)
            place = (b.isub(where.down, region.line), b.isub(where.across, region.column))

            def shifted(part: Tile, down: Index, across: Index) -> None:
                body(part, b.iadd(down, line), b.iadd(across, column))

            for_each_tile(b, rows, columns, tile, place, shifted)
            return
        inside = (-(-extent[0] // tall), -(-extent[1] // wide))
        at = (where.down, where.across)
        if inside == (self.choice.down, self.choice.across):
            for_each_tile(b, *extent, Tile(tall, wide, 1), at, body)
            return
        # A pool may leave out the last rows or columns, and a phase has fewer than the first, so
        # that some tiles give no result.
        with (
            b.when(b.compare("lt", where.down, inside[0])),
            b.when(b.compare("lt", where.across, inside[1])),
        ):
            for_each_tile(b, *extent, Tile(tall, wide, 1), at, body)

    # -- products ----------------------------------------------------------------------------------

    def _expand(self, b: Builder, panel: Index, count: int) -> None:
        """The products of all planes, whose filters are made of taps on the way."""
        choice, blocks = self.choice, self.g.in_blocks
        products = ExpandedProducts(
            choice.vertical,
            choice.horizontal,
            self.site.lanes,
            blocks,
            run_blocks(self.site.target, blocks, choice.filters),
            count,
            choice.block,
            min(choice.tile.columns, count),
            self.plane,
        )
        taps = (self.w, b.imul(panel, products.elems))
        products.emit(b, self.inputs, taps, self.products)

    def _multiply(self, b: Builder, panel: Index, plane: Index, count: Index) -> None:
        """The products of one plane: tiles by channels times channels by outputs."""
        lanes, most, columns = self.site.lanes, self.choice.block, self.tiles.columns
        depth = self.g.depth.channels * self.vectors * lanes
        weights = b.imul(b.iadd(b.imul(panel, self.choice.planes), plane), depth)
        taps = Taps(
            blocks=self.g.in_blocks,
            block=lanes,
            rows=1,
            columns=1,
            row_step=1,
            column_step=1,
            pixel_row_step=1,
            pixel_column_step=1,
            plane_pitch=most * lanes,
            row_pitch=0,
            depth=self.depth,
        )
        zero = b.splat(b.const(0.0), lanes)

        fetches = fetches_ahead(self.choice.block, self.choice.tile)
        fewest = min(self.tiles.counts())

        def part(size: int, first: Index, number: Index) -> None:
            ahead = Ahead(depth, number, -(-fewest // columns)) if fetches else None
            source = b.iadd(b.imul(plane, self.plane), b.imul(first, lanes))
            start = [zero] * self.vectors
            tile = Tile(1, size, self.vectors)
            sums = emit_tile(
                b,
                tile,
                taps,
                lanes,
                (self.inputs, source),
                (self.w, weights),
                start,
                ahead=ahead,
                pieces=self.pieces,
            )
            to = b.imul(b.iadd(b.imul(plane, self.vectors * most), first), lanes)
            for k in range(size):
                for v in range(self.vectors):
                    offset = (v * most + k) * lanes
                    b.store(self.products, to, sums[k * self.vectors + v], offset=offset)

        first, among = self.tiles.range(b, plane, count)
        self.tiles.each(b, first, among, part)

    def _declare_pieces(self, b: Builder) -> list[Arg]:
        """How sums over channels are cut, and the argument that this takes."""
        self.pieces: Pieces | BlockSums = BlockSums(turns=self.choice.sums > 2)
        if self.choice.sums > 1:
            return []
        held = self.choice.tile.accumulators * self.site.lanes
        totals, arg = scratch_buffer(b, "totals", held)
        self.pieces = Pieces(totals, piece_blocks(self.g.in_blocks, 4))
        return [arg]
