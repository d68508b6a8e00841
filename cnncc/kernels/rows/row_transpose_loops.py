"""The loops of a transposition of row-major arrays, one function a shape of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnncc.kernels.moves.copy_loops import interleaved, transposed
from cnncc.kernels.rows.row_major import Chunks, Shape, flat, for_size, split, tail_mask
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Kind, Type, Value

_UNROLLED = 4
_TILES = 8  # tiles of one work item along the result's last axis
_MOST_PLANES = 4  # of an axis that is interleaved
Pair = tuple[Value, Value]


@dataclass(frozen=True, slots=True)
class Walk:
    """The result's axes, joined, and how the operand is walked along them.

    Attributes:
        dims: extents.
        source: elements between neighbours in the operand.
        out: the same in the result.
    """

    dims: Shape
    source: Shape
    out: Shape

    @property
    def across(self) -> int:
        """The axis along which the operand's elements are neighbours."""
        return self.source.index(1)

    @property
    def shape(self) -> str:
        """Which of the loops fits: `runs`, `zips`, `unzips` or `tiles`."""
        if self.source[-1] in (0, 1):
            return "runs"
        last = len(self.dims) - 1
        if self.across == last - 1 and self.dims[last] <= _MOST_PLANES:
            return "zips"
        if self.source[last] == self.dims[self.across] <= _MOST_PLANES:
            return "unzips"
        return "tiles"


def runs(b: Builder, lanes: int, walk: Walk, buffers: Pair, part: Pair) -> int:
    """Copies along the last axis; gives the number of work items."""
    outer, run = walk.dims[:-1], walk.dims[-1]
    chunks = Chunks(run, lanes, _UNROLLED)
    with b.loop(*part, hint="item") as items:
        number, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
        first, to = flat(b, split(b, number, outer), walk.source[:-1]), b.imul(number, run)

        def body(at: Index, offset: int, mask: Value | None) -> None:
            value = b.load(buffers[0], b.iadd(first, at), lanes, offset=offset, mask=mask)
            b.store(buffers[1], b.iadd(to, at), value, offset=offset, mask=mask)

        chunks.emit(b, chunk, body)
    return math.prod(outer) * chunks.count


