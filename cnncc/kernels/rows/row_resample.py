"""Resizing along one axis with indices and weights that the compiler knows.

Where the axis is not the last, each row of the result is a weighted sum of rows. Along the last
axis (or with very short rows behind it) as many rows as a vector has lanes are turned into columns
in scratch memory, so that weighted sums of those columns are the result's columns, and turned back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.moves.copy_loops import transposed
from cnncc.kernels.rows.row_major import (
    Buffers,
    Chunks,
    for_size,
    grain_of,
    refuses_layouts,
    row_estimate,
    tail_mask,
)
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Kind, Value

_UNROLLED_TAPS = 4
_UNROLLED = 2  # vectors in a turn of the loop over a row


class RowResample(Kernel):
    """One work item is a row of the result or a piece of it, or a group of lines along the axis."""

    name: ClassVar[str] = "row_resample"
    anchors: ClassVar[frozenset[str]] = frozenset({"resample"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Indices and weights are constants."""
        if len(site.steps) > 1:
            return "takes no steps behind the resampling"
        if any(site.constants[a] is None for a in site.anchor.args[1:]):
            return "wants indices and weights that are constants"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, the taps, and the shuffles where lines are turned."""
        shape, lanes = _Shape(site), site.lanes
        taps = 3.0 * shape.taps + 2.0
        if not shape.lines:
            return row_estimate(site, taps * site.result.elems / lanes, f"{shape.taps} rows each")
        groups = -(-shape.outer // lanes)
        turned = (shape.before + shape.after) * (2.0 + math.log2(lanes))
        work = groups * (turned + shape.after * taps)
        return row_estimate(site, 2.0 * work, f"{shape.taps} columns each, {lanes} lines")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        shape = _Shape(site)
        return [_Lines(site, shape).launch() if shape.lines else _Rows(site, shape).launch()]


class _Shape:
    """The operand as [outer, before, inner], the result as [outer, after, inner].

    Attributes:
        lines: whether `inner` is too short for vectors. It then counts as part of the axis.
        taps: summands of an element.
    """

    def __init__(self, site: Site) -> None:
        x, axis = site.types[site.anchor.args[0]].shape, site.anchor.attrs.axis
        indices, weights = (site.constant(a) for a in site.anchor.args[1:])
        self.outer, self.inner = math.prod(x[:axis]), math.prod(x[axis + 1 :])
        self.before = x[axis]
        self.indices: NDArray[np.int64] = np.clip(indices.astype(np.int64), 0, self.before - 1)
        self.weights: NDArray[np.float32] = np.asarray(weights, np.float32)
        self.lines = 2 * self.inner < site.lanes
        if self.lines:
            places = self.indices[:, None, :] * self.inner + np.arange(self.inner)[:, None]
            self.indices = places.reshape(-1, places.shape[-1])
            self.weights = np.repeat(self.weights, self.inner, axis=0)
            self.before, self.inner = self.before * self.inner, 1
        self.after, self.taps = self.indices.shape


class _Taps:
    """Weighted sums of vectors, in the order of the taps; those of weight 0 are left out."""

    def __init__(self, b: Builder, buffers: Buffers, shape: _Shape, lanes: int, pitch: int) -> None:
        self.b = b
        self.lanes = lanes
        self.count = shape.taps
        self.copies = shape.taps == 1 and bool((shape.weights == 1.0).all())
        self.skips = bool((shape.weights == 0.0).any())
        self.places = buffers.packed("places", shape.indices * pitch)
        if not self.copies:
            self.weights = buffers.packed("weights", shape.weights)

    def at(self, element: Index, load: Callable[[Value], Value]) -> Value:
        """Element `element` along the axis; `load` gives the vector at a place."""
        b, first = self.b, self.b.imul(element, self.count)
        if self.copies:
            return load(self._place(first))
        total = b.const(0.0, vector(self.lanes))
        if self.count <= _UNROLLED_TAPS:
            for tap in range(self.count):
                total = self._add(total, b.iadd(first, tap), load)
            return total
        with b.loop(0, self.count, carry=[total], hint="tap") as loop:
            loop.yields([self._add(loop.carried[0], b.iadd(first, loop.iv), load)])
        return loop.results[0]

    def _place(self, at: Index) -> Value:
        return self.b.convert(self.b.load(self.places, at), Kind.INDEX)

    def _add(self, total: Value, at: Index, load: Callable[[Value], Value]) -> Value:
        b = self.b
        weight, value = b.load(self.weights, at), load(self._place(at))
        more = b.fma(b.splat(weight, self.lanes), value, total)
        if not self.skips:
            return more
        return b.select(b.compare("ne", weight, b.const(0.0)), more, total)


class _Rows:
    """The axis is not the last: rows of `inner` elements are added."""

    def __init__(self, site: Site, shape: _Shape) -> None:
        self.site = site
        self.shape = shape

    def launch(self) -> Launch:
        """The function, ready to run."""
        shape, lanes = self.shape, self.site.lanes
        b = Builder("row_resample")
        buffers = Buffers(b, self.site)
        x = buffers.operand(self.site.anchor.args[0])
        taps = _Taps(b, buffers, shape, lanes, shape.inner)
        out = buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        chunks = Chunks(shape.inner, lanes, _UNROLLED)
        with b.loop(lo, hi, hint="item") as items:
            row, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
            outer, element = b.idiv(row, shape.after), b.irem(row, shape.after)
            first = b.imul(outer, shape.before * shape.inner)
            to = b.imul(row, shape.inner)

            def body(at: Index, offset: int, mask: Value | None) -> None:
                here = b.iadd(first, at)

                def load(place: Value) -> Value:
                    return b.load(x, b.iadd(here, place), lanes, offset=offset, mask=mask)

                b.store(out, b.iadd(to, at), taps.at(element, load), offset=offset, mask=mask)

            chunks.emit(b, chunk, body)
        work = shape.outer * shape.after * chunks.count
        elems = self.site.result.elems * shape.taps
        return Launch(b.func, tuple(buffers.args), work, grain_of(work, elems))


class _Lines:
    """Along the last axis: lines side by side in the lanes of vectors."""

    def __init__(self, site: Site, shape: _Shape) -> None:
        self.site = site
        self.shape = shape
        self.lanes = site.lanes

    def launch(self) -> Launch:
        """The function, ready to run."""
        shape, lanes = self.shape, self.lanes
        self.b = b = Builder("row_resample")
        buffers = Buffers(b, self.site)
        self.x = buffers.operand(self.site.anchor.args[0])
        self.taps = _Taps(b, buffers, shape, lanes, lanes)
        self.out = buffers.result()
        self.columns = buffers.scratch("columns", shape.before * lanes)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            for_size(b, shape.outer, lanes, items.iv, lambda n: self._group(items.iv, n))
        work = -(-shape.outer // lanes)
        elems = self.site.result.elems * shape.taps
        return Launch(b.func, tuple(buffers.args), work, grain_of(work, elems))

    def _group(self, number: Value, height: int) -> None:
        """A group of `height` lines."""
        b, shape, lanes = self.b, self.shape, self.lanes
        first = b.imul(number, lanes * shape.before)
        to = b.imul(number, lanes * shape.after)
        none = [b.const(0.0, vector(lanes))] * (lanes - height)

        def turn(at: Index, width: int) -> None:
            mask, here = tail_mask(b, width, lanes), b.iadd(first, at)
            lines = [
                b.load(self.x, here, lanes, offset=i * shape.before, mask=mask)
                for i in range(height)
            ]
            for i, column in enumerate(transposed(b, lines + none)[:width]):
                b.store(self.columns, b.imul(at, lanes), column, offset=i * lanes)

        def load(place: Value) -> Value:
            return b.load(self.columns, place, lanes)

        def turn_back(at: Index, width: int) -> None:
            mask, here = tail_mask(b, width, lanes), b.iadd(to, at)
            columns = [self.taps.at(b.iadd(at, i), load) for i in range(width)]
            columns += [b.const(0.0, vector(lanes))] * (lanes - width)
            for i, line in enumerate(transposed(b, columns)[:height]):
                b.store(self.out, here, line, offset=i * shape.after, mask=mask)

        self._tiles(shape.before, turn)
        self._tiles(shape.after, turn_back)

    def _tiles(self, length: int, body: Callable[[Index, int], None]) -> None:
        """`body(at, width)` for each tile along a line."""
        b, whole = self.b, length // self.lanes
        with b.loop(0, whole, hint="tile") as tiles:
            body(b.imul(tiles.iv, self.lanes), self.lanes)
        if length % self.lanes:
            body(whole * self.lanes, length % self.lanes)
