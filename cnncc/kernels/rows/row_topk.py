"""The largest or smallest elements of an axis: a heap in the result's memory, sorted at last."""

from __future__ import annotations

import math
from typing import ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.rows.heap_code import Entry, Heap, exceeds
from cnncc.kernels.rows.row_major import Buffers, grain_of, refuses_layouts, row_estimate
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Kind, Value

_CYCLES = 6.0  # of one comparison with the heap's top


class RowTopK(Kernel):
    """One work item is one line along the axis.

    The heap holds the best k elements so far, the worst of them on top: as numbers, or as places,
    whose numbers are then read from the operand.
    """

    name: ClassVar[str] = "row_topk"
    anchors: ClassVar[frozenset[str]] = frozenset({"topk_values", "topk_indices"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the selection"
        if site.types[site.anchor.args[0]].dtype is DType.F16:
            return "does not compute with f16"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """A comparison an element, and the way through the heap for k of them."""
        k, x = site.anchor.attrs.k, site.types[site.anchor.args[0]]
        work = x.elems + 2.0 * site.result.elems * (1.0 + math.log2(k))
        return row_estimate(site, 2 * _CYCLES * work, f"heaps of {k}")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        line = _Line(site)
        b = line.b
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            line.emit(items.iv)
        x = site.types[site.anchor.args[0]]
        work = x.elems // line.extent
        return [Launch(b.func, tuple(line.buffers.args), work, grain_of(work, 4.0 * x.elems))]


class _Line:
    """One line: `extent` elements of the operand, of which `k` come into the result."""

    def __init__(self, site: Site) -> None:
        attrs, x = site.anchor.attrs, site.types[site.anchor.args[0]]
        self.b = Builder(f"row_{site.anchor.op}")
        self.buffers = Buffers(self.b, site)
        self.x, self.out = self.buffers.operand(site.anchor.args[0]), self.buffers.result()
        self.scalars = VectorScalars(self.b, 1)
        self.is_float = x.dtype.is_float
        self.places = site.anchor.op == "topk_indices"
        self.largest: bool = attrs.largest
        self.k: int = attrs.k
        self.extent = x.shape[attrs.axis]
        self.pitch = math.prod(x.shape[attrs.axis + 1 :])

    def emit(self, item: Value) -> None:
        """The k best elements of the line, in order."""
        b = self.b
        outer, inner = b.idiv(item, self.pitch), b.irem(item, self.pitch)
        self.first = b.iadd(b.imul(outer, self.extent * self.pitch), inner)
        self.to = b.iadd(b.imul(outer, self.k * self.pitch), inner)
        heap = Heap(b, self._load, self._store, self._after, self.k)
        with b.loop(0, self.k, hint="i") as start:
            self._store(start.iv, self._given(start.iv))
        heap.order(self.k)
        with b.loop(self.k, self.extent, hint="i") as rest:
            entry = self._given(rest.iv)
            with b.when(self._after(self._load(0), entry)):
                heap.sift(0, entry, self.k)
        heap.sort(self.k)

    def _given(self, place: Index) -> Entry:
        """Element `place` of the line: its number, and its place where that is wanted."""
        b = self.b
        number = b.load(self.x, b.iadd(self.first, b.imul(place, self.pitch)))
        if not self.places:
            return (number,)
        return number, place if isinstance(place, Value) else b.convert(place, Kind.INDEX)

    def _load(self, slot: Index) -> Entry:
        found = self.b.load(self.out, self._slot(slot))
        return self._given(self.b.convert(found, Kind.INDEX)) if self.places else (found,)

    def _store(self, slot: Index, entry: Entry) -> None:
        value = self.b.convert(entry[1], Kind.I64) if self.places else entry[0]
        self.b.store(self.out, self._slot(slot), value)

    def _slot(self, slot: Index) -> Index:
        return self.b.iadd(self.to, self.b.imul(slot, self.pitch))

    def _after(self, a: Entry, b: Entry) -> Value:
        """Whether `a` comes behind `b` in the result."""
        low, high = (a[0], b[0]) if self.largest else (b[0], a[0])
        after = self._exceeds(high, low)
        if not self.places:
            return after
        before = self._exceeds(low, high)
        alike = self.b.unary("not", self.b.binary("or", before, after))
        later = self.b.compare("gt", a[1], b[1])
        return self.b.binary("or", after, self.b.binary("and", alike, later))

    def _exceeds(self, a: Value, b: Value) -> Value:
        return exceeds(self.scalars, a, b, is_float=self.is_float, nan="highest")
