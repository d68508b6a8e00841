"""Where the tiles of a filtered convolution lie, and where what is made of them is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnncc.kernels.convolution.conv_geometry import conv_geometry
from cnncc.kernels.template import Site
from cnncc.kernels.winograd.block_tiles import BlockTiles
from cnncc.kernels.winograd.winograd_choice import WinogradChoice
from cnncc.kernels.winograd.winograd_regions import Region
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index


@dataclass(frozen=True, slots=True)
class TilePlace:
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


class WinogradTiles:
    """The tiles of one site.

    Attributes:
        site: the convolution and what follows it.
        choice: transforms, tiles and registers.
        block: the tiles that go together.
        g: its geometry.
        source: layout of the input.
        out: layout of the result.
        vectors: vectors of output channels of a panel.
        plane: elements from one plane of transformed inputs to the next.
    """

    def __init__(self, site: Site, choice: WinogradChoice) -> None:
        self.site, self.choice, self.block = site, choice, BlockTiles(choice)
        self.g = conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.vectors = choice.tile.vectors
        # Planes a multiple of a page apart would share few sets of the cache.
        self.plane = (self.g.in_blocks * choice.block + 1) * site.lanes

    def regions(self, count: Index) -> Iterator[tuple[Region, Index]]:
        """The tiles of a block by their size, and how many there are of each."""
        choice = self.choice
        if self.block.fringed:
            yield from ((region, region.count) for region in choice.regions.regions)
            return
        most = choice.block
        yield Region(choice.vertical, choice.horizontal, 0, 0, 0, choice.across, most), count

    def number(self, b: Builder, start: Index, tile: Index) -> Index:
        """A tile's number in the map: none lies beyond the last one, as the bounds' proof needs."""
        number = b.iadd(start, tile)
        if self.choice.tiles % self.choice.block == 0:
            return number
        return b.imin(number, self.choice.tiles - 1)

    def place(self, b: Builder, region: Region, number: Index) -> TilePlace:
        """Where a tile of a region lies."""
        choice = self.choice
        line, across = b.idiv(number, region.across), b.irem(number, region.across)
        if choice.phases == (1, 1):
            return TilePlace(0, 0, b.iadd(line, region.line), b.iadd(across, region.column))
        phase, down = b.idiv(line, choice.down), b.irem(line, choice.down)
        return TilePlace(
            b.idiv(phase, choice.phases[1]), b.irem(phase, choice.phases[1]), down, across
        )
