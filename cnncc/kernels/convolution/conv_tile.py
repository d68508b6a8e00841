"""The multiply-add micro-kernel of all dense convolutions, and the choice of its register tile.

A tile is `rows x columns` output pixels times `vectors` vectors of output channels, all held in
accumulators. The reduction runs over (input block, kernel row, kernel column) as real loops and
over the channels of a block a few at a time; each step loads `vectors` weights and, pixel by pixel,
splats one input and multiplies. Loading a splat right before its multiply-adds, and keeping kernel
rows and columns as loops, is what lets LLVM hold the tile in registers (`docs/performance.md`,
"Spills").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnncc.kernels.convolution.conv_depth import DepthTable, depth_of
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import ScratchArg, scratch_buffer
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Type, Value

_MOST_PIECE = 4  # input blocks
_LINE_ELEMS = 16  # of a line of the cache
_MOST_FETCHING = 64  # tiles of a panel beyond which waiting for the first one's filters is nothing


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
    """

    elems: Index
    number: Index
    tiles: int

    def parts(self, line_count: int) -> int:
        """How many tiles fetch, when a turn of the loop reads so many lines; 0 for none."""
        if self.tiles > _MOST_FETCHING:
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


def emit_tile(
    b: Builder,
    tile: Tile,
    taps: Taps,
    lanes: int,
    source: tuple[Value, Index],
    weights: tuple[Value, Index],
    start: list[Value],
    *,
    ahead: Ahead | None = None,
    pieces: Pieces | BlockSums | None = None,
) -> list[Value]:
    """The reduction of one tile.

    Args:
        b: where the code goes.
        tile: pixels and vectors.
        taps: geometry of the input.
        lanes: f32 lanes of a vector.
        source: input buffer and the element under the first tap of the first pixel.
        weights: packed weights and the first element of this panel; they are read in order:
            `[block][kernel row][kernel column][channel][vectors * lanes]`.
        start: first values of the accumulators: one for each vector (bias, or zeros), or one for
            each of them.
        ahead: which filters to fetch meanwhile, none by default.
        pieces: how the reduction is cut; one chain of multiply-adds by default.

    Returns:
        The accumulators, in order (row, column, vector), all of `lanes` lanes.
    """
    widths = tile.widths(lanes) * (tile.rows * tile.columns)
    first = start if len(start) == tile.accumulators else start * (tile.rows * tile.columns)
    sums = [resized(b, value, width) for value, width in zip(first, widths, strict=True)]
    short = isinstance(pieces, BlockSums) and pieces.turns
    reduction = _Reduction(b, tile, taps, lanes, source, weights, ahead, short)
    if isinstance(pieces, BlockSums):
        sums = _block_by_block(b, reduction, taps.blocks, sums)
    elif pieces is None or taps.blocks == pieces.blocks:
        _, sums = reduction.over(0, taps.blocks, reduction.cursors(), sums)
    else:
        cut = _alike if pieces.zeros else _piecewise
        sums = cut(b, reduction, pieces, taps.blocks, sums)
    return [resized(b, value, lanes) for value in sums]


def _piecewise(
    b: Builder, reduction: _Reduction, pieces: Pieces, blocks: Index, start: list[Value]
) -> list[Value]:
    """The sums of all pieces: those so far lie in scratch memory while the next ones are made."""
    lanes, totals = reduction.lanes, pieces.totals
    zeros = [b.splat(b.const(0.0), lanes_of(value)) for value in start]
    more = b.idiv(b.isub(blocks, 1), pieces.blocks)
    lead = b.isub(blocks, b.imul(more, pieces.blocks))
    cursors, first = reduction.over(0, lead, reduction.cursors(), start)
    with b.loop(0, more, carry=[*cursors, *first], hint="piece") as loop:
        for n, value in enumerate(loop.carried[len(cursors) :]):
            b.store(totals, 0, value, offset=n * lanes)
        begin = b.iadd(lead, b.imul(loop.iv, pieces.blocks))
        moved, sums = reduction.over(begin, pieces.blocks, loop.carried[: len(cursors)], zeros)
        for n, value in enumerate(sums):
            total = b.load(totals, 0, lanes_of(value), offset=n * lanes)
            sums[n] = b.binary("add", total, value)
        loop.yields([*moved, *sums])
    return loop.results[len(cursors) :]