def tiles(b: Builder, lanes: int, walk: Walk, buffers: Pair, part: Pair) -> int:
    """Squares through registers; gives the number of work items."""
    across, last = walk.across, len(walk.dims) - 1
    others = [axis for axis in range(last) if axis != across]
    down, along = (-(-walk.dims[axis] // lanes) for axis in (across, last))
    strips = -(-along // _TILES)
    counts = [walk.dims[axis] for axis in others]
    with b.loop(*part, hint="item") as items:
        *place, row, strip = split(b, items.iv, [*counts, down, strips])
        sides = []
        for pitches in (walk.source, walk.out):
            corner = flat(b, place, [pitches[axis] for axis in others])
            sides.append(b.iadd(corner, b.imul(row, lanes * pitches[across])))
        tile = _Tile(b, lanes, walk, buffers, (sides[0], sides[1]))
        with b.loop(
            b.imul(strip, _TILES), b.imin(b.imul(b.iadd(strip, 1), _TILES), along), hint="tile"
        ) as tiles:
            tile.emit_at(row, tiles.iv)
    return math.prod(counts) * down * strips


class _Tile:
    """One square: rows of the operand become rows of the result."""

    def __init__(
        self,
        b: Builder,
        lanes: int,
        walk: Walk,
        buffers: tuple[Value, Value],
        corner: tuple[Index, Index],
    ) -> None:
        self.b = b
        self.lanes = lanes
        self.walk = walk
        self.source, self.out = buffers
        self.corner = corner

    def emit_at(self, row: Index, tile: Index) -> None:
        """The tile of that number, smaller at the far edges."""
        b, lanes, dims = self.b, self.lanes, self.walk.dims

        def wide(height: int) -> None:
            for_size(b, dims[-1], lanes, tile, lambda width: self._emit(height, width, tile))

        for_size(b, dims[self.walk.across], lanes, row, wide)

    def _emit(self, height: int, width: int, tile: Index) -> None:
        """`width` vectors of `height` elements in, `height` vectors of `width` elements out."""
        b, walk, lanes = self.b, self.walk, self.lanes
        pitch, out_pitch = walk.source[-1], walk.out[walk.across]
        first = b.iadd(self.corner[0], b.imul(tile, lanes * pitch))
        to = b.iadd(self.corner[1], b.imul(tile, lanes))
        mask = tail_mask(b, height, lanes)
        rows = [
            b.load(self.source, first, lanes, offset=i * pitch, mask=mask) for i in range(width)
        ]
        if width < lanes:
            rows += [self._nothing(rows[0])] * (lanes - width)
        mask = tail_mask(b, width, lanes)
        for i, value in enumerate(transposed(b, rows)[:height]):
            b.store(self.out, to, value, offset=i * out_pitch, mask=mask)

    def _nothing(self, like: Value) -> Value:
        kind = like.type.kind if isinstance(like.type, Type) else Kind.F32
        zero = 0.0 if kind.is_float else 0
        return self.b.const(zero, vector(self.lanes, kind))


def zips(b: Builder, lanes: int, walk: Walk, buffers: Pair, part: Pair) -> int:
    """A few planes of the operand become neighbours; gives the number of work items."""
    planes, pitch = walk.dims[-1], walk.source[-1]
    outer, width = walk.dims[:-2], walk.dims[-2]
    chunks = Chunks(width, lanes)
    with b.loop(*part, hint="item") as items:
        number, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
        first = flat(b, split(b, number, outer), walk.source[:-2])
        to = b.imul(number, width * planes)

        def tile(at: Index, offset: int, mask: Value | None) -> None:
            at, count = b.iadd(at, offset), lanes if mask is None else width % lanes
            here = b.iadd(first, at)
            values = [
                b.load(buffers[0], here, lanes, offset=k * pitch, mask=mask) for k in range(planes)
            ]
            there = b.iadd(to, b.imul(at, planes))
            for k in range(-(-count * planes // lanes)):
                some = tail_mask(b, count * planes - k * lanes, lanes)
                joined = interleaved(b, values, lanes, k)
                b.store(buffers[1], there, joined, offset=k * lanes, mask=some)

        chunks.emit(b, chunk, tile)
    return math.prod(outer) * chunks.count


def unzips(b: Builder, lanes: int, walk: Walk, buffers: Pair, part: Pair) -> int:
    """Neighbours of the operand become a few planes; gives the number of work items."""
    across, width = walk.across, walk.dims[-1]
    planes, pitch = walk.dims[across], walk.out[across]
    others = [axis for axis in range(len(walk.dims) - 1) if axis != across]
    outer = [walk.dims[axis] for axis in others]
    chunks = Chunks(width, lanes)
    with b.loop(*part, hint="item") as items:
        number, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
        place = split(b, number, outer)
        first, to = (
            flat(b, place, [pitches[axis] for axis in others])
            for pitches in (walk.source, walk.out)
        )

        def tile(at: Index, offset: int, mask: Value | None) -> None:
            at, count = b.iadd(at, offset), lanes if mask is None else width % lanes
            here, there = b.iadd(first, b.imul(at, planes)), b.iadd(to, at)
            values = []
            for k in range(-(-count * planes // lanes)):
                some = tail_mask(b, count * planes - k * lanes, lanes)
                values.append(b.load(buffers[0], here, lanes, offset=k * lanes, mask=some))
            for k in range(planes):
                plane = _every(b, values, lanes, planes, k)
                b.store(buffers[1], there, plane, offset=k * pitch, mask=mask)

        chunks.emit(b, chunk, tile)
    return math.prod(outer) * chunks.count


def _every(b: Builder, values: list[Value], lanes: int, step: int, first: int) -> Value:
    """Elements `first`, `first + step`, ... of vectors one behind the other."""
    picks = [divmod(first + step * lane, lanes) for lane in range(lanes)]
    value = values[0]
    for number in range(len(values)):
        order = [
            lanes + place if source == number else (place if number == 1 and source == 0 else lane)
            for lane, (source, place) in enumerate(picks)
        ]
        if number or len(values) == 1:
            value = b.shuffle(value, values[number], order)
    return value
