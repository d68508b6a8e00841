"""The products of a block of tiles, transformed back, finished and stored."""

from __future__ import annotations

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_loops import branch, for_each_tile, phase_sizes
from cnncc.kernels.pool_behind import combine_window, pool_of
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.kernels.winograd.cook_toom import transform_tile_outputs
from cnncc.kernels.winograd.winograd_regions import Region
from cnncc.kernels.winograd.winograd_tiles import TilePlace, WinogradTiles
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class OutputTransform:
    """What becomes of products `[plane][vector][tile][lanes]`.

    Attributes:
        tiles: where the tiles lie.
        epilogue: what follows the convolution.
        products: scratch memory.
        bias: of all output channels, or None.
        result: output buffer.
    """

    def __init__(
        self,
        tiles: WinogradTiles,
        epilogue: TileEpilogue,
        products: Value,
        bias: Value | None,
        result: Value,
    ) -> None:
        self.tiles, self.epilogue = tiles, epilogue
        self.products, self.bias, self.result = products, bias, result
        self.site, self.choice, self.g = tiles.site, tiles.choice, tiles.g
        self.out = tiles.out

    def emit(self, b: Builder, block: Index, vector: Index, start: Index, count: Index) -> None:
        """Results of one block of output channels, the `vector` of its panel, of `count` tiles."""
        lanes, planes, most = self.site.lanes, self.choice.horizontal.products, self.choice.block
        pitch = self.tiles.vectors * most * lanes  # from one plane of products to the next
        bias = None
        if self.bias is not None:
            bias = b.load(self.bias, b.imul(block, lanes), lanes)
        for region, among in self.tiles.regions(count):
            with b.loop(0, among, hint="t") as tiles:
                where = self.tiles.place(b, region, self.tiles.number(b, start, tiles.iv))
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
        where: TilePlace,
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
        where: TilePlace,
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

        if self.tiles.block.fringed:
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