def _alike(
    b: Builder, reduction: _Reduction, pieces: Pieces, blocks: Index, start: list[Value]
) -> list[Value]:
    """The same by one code for all pieces: the first is added to zeros."""
    lanes, totals = reduction.lanes, pieces.totals
    zeros = [b.splat(b.const(0.0), lanes_of(value)) for value in start]
    more = b.idiv(b.isub(blocks, 1), pieces.blocks)
    short = b.isub(b.imul(b.iadd(more, 1), pieces.blocks), blocks)  # of the first piece
    carry = [*reduction.cursors(), *start]
    count = len(carry) - len(start)
    with b.loop(0, b.iadd(more, 1), carry=carry, hint="piece") as loop:
        cursors, before = loop.carried[:count], loop.carried[count:]
        first = b.compare("eq", loop.iv, 0)
        with b.when(b.compare("lt", 0, loop.iv)):
            for n, value in enumerate(before):
                b.store(totals, 0, value, offset=n * lanes)
        begin = b.imax(0, b.isub(b.imul(loop.iv, pieces.blocks), short))
        size = b.select(first, b.isub(pieces.blocks, short), pieces.blocks)
        moved, sums = reduction.over(begin, size, cursors, zeros)
        place = b.select(first, pieces.zeros, 0)
        for n, value in enumerate(sums):
            total = b.load(totals, place, lanes_of(value), offset=n * lanes)
            sums[n] = b.binary("add", total, value)
        loop.yields([*moved, *sums])
    return loop.results[count:]


def _block_by_block(
    b: Builder, reduction: _Reduction, blocks: Index, start: list[Value]
) -> list[Value]:
    """The sums of all blocks, each begun with zeros and added to the totals."""
    zeros = [b.splat(b.const(0.0), lanes_of(value)) for value in start]
    cursors = reduction.cursors()
    count = len(cursors)
    with b.loop(0, blocks, carry=[*cursors, *start], hint="piece") as loop:
        moved, sums = reduction.over(loop.iv, 1, loop.carried[:count], zeros)
        pairs = zip(loop.carried[count:], sums, strict=True)
        loop.yields([*moved, *(b.binary("add", *pair) for pair in pairs)])
    return loop.results[count:]


