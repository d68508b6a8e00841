"""The products of all planes of a block of tiles: tiles by channels times channels by outputs."""

from __future__ import annotations

from functools import partial

from cnncc.kernels.convolution.conv_depth import DepthTable
from cnncc.kernels.convolution.conv_tile import Ahead, BlockSums, Pieces, Taps, Tile
from cnncc.kernels.convolution.reduction import emit_tile
from cnncc.kernels.convolution.tile_loops import Cases, branch
from cnncc.kernels.winograd.winograd_choice import fetches_ahead
from cnncc.kernels.winograd.winograd_expand import ExpandedProducts, run_blocks
from cnncc.kernels.winograd.winograd_tiles import WinogradTiles
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class PlaneProducts:
    """Products `[plane][vector][tile][lanes]` of a panel of output channels.

    Attributes:
        tiles: where the tiles lie.
        depth: channels of each block that are added up.
        inputs: scratch memory of transformed inputs.
        w: packed filters.
        products: scratch memory of what is made.
        pieces: how sums over channels are cut.
    """

    def __init__(
        self,
        tiles: WinogradTiles,
        depth: DepthTable,
        inputs: Value,
        w: Value,
        products: Value,
        pieces: Pieces | BlockSums,
    ) -> None:
        self.tiles, self.depth, self.pieces = tiles, depth, pieces
        self.inputs, self.w, self.products = inputs, w, products
        self.site, self.choice, self.g = tiles.site, tiles.choice, tiles.g
        self.vectors, self.plane = tiles.vectors, tiles.plane

    def emit(self, b: Builder, panel: Index, count: Index, cases: Cases) -> None:
        """The products of so many tiles, one number of the cases, with a panel of filters."""
        if self.choice.expands:
            branch(b, cases, partial(self._expand, b, panel))
            return
        with b.loop(0, self.choice.planes, hint="plane") as planes:
            self._multiply(b, panel, planes.iv, count)

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
        lanes, most, columns = self.site.lanes, self.choice.block, self.tiles.block.columns
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
        fewest = min(self.tiles.block.counts())

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

        first, among = self.tiles.block.range(b, plane, count)
        self.tiles.block.each(b, first, among, part)
