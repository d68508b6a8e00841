"""The register tile of all dense convolutions: its size, its walk over the input, its sums.

A tile is `rows x columns` output pixels times `vectors` vectors of output channels, all held in
accumulators.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnncc.kernels.convolution.conv_depth import DepthTable, depth_of
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import ScratchArg, scratch_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_MOST_PIECE = 4  # input blocks
MOST_HALVED = 9  # pixels of three narrow registers each, beside filters and splats
MOST_FETCHING = 64  # tiles of a panel beyond which waiting for the first one's filters is nothing


@dataclass(frozen=True, slots=True)
class Taps:
    """How a tile walks over its input.

    Attributes:
        blocks: input channel blocks to add up (an index parameter where one function serves
            convolutions of different depths).
        block: channels in each.
        rows: kernel rows (an index parameter where they differ from call to call).
        columns: kernel columns.
        row_step: input rows from one kernel row to the next.
        column_step: input columns from one kernel column to the next.
        pixel_row_step: input rows from one output row of the tile to the next.
        pixel_column_step: input columns from one output column of the tile to the next.
        plane_pitch: elements from one input block to the next.
        row_pitch: elements from one input row to the next.
        depth: the channels of each block that are added up; all of them if it is not given.
        group: channels that each lane sees, those of its own group, where a block holds several
            groups; 0 where all lanes see all channels.
    """

    blocks: Index
    block: int
    rows: Index
    columns: Index
    row_step: int
    column_step: int
    pixel_row_step: int
    pixel_column_step: int
    plane_pitch: int
    row_pitch: int
    depth: DepthTable | None = None
    group: int = 0

    def offset(self, row: int, column: int) -> int:
        """Elements from the first pixel of a tile to another one."""
        return (
            row * self.pixel_row_step * self.row_pitch
            + column * self.pixel_column_step * self.block
        )

    @property
    def walk(self) -> DepthTable:
        """The depth, known."""
        return self.depth or DepthTable(depth_of(Layout(self.block, (self.block,), 1, 1), 1))


@dataclass(frozen=True, slots=True)
class Ahead:
    """Filters that are fetched into the second level of cache while others are multiplied.

    A panel's filters come from far away when its first tile wants them, and too late: so each of
    the panel's tiles fetches a part of those behind it, line by line between its multiply-adds.

    Attributes:
        elems: elements from a tile's filters to those behind the panel.
        number: the tile's number in its panel.
        tiles: tiles of a panel.
        packed: the buffer and the first element of the panel's own filters, where those that are
            multiplied were made of them.
    """

    elems: Index
    number: Index
    tiles: int
    packed: tuple[Value, Index] | None = None

    def parts(self, line_count: int) -> int:
        """How many tiles fetch, when a turn of the loop reads so many lines; 0 for none."""
        if self.tiles > MOST_FETCHING:
            return 0
        return max(n for n in range(1, line_count + 1) if line_count % n == 0 and n <= self.tiles)


@dataclass(frozen=True, slots=True)
class Tile:
    """Output pixels and vectors of output channels that are computed together.

    Attributes:
        rows: rows of pixels.
        columns: pixels of a row.
        vectors: vectors of output channels.
        last: lanes of the last vector where its channels fill no more than a narrower register;
            0 for all.
        side: rows of the tiles that cover the last columns of a map where those are fewer than
            `columns`; 0 for as many as `rows`.
    """

    rows: int
    columns: int
    vectors: int
    last: int = 0
    side: int = 0

    @property
    def accumulators(self) -> int:
        """Registers that hold partial sums."""
        return self.rows * self.columns * self.vectors

    def widths(self, lanes: int) -> list[int]:
        """Lanes of each vector."""
        return [lanes] * (self.vectors - 1) + [self.last or lanes]

    def registers(self, lanes: int) -> list[tuple[int, int]]:
        """First channel and lanes of each register of a pixel; by default those of its vectors.

        A whole vector beside a narrow one is two narrow ones where there are registers for that:
        multiply-adds of both widths in turns hinder each other.
        """
        if self.vectors == 2 and self.last and self.rows * self.columns <= MOST_HALVED:
            return [(first, self.last) for first in range(0, lanes + self.last, self.last)]
        return [(v * lanes, width) for v, width in enumerate(self.widths(lanes))]

    def count(self, rows: int, columns: int) -> int:
        """How many tiles cover a map."""
        return sum(count for _, _, count in tile_parts(rows, columns, self))

    def __str__(self) -> str:
        side = f" ({self.side} rows at the side)" if self.side else ""
        return f"{self.rows}x{self.columns} pixels{side} x {self.vectors} vectors"


@dataclass(frozen=True, slots=True)
class Pieces:
    """A long reduction as several short ones, whose sums are added up in memory.

    A chain of n multiply-adds rounds about sqrt(n/2) times, pieces of m about sqrt(m/2 + n/2m) (N.
    Higham, "The Accuracy of Floating Point Summation", 1993).

    Attributes:
        totals: scratch memory for the accumulators of the largest tile.
        blocks: input blocks of a piece; the first one may have fewer.
        zeros: the element of `totals` from which on as many zeros lie, to which the first piece is
            added, so that all share their code; 0 where it has code of its own, which short
            reductions want, for a load and an addition of each register are much for them.
    """

    totals: Value
    blocks: Index
    zeros: int = 0


@dataclass(frozen=True, slots=True)
class BlockSums:
    """A reduction whose blocks of channels are summed apart, and added to totals in registers.

    Additions have units beside those of multiply-adds on many machines, and nothing is stored; but
    a tile has twice or three times as many registers.

    Attributes:
        turns: whether each turn of the innermost loop is summed apart, too, and added to the sum
            of its block.
    """

    turns: bool = False


def piece_blocks(blocks: int, share: int, longest: int = _MOST_PIECE) -> int:
    """Input blocks of a piece: about one of `share` parts, but no more than `longest`.

    More pieces round less and take longer. They are of like length, but for the first.
    """
    most = max(1, min(longest, blocks // share))
    return -(-blocks // -(-blocks // most))


def declare_pieces(
    b: Builder, registers: int, lanes: int, blocks: Index
) -> tuple[Pieces, ScratchArg]:
    """Pieces for the function that begins here, and the argument that it takes for them.

    Args:
        b: at the function's first statement.
        registers: of the largest tile.
        lanes: f32 lanes of a vector.
        blocks: input blocks of a piece.
    """
    totals, arg = scratch_buffer(b, "totals", 2 * registers * lanes)
    zero = b.splat(b.const(0.0), lanes)
    with b.loop(0, registers, hint="n") as loop:
        b.store(totals, b.imul(b.iadd(registers, loop.iv), lanes), zero)
    return Pieces(totals, blocks, zeros=registers * lanes), arg


def tile_parts(rows: int, columns: int, tile: Tile) -> Iterator[tuple[int, int, int]]:
    """The sizes of tile that cover a feature map: (rows, columns, how many)."""
    full_columns, last_column = divmod(columns, tile.columns)
    strips = ((tile.rows, tile.columns, full_columns), (tile.side or tile.rows, last_column, 1))
    for height, width, across in strips:
        for h, down in ((height, rows // height), (rows % height, 1)):
            if h * width * down * across:
                yield h, width, down * across