class _Reduction:
    """The loops over blocks, kernel rows, kernel columns and channels of one tile."""

    def __init__(
        self,
        b: Builder,
        tile: Tile,
        taps: Taps,
        lanes: int,
        source: tuple[Value, Index],
        weights: tuple[Value, Index],
        ahead: Ahead | None,
        short: bool,
    ) -> None:
        self.b, self.tile, self.taps, self.lanes = b, tile, taps, lanes
        self.source, self.weights, self.short = source, weights, short
        self.step = taps.group or taps.walk.step
        self.reading = self.step * tile.vectors * lanes  # elements of filters in one turn
        lines, rest = divmod(self.reading, _LINE_ELEMS)
        self.ahead = ahead
        self.parts = ahead.parts(lines) if ahead and not rest else 0

    def cursors(self) -> list[Value]:
        """The element of the filters that comes first, and the one that is fetched first."""
        b, at = self.b, self.weights[1]
        cursor = at if isinstance(at, Value) else b.const(at, INDEX)
        if self.ahead is None or self.parts == 0:
            return [cursor]
        return [cursor, _first_fetched(b, self.ahead, self.parts, cursor)]

    def over(
        self, first: Index, count: Index, cursors: list[Value], sums: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        """So many blocks from `first` on: where the cursors stand behind them, and the sums."""
        b, taps = self.b, self.taps
        # Outermost first, and what one turn adds to the input element.
        every: list[tuple[str, Index, int]] = [
            ("icb", count, taps.plane_pitch),
            ("kh", taps.rows, taps.row_step * taps.row_pitch),
            ("kw", taps.columns, taps.column_step * taps.block),
        ]
        nest = [loop for loop in every if loop[1] != 1]
        turns = 1 if taps.group else taps.walk.turns(b, first)
        position = b.iadd(self.source[1], b.imul(first, taps.plane_pitch))
        made = self._loops(nest, first, turns, position, [*cursors, *sums])
        return made[: len(cursors)], made[len(cursors) :]

    def _loops(
        self,
        nest: list[tuple[str, Index, int]],
        block: Index,
        turns: Index,
        position: Index,
        carry: list[Value],
    ) -> list[Value]:
        b = self.b
        if not nest and turns == 1:
            return self._turn(position, carry)
        name, extent, pitch = nest[0] if nest else ("ic", turns, self.step)
        with b.loop(0, extent, carry=carry, hint=name) as loop:
            inner = b.iadd(position, b.imul(loop.iv, pitch))
            deep = turns if nest else 1
            if name == "icb" and not self.taps.group:
                deep = self.taps.walk.turns(b, b.iadd(block, loop.iv))
            loop.yields(self._loops(nest[1:], block, deep, inner, loop.carried))
        return loop.results

    def _turn(self, position: Index, carry: list[Value]) -> list[Value]:
        """The channels that are unrolled."""
        b, tile, taps = self.b, self.tile, self.taps
        count = 2 if self.parts else 1
        (at, *near), acc = carry[:count], carry[count:]
        source, weights = (self.source[0], position), (self.weights[0], at)
        for place in near:
            for line in range(self.reading // self.parts // _LINE_ELEMS):
                b.prefetch(weights[0], place, offset=line * _LINE_ELEMS)
        if taps.group:
            acc = _multiply_add_groups(b, tile, taps, self.lanes, source, weights, acc)
        else:
            sums: list[Value] = [] if self.short else acc
            for channel in range(self.step):
                sums = _multiply_add(b, tile, taps, self.lanes, source, weights, sums, channel)
            if self.short:
                sums = [b.binary("add", *pair) for pair in zip(acc, sums, strict=True)]
            acc = sums
        moved = [b.binary("add", place, self.reading // self.parts) for place in near]
        return [b.binary("add", at, self.reading), *moved, *acc]


def _first_fetched(b: Builder, ahead: Ahead, parts: int, cursor: Value) -> Value:
    """The element where a tile begins to fetch; tiles behind the last part fetch it again."""
    number = b.imin(ahead.number, parts - 1)
    part = b.imul(number, b.idiv(ahead.elems, parts))
    found = b.iadd(cursor, ahead.elems, part)
    return found if isinstance(found, Value) else b.const(found, INDEX)


def lanes_of(value: Value) -> int:
    """Lanes of a scalar or vector."""
    return value.type.lanes if isinstance(value.type, Type) else 1


def resized(b: Builder, value: Value, lanes: int) -> Value:
    """The first `lanes` lanes; beyond the last one zeros."""
    have = lanes_of(value)
    if have == lanes:
        return value
    if have > lanes:
        return b.shuffle(value, value, range(lanes))
    return b.shuffle(value, b.splat(b.const(0.0), have), [min(i, have) for i in range(lanes)])


def _multiply_add(
    b: Builder,
    tile: Tile,
    taps: Taps,
    lanes: int,
    source: tuple[Value, Index],
    weights: tuple[Value, Index],
    acc: list[Value],
    channel: int,
) -> list[Value]:
    """One input channel: every pixel's splat against every weight vector, plus `acc` if any."""
    first = channel * tile.vectors * lanes
    widths = tile.widths(lanes)
    filters = [b.load(*weights, n, offset=first + v * lanes) for v, n in enumerate(widths)]
    result: list[Value] = []
    for row in range(tile.rows):
        for column in range(tile.columns):
            offset = taps.offset(row, column) + channel
            pixels = {n: b.load_splat(*source, n, offset=offset) for n in dict.fromkeys(widths)}
            for weight, n in zip(filters, widths, strict=True):
                if acc:
                    result.append(b.fma(pixels[n], weight, acc[len(result)]))
                else:
                    result.append(b.binary("mul", pixels[n], weight))
    return result


def _multiply_add_groups(
    b: Builder,
    tile: Tile,
    taps: Taps,
    lanes: int,
    source: tuple[Value, Index],
    weights: tuple[Value, Index],
    acc: list[Value],
) -> list[Value]:
    """All channels of a group: each lane's own ones are moved to it, pixel by pixel."""
    filters = [b.load(*weights, lanes, offset=j * lanes) for j in range(taps.group)]
    result: list[Value] = []
    for row in range(tile.rows):
        for column in range(tile.columns):
            pixel = b.load(*source, lanes, offset=taps.offset(row, column))
            total = acc[len(result)]
            for j, weight in enumerate(filters):
                own = [lane - lane % taps.group + j for lane in range(lanes)]
                total = b.fma(b.shuffle(pixel, pixel, own), weight, total)
            result.append(total)
    return result


def tile_parts(rows: int, columns: int, tile: Tile) -> Iterator[tuple[int, int, int]]:
    """The sizes of tile that cover a feature map: (rows, columns, how many)."""
    full_columns, last_column = divmod(columns, tile.columns)
    strips = ((tile.rows, tile.columns, full_columns), (tile.side or tile.rows, last_column, 1))
    for height, width, across in strips:
        for h, down in ((height, rows // height), (rows % height, 1)):
            if h * width * down * across:
                yield h, width, down * across
