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
from functools import cache

from cnncc.errors import InternalError
from cnncc.kernels.conv_depth import DepthTable, depth_of
from cnncc.kernels.cost import pace
from cnncc.kernels.layout import Layout
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Type, Value
from cnncc.targets.target import Target

STORE_CYCLES = 2  # of a vector of the result
_TILE_OVERHEAD = 40.0  # cycles
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
        turns: whether each turn of the innermost loop is a piece as well, with registers of its
            own: its sum is added to an accumulator, which takes no time beside multiply-adds.
    """

    totals: Value
    blocks: Index
    turns: bool = False


def piece_blocks(blocks: int, share: int, longest: int = _MOST_PIECE) -> int:
    """Input blocks of a piece: about one of `share` parts, but no more than `longest`.

    More pieces round less and take longer. They are of like length, but for the first.
    """
    most = max(1, min(longest, blocks // share))
    return -(-blocks // -(-blocks // most))


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
    pieces: Pieces | None = None,
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
    short = pieces is not None and pieces.turns
    reduction = _Reduction(b, tile, taps, lanes, source, weights, ahead, short)
    if pieces is None or taps.blocks == pieces.blocks:
        _, sums = reduction.over(0, taps.blocks, reduction.cursors(), sums)
    else:
        sums = _piecewise(b, reduction, pieces, taps.blocks, sums)
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


@dataclass(frozen=True, slots=True)
class TileChoice:
    """The chosen tile and what the model says of it.

    Attributes:
        tile: the main tile; the last row and column of tiles may be smaller.
        cycles: predicted cycles of the whole feature map for one group of output channels.
        utilisation: share of the multiply-add units' peak.
        rejected: other candidates with their predicted cycles, the best first.
    """

    tile: Tile
    cycles: float
    utilisation: float
    rejected: tuple[tuple[Tile, float], ...]


@cache
def choose_tile(
    target: Target,
    rows: int,
    columns: int,
    out_blocks: int,
    steps: int,
    *,
    unit: tuple[int, int] = (1, 1),
    most_vectors: int | None = None,
    most_pixels: int | None = None,
    sums: int = 1,
    last: int = 0,
    sides: bool = False,
    pick: int = 0,
) -> TileChoice:
    """The tile with the fewest predicted cycles.

    Args:
        target: its `tiles` table says which tiles stay in registers.
        rows: output rows.
        columns: output columns.
        out_blocks: blocks of output channels (of one group); a tile's vectors must divide it.
        steps: products that each output element adds up.
        unit: rows and columns that must stay together in a tile (the window of a fused pool).
        most_vectors: an upper bound for the vectors of a tile.
        most_pixels: an upper bound for its pixels.
        sums: registers for each element of the result; 2 where turns are `Pieces`.
        last: lanes of the last vector of all where it is narrow, as in `Tile`.
        sides: whether the tiles of the last columns may have rows of their own.
        pick: the rank of the tile that is wanted, the best of those there are if too high.
    """
    spared = 1 - last / target.lanes() if last else 0.0
    options: list[tuple[float, int, Tile]] = []
    for held, vectors in target.tiles:
        pixels = min(held // sums, most_pixels or held)
        if out_blocks % vectors or vectors > (most_vectors or vectors):
            continue
        panels = out_blocks // vectors
        for r in range(unit[0], min(rows, pixels // unit[1]) + 1, unit[0]):
            for c in range(unit[1], min(columns, pixels // r) + 1, unit[1]):
                for side in _sides(rows, columns, pixels, (r, c)) if sides else [0]:
                    tile = Tile(r, c, vectors, side=side)
                    parts = list(tile_parts(rows, columns, tile))
                    cycles = sum(
                        count * (panels - 1) * tile_cycles(target, h * w, vectors, steps)
                        + count * tile_cycles(target, h * w, vectors - spared, steps)
                        for h, w, count in parts
                    )
                    options.append((cycles, len(parts), tile))
    options.sort(key=lambda o: (o[0], o[1], -o[2].vectors, -o[2].columns))
    if not options:
        raise InternalError(f"no register tile of `{target.name}` holds {unit} pixels")
    if pick < len(options):
        options.insert(0, options.pop(pick))
    cycles, _, tile = options[0]
    ideal = rows * columns * (out_blocks - spared) * steps / fma_per_cycle(target)
    rejected = tuple((t, c) for c, _, t in options[1:4])
    return TileChoice(tile, cycles, ideal / cycles, rejected)


def _sides(rows: int, columns: int, most_pixels: int, tile: tuple[int, int]) -> list[int]:
    """What `side` may be for a tile of so many rows and columns: registers full, or 0."""
    width = columns % tile[1]
    if width == 0 or rows == 1:
        return [0]
    tallest = min(rows, most_pixels // width)
    even = -(-rows // -(-rows // tallest))  # as many tiles, of like height
    return [0] if even == tile[0] else [0, even]


def tile_parts(rows: int, columns: int, tile: Tile) -> Iterator[tuple[int, int, int]]:
    """The sizes of tile that cover a feature map: (rows, columns, how many)."""
    full_columns, last_column = divmod(columns, tile.columns)
    strips = ((tile.rows, tile.columns, full_columns), (tile.side or tile.rows, last_column, 1))
    for height, width, across in strips:
        for h, down in ((height, rows // height), (rows % height, 1)):
            if h * width * down * across:
                yield h, width, down * across


def narrow_lanes(target: Target, channels: int) -> int:
    """Lanes of the register for a vector of so few channels; 0 where a whole one costs no more."""
    half = target.lanes() // 2
    return half if channels <= half and fma_per_cycle(target) < 2 else 0


def tile_cycles(target: Target, pixels: int, vectors: float, steps: int) -> float:
    """Predicted cycles of one tile; the part of a vector that is not whole is a narrow one.

    Each step takes as long as the slowest of its multiply-adds, its loads, the latency of a chain
    of multiply-adds, and the filters' way from the cache that a panel of them stays in.
    """
    fma = pixels * vectors / fma_per_cycle(target)
    loads = (pixels + vectors) / target.machine.loads
    vector_bytes = target.vector_bits // 8
    panel_bytes = steps * vectors * vector_bytes
    filters = vectors * vector_bytes / bytes_per_cycle(target, panel_bytes)
    return (
        steps * max(fma, loads, target.machine.fma_latency, filters)
        + _TILE_OVERHEAD
        + STORE_CYCLES * pixels * vectors
    )


def bytes_per_cycle(target: Target, working_set: float) -> float:
    """How fast numbers come that are read again and again and take so many bytes."""
    if working_set <= target.l1_bytes // 2:  # the input wants room too
        return target.machine.loads * target.vector_bits / 8
    return pace(target, working_set)


def fma_per_cycle(target: Target) -> float:
    """Vector multiply-adds that start in a cycle."""
    return target.machine.fmas
