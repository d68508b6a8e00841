"""Softmax along any axis of row-major f32 arrays: three passes over lines, or over columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_major import (
    Buffers,
    for_size,
    grain_of,
    refuses_layouts,
    row_estimate,
    tail_mask,
)
from cnncc.kernels.scalars.lane_sums import across_lanes
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value

_OPERATIONS = 30.0  # of one vector in all passes, most of them for the exponential
# What a pass does with the vector at a place: from the value carried to the next one.
Body = Callable[[Value, Index, Value | None], Value]


class RowSoftmax(Kernel):
    """One work item is a line along the last axis, or a vector of lines side by side."""

    name: ClassVar[str] = "row_softmax"
    anchors: ClassVar[frozenset[str]] = frozenset({"softmax"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """F32 in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the softmax"
        if site.result.dtype is not DType.F32:
            return "computes f32 only"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Exponentials, and three passes over the memory."""
        lines = _Lines(site)
        side = lines.inner if lines.inner > 1 else lines.extent
        vectors = site.result.elems / side * -(-side // site.lanes)
        moved = 2.0 * site.result.size_bytes
        words = "along rows" if lines.inner == 1 else "column by column"
        return row_estimate(site, _OPERATIONS * vectors, words, moved=moved)

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        return [_Lines(site).launch()]


class _Lines:
    """The operand as [outer, extent, inner]; sums run over `extent`.

    Attributes:
        extent: elements of a line.
        inner: elements from one of them to the next.
    """

    def __init__(self, site: Site) -> None:
        shape, axis = site.result.shape, site.anchor.attrs.axis
        self.site = site
        self.lanes = site.lanes
        self.outer, self.extent = math.prod(shape[:axis]), shape[axis]
        self.inner = math.prod(shape[axis + 1 :])

    def launch(self) -> Launch:
        """The function, ready to run."""
        self.b = b = Builder("row_softmax")
        self.scalars = VectorScalars(b, self.lanes)
        buffers = Buffers(b, self.site)
        self.x, self.out = buffers.operand(self.site.anchor.args[0]), buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        panels = 1 if self.inner == 1 else -(-self.inner // self.lanes)
        with b.loop(lo, hi, hint="item") as items:
            line, panel = b.idiv(items.iv, panels), b.irem(items.iv, panels)
            self.first = b.iadd(b.imul(line, self.extent * self.inner), b.imul(panel, self.lanes))
            if self.inner == 1:
                self._passes(self._along, self._joined)
            else:
                for_size(b, self.inner, self.lanes, panel, self._columns)
        work = self.outer * panels
        grain = grain_of(work, 4.0 * self.site.result.elems)
        return Launch(b.func, tuple(buffers.args), work, grain)

    def _passes(
        self,
        walk: Callable[[float, Body], Value],
        join: Callable[[str, Value], Value],
    ) -> None:
        """The largest, the powers and their sum, the quotients."""
        b, s = self.b, self.scalars

        def highest(carried: Value, at: Index, mask: Value | None) -> Value:
            return self._kept(s.max(carried, self._load(self.x, at, mask)), carried, mask)

        top = join("max", walk(-math.inf, highest))

        def power(carried: Value, at: Index, mask: Value | None) -> Value:
            value = s.decay(s.sub(self._load(self.x, at, mask), top))
            b.store(self.out, at, value, mask=mask)
            return self._kept(s.add(carried, value), carried, mask)

        total = join("add", walk(0.0, power))
        factor = s.div(s.const(1.0), total)

        def scale(carried: Value, at: Index, mask: Value | None) -> Value:
            b.store(self.out, at, s.mul(self._load(self.out, at, mask), factor), mask=mask)
            return carried

        walk(0.0, scale)

    def _load(self, buffer: Value, at: Index, mask: Value | None) -> Value:
        return self.b.load(buffer, at, self.lanes, mask=mask)

    def _kept(self, more: Value, carried: Value, mask: Value | None) -> Value:
        """What lanes that are not masked make of a total."""
        return more if mask is None else self.b.select(mask, more, carried)

    def _along(self, start: float, body: Body) -> Value:
        """A pass over a line in lanes side by side."""
        b, whole = self.b, self.extent // self.lanes
        carried = b.const(start, vector(self.lanes))
        with b.loop(0, whole, carry=[carried], hint="turn") as loop:
            at = b.iadd(self.first, b.imul(loop.iv, self.lanes))
            loop.yields([body(loop.carried[0], at, None)])
        rest = self.extent - whole * self.lanes
        if not rest:
            return loop.results[0]
        at = b.iadd(self.first, whole * self.lanes)
        return body(loop.results[0], at, tail_mask(b, rest, self.lanes))

    def _joined(self, op: str, value: Value) -> Value:
        """All lanes joined, in every lane."""
        b = self.b
        total = across_lanes(b, lambda x, y: b.binary(op, x, y), [value])
        return b.splat(total, self.lanes)

    def _columns(self, width: int) -> None:
        """Passes over `width` lines in the lanes of one vector."""
        b, mask = self.b, tail_mask(self.b, width, self.lanes)

        def walk(start: float, body: Body) -> Value:
            carried = b.const(start, vector(self.lanes))
            with b.loop(0, self.extent, carry=[carried], hint="turn") as loop:
                at = b.iadd(self.first, b.imul(loop.iv, self.inner))
                loop.yields([body(loop.carried[0], at, mask)])
            return loop.results[0]

        self._passes(walk, lambda op, value: value)
