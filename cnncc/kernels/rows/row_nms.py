"""Non-maximum suppression: boxes by falling score, each against those of its class that stay.

A heap of box numbers gives them one after another, so that boxes behind the last one wanted are
never put in order. Overlaps are computed in f64, as the operator's definition does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.ir.types import DType
from cnncc.kernels.rows.heap_code import Entry, Heap, exceeds
from cnncc.kernels.rows.row_major import Buffers, refuses_layouts, row_estimate
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Kind, Type, Value
from cnncc.ops.suppression import NonMaxSuppressionAttrs

_CYCLES = 30.0  # of one overlap
_WAITING, _FOUND = 0, 1  # what the counters count: boxes in the heap, rows so far


class RowNms(Kernel):
    """One work item: rows of all images and classes follow each other."""

    name: ClassVar[str] = "row_nms"
    anchors: ClassVar[frozenset[str]] = frozenset({"non_max_suppression"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order."""
        if len(site.steps) > 1:
            return "takes no steps behind the selection"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """A way through the heap for each box, and overlaps of those that come out of it."""
        scores = site.types[site.anchor.args[1]]
        boxes = scores.shape[2]
        wanted = min(site.anchor.attrs.max_output, boxes)
        pairs = scores.elems / boxes * min(4.0 * wanted, boxes) * wanted / 2
        return row_estimate(site, 2 * (_CYCLES * pairs + 20.0 * scores.elems), "one thread")

    def lower(self, site: Site) -> list[Launch]:
        """One launch of one work item."""
        nest = _Suppression(site)
        b = nest.b
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item"):
            nest.emit()
        return [Launch(b.func, tuple(nest.buffers.args), 1)]


@dataclass(frozen=True, slots=True)
class _Box:
    """Edges, lengths of the sides and the area of a box, as f64."""

    low: tuple[Value, Value]
    high: tuple[Value, Value]
    area: Value


