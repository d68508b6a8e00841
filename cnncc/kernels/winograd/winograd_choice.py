"""Which minimal filtering a convolution has: its shape, transforms, tiles and registers."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.layout import Halo
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_regions import Fringe

IDENTITY = CookToom(1, 1)
# Rule C of the tolerances: |error| <= u (K T + (4 + 2 sqrt(n)) S). K by products of the two
# transforms, 2.5 to 4 times the worst of `docs/decisions/026-winograd.md`.
_ROUNDING = {
    (1, 4): 16.0,
    (1, 5): 16.0,
    (1, 6): 40.0,
    (1, 8): 168.0,
    (1, 9): 40.0,
    (4, 4): 16.0,
    (4, 6): 48.0,
    (5, 5): 16.0,
    (5, 9): 28.0,
    (6, 6): 64.0,
    (7, 7): 12.0,
    (9, 9): 72.0,
}
_MOST_FETCHING = 8  # register tiles of a block; for more, waiting for their filters is little


@dataclass(frozen=True, slots=True)
class WinogradShape:
    """What decides about a convolution.

    Attributes:
        rows: of the result, before a pool.
        columns: of it.
        in_blocks: blocks of input channels of a group.
        out_blocks: blocks of output channels of a group.
        groups: groups of channels.
        kernel: rows and columns of the filter.
        strides: down and across.
        window: rows and columns of a pool behind it, else (1, 1); a tile holds whole windows.
        dilations: down and across; 1 along an axis of one tap.
        channels: input channels of a group that are multiplied, where they do not fill the blocks;
            0 for all.
    """

    rows: int
    columns: int
    in_blocks: int
    out_blocks: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    channels: int = 0

    @property
    def phases(self) -> tuple[int, int]:
        """Rows, and columns, after which results see the inputs between those of the first."""
        return min(self.dilations[0], self.rows), min(self.dilations[1], self.columns)

    @property
    def phase_rows(self) -> int:
        """Rows of the largest phase."""
        return -(-self.rows // self.phases[0])

    @property
    def phase_columns(self) -> int:
        """Columns of the largest phase."""
        return -(-self.columns // self.phases[1])

    @property
    def dilated(self) -> bool:
        """Whether there are phases."""
        return self.dilations != (1, 1)


@dataclass(frozen=True, slots=True)
class WinogradChoice:
    """Transforms, tiles and registers.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        phases: of a dilated convolution, down and across: each is a map of its own.
        dilations: rows and columns from one pixel of a phase to the next.
        down: tiles in a column of a phase.
        across: tiles in a row.
        block: tiles that are transformed together.
        tile: register tile of the products; its columns are tiles.
        cycles: predicted time of one thread.
        streamed: cycles of it in which filters come from memory, once, hidden or not.
        again: cycles of it in which the inputs of a block are transformed.
        sums: registers of each product: 2 where blocks of channels are summed apart, 3 where every
            turn of the loop is, too.
        fringe: results of the smaller tiles of the last row and column, 0 where there are none.
    """

    vertical: CookToom
    horizontal: CookToom
    phases: tuple[int, int]
    dilations: tuple[int, int]
    down: int
    across: int
    block: int
    tile: Tile
    cycles: float
    streamed: float
    again: float
    sums: int = 1
    fringe: tuple[int, int] = (0, 0)

    @property
    def regions(self) -> Fringe:
        """The tiles by their size."""
        return Fringe(self.vertical, self.horizontal, self.down, self.across, *self.fringe)

    @property
    def products(self) -> int:
        """Multiplications for a pair of channels."""
        if self.fringe == (0, 0):
            return self.planes * self.tiles
        return sum(planes * tiles for planes, tiles in self.regions.counts())

    @property
    def planes(self) -> int:
        """Products of matrices."""
        return self.vertical.products * self.horizontal.products

    @property
    def tiles(self) -> int:
        """Tiles that cover the result."""
        return self.phases[0] * self.phases[1] * self.down * self.across

    @property
    def expands(self) -> bool:
        """Whether filters are transformed while they are multiplied."""
        return self.vertical.expands

    @property
    def filters(self) -> int:
        """Numbers that are kept of the taps of a channel."""
        taps = self.vertical.taps * self.horizontal.taps
        return taps if self.expands else self.planes

    @property
    def rounding(self) -> float:
        """K of the tolerances' rule C."""
        return rounding_of(self.vertical, self.horizontal)

    @property
    def extents(self) -> tuple[int, int]:
        """Rows and columns of inputs that the tiles of a phase read."""
        return _extent(self.vertical, self.down), _extent(self.horizontal, self.across)

    def halo(self, pads: tuple[int, int], height: int, width: int) -> Halo:
        """Zero pixels around an input picture so that no tile needs code of its own."""
        bottom, right = (
            (phases - 1) + (extent - 1) * dilation + 1
            for phases, extent, dilation in zip(
                self.phases, self.extents, self.dilations, strict=True
            )
        )
        return pads[0], pads[1], max(0, bottom - pads[0] - height), max(0, right - pads[1] - width)

    def __str__(self) -> str:
        v, h = self.vertical, self.horizontal
        name = f"F({v.outputs}x{h.outputs}, {v.taps}x{h.taps})"
        if (v.stride, h.stride) != (1, 1):
            name += f" of stride {v.stride}x{h.stride}"
        if self.dilations != (1, 1):
            name += f" over {self.phases[0]}x{self.phases[1]} phases"
        if self.fringe != (0, 0):
            below, right = (
                n or whole.outputs for n, whole in zip(self.fringe, (v, h), strict=True)
            )
            name += f" and {below}x{right} at the edges"
        if self.expands:
            name += " of plain filters"
        size = f"{self.tile.columns}x{self.tile.vectors}"
        return f"{name}, blocks of {self.block} tiles, {size} registers"


def _extent(f: CookToom, tiles: int) -> int:
    """Inputs that so many tiles in a row read."""
    return (tiles * f.outputs - 1) * f.stride + f.taps


def fetches_ahead(tiles: int, tile: Tile) -> bool:
    """Whether a plane's filters are fetched while those of the one before it are multiplied."""
    return -(-tiles // tile.columns) <= _MOST_FETCHING


def rounds_known(vertical: CookToom, horizontal: CookToom) -> bool:
    """Whether there is a `rounding_of` the pair."""
    least, most = sorted((vertical.products, horizontal.products))
    return (least, most) in _ROUNDING


def rounding_of(vertical: CookToom, horizontal: CookToom) -> float:
    """K of the tolerances' rule C for a pair of transforms."""
    least, most = sorted((vertical.products, horizontal.products))
    return _ROUNDING[least, most]
