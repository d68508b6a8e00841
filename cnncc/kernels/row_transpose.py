"""Transposition of row-major arrays: squares of vectors go through registers.

Axes that stay neighbours are one axis. If the result's last axis is then the operand's too, runs
are copied; else a tile has vectors along the operand's last axis before and along the result's
behind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.copy_loops import transposed
from cnncc.kernels.row_major import (
    Buffers,
    Chunks,
    Shape,
    collapse,
    flat,
    for_size,
    grain_of,
    pitches_of,
    refuses_layouts,
    row_estimate,
    split,
    tail_mask,
)
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Kind, Type, Value

_UNROLLED = 4
_TILES = 8  # tiles of one work item along the result's last axis


@dataclass(frozen=True, slots=True)
class _Walk:
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


class RowTranspose(Kernel):
    """One work item is a run or a piece of one; or a strip of tiles."""

    name: ClassVar[str] = "row_transpose"
    anchors: ClassVar[frozenset[str]] = frozenset({"transpose"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the transposition"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and the shuffles of each tile or the vectors of each run."""
        walk, lanes = _walk(site), site.lanes
        if walk.source[-1] in (0, 1):
            vectors = site.result.elems / walk.dims[-1] * -(-walk.dims[-1] // lanes)
            return row_estimate(site, 4.0 * vectors, f"runs of {walk.dims[-1]}")
        ends = -(-walk.dims[-1] // lanes) * -(-walk.dims[walk.across] // lanes)
        tiles = site.result.elems / (walk.dims[-1] * walk.dims[walk.across]) * ends
        work = lanes * (2.0 + math.log2(lanes))
        return row_estimate(site, 2 * tiles * work, f"tiles of {lanes}x{lanes}")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        walk = _walk(site)
        b = Builder("row_transpose")
        buffers = Buffers(b, site)
        source, out = buffers.operand(site.anchor.args[0]), buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        if site.result.dtype is DType.BOOL:
            # Bytes are shuffled as they are; truth values would become bits and bytes again.
            source = b.view(source, 0, site.result.elems, kind=Kind.U8)
            out = b.view(out, 0, site.result.elems, kind=Kind.U8)
        emit = _runs if walk.source[-1] in (0, 1) else _tiles
        work = emit(b, site.lanes, walk, (source, out), (lo, hi))
        return [Launch(b.func, tuple(buffers.args), work, grain_of(work, site.result.elems))]


def _walk(site: Site) -> _Walk:
    perm = site.anchor.attrs.perm
    pitches = pitches_of(site.types[site.anchor.args[0]].shape)
    shape = site.result.shape
    dims, (source, out) = collapse(shape, tuple(pitches[p] for p in perm), pitches_of(shape))
    return _Walk(dims, source, out)


def _runs(
    b: Builder, lanes: int, walk: _Walk, buffers: tuple[Value, Value], part: tuple[Value, Value]
) -> int:
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


def _tiles(
    b: Builder, lanes: int, walk: _Walk, buffers: tuple[Value, Value], part: tuple[Value, Value]
) -> int:
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
        walk: _Walk,
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
