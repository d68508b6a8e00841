"""Regions of a map whose tiles are of one size: the last row and column may have smaller ones.

14 results are three tiles of 4 and one of 2: the smaller tile's points are some of the larger
one's, so that its products have the filters of some of the planes. All other planes have fewer
tiles to multiply, 484 products in place of 576 in all of 14x14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnncc.kernels.winograd.cook_toom import CookToom


@dataclass(frozen=True, slots=True)
class Region:
    """Tiles of one size, neighbours in memory.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        first: number of the first tile in its block.
        line: row of tiles where it lies.
        column: column of tiles.
        across: tiles in a row.
        count: tiles.
    """

    vertical: CookToom
    horizontal: CookToom
    first: int
    line: int
    column: int
    across: int
    count: int

    def plane(self, own: int, pitch: int) -> int:
        """The plane of a product of this region's transforms, with so many planes in a row."""
        row, column = divmod(own, self.horizontal.products)
        return self.vertical.rows[row] * pitch + self.horizontal.rows[column]


@dataclass(frozen=True, slots=True)
class Fringe:
    """A map of large tiles with small ones in the last row, the last column or both.

    The tiles lie in order of the regions: right edge, inside, lower edge, corner. So those of any
    plane are neighbours.

    Attributes:
        vertical: transform of the large tiles along columns of pixels.
        horizontal: along rows.
        down: rows of tiles.
        across: columns of tiles.
        below: results of a tile of the last row; 0 where they are like the others.
        right: results of a tile of the last column; 0 likewise.
    """

    vertical: CookToom
    horizontal: CookToom
    down: int
    across: int
    below: int
    right: int

    @property
    def regions(self) -> tuple[Region, ...]:
        """Those that there are."""
        rows, columns = self.down - (self.below > 0), self.across - (self.right > 0)
        below = self.vertical.smaller(self.below) if self.below else self.vertical
        right = self.horizontal.smaller(self.right) if self.right else self.horizontal
        places = (
            (self.vertical, right, 0, columns, rows, self.across - columns),
            (self.vertical, self.horizontal, 0, 0, rows, columns),
            (below, self.horizontal, rows, 0, self.down - rows, columns),
            (below, right, rows, columns, self.down - rows, self.across - columns),
        )
        made, first = [], 0
        for tall, wide, line, column, high, broad in places:
            if high * broad:
                made.append(Region(tall, wide, first, line, column, broad, high * broad))
                first += high * broad
        return tuple(made)

    def tiles(self, row: bool, column: bool) -> tuple[int, int]:
        """The first and the number of the tiles of a plane.

        Args:
            row: whether the smaller tiles lack its row of planes.
            column: whether they lack its column.
        """
        rows, columns = self.down - (self.below > 0), self.across - (self.right > 0)
        high, broad = (rows if row else self.down), (columns if column else self.across)
        return (rows * (self.across - columns) if column else 0), high * broad

    def lacking(self) -> tuple[range, range]:
        """The rows, and the columns, of planes that the smaller tiles have no products of."""
        below = self.vertical.lacks(self.below) if self.below else range(0)
        return below, self.horizontal.lacks(self.right) if self.right else range(0)

    def counts(self) -> Iterator[tuple[int, int]]:
        """How many planes have how many tiles."""
        lacks = self.lacking()
        for row in (False, True):
            high = len(lacks[0]) if row else self.vertical.products - len(lacks[0])
            for column in (False, True):
                broad = len(lacks[1]) if column else self.horizontal.products - len(lacks[1])
                if high * broad:
                    yield high * broad, self.tiles(row, column)[1]
