"""The multiply-add micro-kernel of all dense convolutions: the reduction of one register tile.

It runs over (input block, kernel row, kernel column) as real loops and over the channels of a block
a few at a time; each step loads `vectors` weights and, pixel by pixel, splats one input and
multiplies. Loading a splat right before its multiply-adds, and keeping kernel
rows and columns as loops, is what lets LLVM hold the tile in registers (`docs/performance.md`,
"Spills").
"""

from __future__ import annotations

from cnncc.kernels.convolution.conv_tile import Ahead, BlockSums, Pieces, Taps, Tile
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Type, Value

_LINE_ELEMS = 16  # of a line of the cache


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
    first = start if len(start) == tile.accumulators else start * (tile.rows * tile.columns)
    sums = _in_registers(b, tile, lanes, first)
    short = isinstance(pieces, BlockSums) and pieces.turns
    reduction = _Reduction(b, tile, taps, lanes, source, weights, ahead, short)
    if isinstance(pieces, BlockSums):
        sums = _block_by_block(b, reduction, taps.blocks, sums)
    elif pieces is None or taps.blocks == pieces.blocks:
        _, sums = reduction.over(0, taps.blocks, reduction.cursors(), sums)
    else:
        cut = _alike if pieces.zeros else _piecewise
        sums = cut(b, reduction, pieces, taps.blocks, sums)
    return _in_vectors(b, tile, lanes, sums)


def _in_registers(b: Builder, tile: Tile, lanes: int, vectors: list[Value]) -> list[Value]:
    """The vectors of all pixels as the registers in which they are summed."""
    found: list[Value] = []
    for pixel in range(0, len(vectors), tile.vectors):
        for first, width in tile.registers(lanes):
            vector, lane = vectors[pixel + first // lanes], first % lanes
            part = range(lane, lane + width)
            found.append(b.shuffle(vector, vector, part) if lane else resized(b, vector, width))
    return found


def _in_vectors(b: Builder, tile: Tile, lanes: int, sums: list[Value]) -> list[Value]:
    """The reverse; all vectors have `lanes` lanes."""
    count, found = len(tile.registers(lanes)), []
    for pixel in range(0, len(sums), count):
        own = sums[pixel : pixel + count]
        if count > tile.vectors:
            own = [b.shuffle(own[0], own[1], range(lanes)), *own[2:]]
        found += [resized(b, value, lanes) for value in own]
    return found


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
        self._packed = ahead.packed if ahead and ahead.packed else weights

    def cursors(self) -> list[Value]:
        """The element of the filters that comes first, and the one that is fetched first."""
        b, at = self.b, self.weights[1]
        cursor = at if isinstance(at, Value) else b.const(at, INDEX)
        if self.ahead is None or self.parts == 0:
            return [cursor]
        return [cursor, _first_fetched(b, self.ahead, self.parts, self._packed[1])]

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
                b.prefetch(self._packed[0], place, offset=line * _LINE_ELEMS)
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


def _first_fetched(b: Builder, ahead: Ahead, parts: int, panel: Index) -> Value:
    """The element where a tile begins to fetch; tiles behind the last part fetch it again."""
    number = b.imin(ahead.number, parts - 1)
    part = b.imul(number, b.idiv(ahead.elems, parts))
    found = b.iadd(panel, ahead.elems, part)
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
    registers = tile.registers(lanes)
    widths = [width for _, width in registers]
    filters = [b.load(*weights, width, offset=first + at) for at, width in registers]
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