class _Suppression:
    def __init__(self, site: Site) -> None:
        self.attrs: NonMaxSuppressionAttrs = site.anchor.attrs
        self.images, self.classes, self.count = site.types[site.anchor.args[1]].shape
        self.rows = site.result.shape[0]
        self.b = b = Builder("row_nms")
        self.buffers = Buffers(b, site)
        self.boxes, self.scores = (self.buffers.operand(a) for a in site.anchor.args)
        self.out = self.buffers.result()
        self.scalars = VectorScalars(b, 1)
        self.waiting = self.buffers.scratch("waiting", self.count, Kind.I32)
        self.counters = b.alloc(2, Kind.I64, "counters")

    def emit(self) -> None:
        """All images and classes, in order; then rows of -1."""
        b = self.b
        self._set(_FOUND, 0)
        with (
            b.loop(0, self.images, hint="image") as image,
            b.loop(0, self.classes, hint="class") as which,
        ):
            self._class(image.iv, which.iv)
        none = b.const(-1, Type(Kind.I64))
        with b.loop(b.imul(self._get(_FOUND), 3), 3 * self.rows, hint="rest") as rest:
            b.store(self.out, rest.iv, none)

    # -- one class of one image --------------------------------------------------------------------

    def _class(self, image: Value, which: Value) -> None:
        b = self.b
        self.first_box = b.imul(image, self.count)
        self.first_score = b.imul(b.iadd(b.imul(image, self.classes), which), self.count)
        heap = Heap(b, self._load, self._store, self._before, self.count)
        self._gather()
        size = self._get(_WAITING)
        heap.order(size)
        start = self._get(_FOUND)
        end = b.iadd(start, min(self.attrs.max_output, self.count))
        with b.loop(0, size, hint="turn") as turns:
            row = self._get(_FOUND)
            with b.when(b.compare("lt", row, end)):
                left = b.isub(b.isub(size, 1), turns.iv)
                top, last = self._load(0), self._load(left)
                with b.when(b.compare("gt", left, 0)):
                    heap.sift(0, last, left)
                with b.when(self._stays(top[0], start, row)):
                    for column, value in enumerate((image, which, top[0])):
                        place = b.iadd(b.imul(row, 3), column)
                        b.store(self.out, place, b.convert(value, Kind.I64))
                    self._set(_FOUND, b.iadd(row, 1))

    def _gather(self) -> None:
        """The numbers of the boxes whose score is high enough."""
        b, least = self.b, self.attrs.score_threshold
        self._set(_WAITING, 0)
        with b.loop(0, self.count, hint="box") as boxes:
            box = boxes.iv

            def take() -> None:
                slot = self._get(_WAITING)
                b.store(self.waiting, slot, b.convert(box, Kind.I32))
                self._set(_WAITING, b.iadd(slot, 1))

            if least is None:
                take()
                return
            score = b.load(self.scores, b.iadd(self.first_score, box))
            with b.when(b.compare("gt", score, b.const(float(np.float32(least))))):
                take()

    def _stays(self, box: Value, start: Index, row: Index) -> Value:
        """Whether a box overlaps none of those in rows `start ..< row` too much."""
        b = self.b
        own = self._box(box)
        free = b.const(True, Type(Kind.BOOL))
        with b.loop(start, row, carry=[free], hint="kept") as kept:
            number = b.load(self.out, b.iadd(b.imul(kept.iv, 3), 2))
            other = self._box(b.convert(number, Kind.INDEX))
            kept.yields([b.binary("and", kept.carried[0], self._apart(own, other))])
        return kept.results[0]

    def _apart(self, a: _Box, b: _Box) -> Value:
        """Whether the intersection over the union is not above the threshold."""
        s = self.scalars
        zero = s.const(0.0, DType.F64)
        sides = [
            s.max(s.sub(s.min(a.high[k], b.high[k]), s.max(a.low[k], b.low[k])), zero)
            for k in range(2)
        ]
        shared = s.mul(sides[0], sides[1])
        union = s.sub(s.add(a.area, b.area), shared)
        limit = s.const(float(np.float32(self.attrs.iou_threshold)), DType.F64)
        over = s.gt(s.div(shared, union), limit)
        for area in (a.area, b.area, union):
            over = s.bit_and(over, s.gt(area, zero))
        apart: Value = s.bit_not(over)
        return apart

    def _box(self, number: Value) -> _Box:
        b, s = self.b, self.scalars
        place = b.imul(b.iadd(self.first_box, number), 4)
        given = [b.convert(b.load(self.boxes, place, offset=k), Kind.F64) for k in range(4)]
        if self.attrs.center_point:
            half = s.const(0.5, DType.F64)
            middle, size = (given[1], given[0]), (given[3], given[2])
            reach = [s.mul(extent, half) for extent in size]
            low = [s.sub(m, r) for m, r in zip(middle, reach, strict=True)]
            high = [s.add(m, r) for m, r in zip(middle, reach, strict=True)]
        else:
            low = [s.min(given[k], given[k + 2]) for k in range(2)]
            high = [s.max(given[k], given[k + 2]) for k in range(2)]
        area = s.mul(s.sub(high[0], low[0]), s.sub(high[1], low[1]))
        return _Box((low[0], low[1]), (high[0], high[1]), area)

    # -- the heap of waiting boxes, and counters ---------------------------------------------------

    def _load(self, slot: Index) -> Entry:
        b = self.b
        box = b.convert(b.load(self.waiting, slot), Kind.INDEX)
        return box, b.load(self.scores, b.iadd(self.first_score, box))

    def _store(self, slot: Index, entry: Entry) -> None:
        self.b.store(self.waiting, slot, self.b.convert(entry[0], Kind.I32))

    def _before(self, a: Entry, b: Entry) -> Value:
        """Whether `a` comes first: by score, then by number; NaN is the lowest score."""
        code = self.b
        higher, lower = (
            exceeds(self.scalars, x[1], y[1], is_float=True, nan="lowest")
            for x, y in ((a, b), (b, a))
        )
        alike = code.unary("not", code.binary("or", higher, lower))
        earlier = code.compare("lt", a[0], b[0])
        return code.binary("or", higher, code.binary("and", alike, earlier))

    def _get(self, counter: int) -> Value:
        return self.b.convert(self.b.load(self.counters, counter), Kind.INDEX)

    def _set(self, counter: int, number: Index) -> None:
        self.b.store(self.counters, counter, self.b.convert(number, Kind.I64))
