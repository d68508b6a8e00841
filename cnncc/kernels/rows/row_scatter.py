"""Updates put at places that an operand names: a copy, then one update after another."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_major import (
    Buffers,
    Chunks,
    flat,
    grain_of,
    pitches_of,
    refuses_layouts,
    row_estimate,
    split,
)
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Kind, Value

_UNROLLED = 4
_CYCLES = 8.0  # of one update


class RowScatter(Kernel):
    """One work item is the part of the result that the leading axes leave, up to the one indexed.

    A part is copied and then updated by one thread, so that updates come in their order.
    """

    name: ClassVar[str] = "row_scatter"
    anchors: ClassVar[frozenset[str]] = frozenset({"scatter_elements", "scatter_nd"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the updates"
        if site.result.dtype is DType.F16 and site.anchor.attrs.reduction != "none":
            return "does not compute with f16"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """A copy, and a few cycles an update."""
        _, _, updates = (site.types[a] for a in site.anchor.args)
        vectors = site.result.elems / site.lanes
        return row_estimate(site, 2 * vectors + 2 * _CYCLES * updates.elems, "updates in order")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        form: type[_Scatter] = _Elements if site.anchor.op == "scatter_elements" else _Slices
        return [form(site).launch()]


class _Scatter(ABC):
    """What both forms share: buffers, the copy, and what an update does."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.b = Builder(f"row_{site.anchor.op}")
        self.buffers = Buffers(self.b, site)
        operands = site.anchor.args
        self.x, self.indices, self.updates = (self.buffers.operand(a) for a in operands)
        self.out = self.buffers.result()
        self.shape, self.named, self.given = (site.types[a].shape for a in operands)
        self.pitches = pitches_of(self.shape)
        self.parts: Sequence[int] = ()

    def launch(self) -> Launch:
        """The function, ready to run."""
        b = self.b
        lo, hi = b.index_param("lo"), b.index_param("hi")
        size = math.prod(self.shape) // math.prod(self.parts)
        with b.loop(lo, hi, hint="item") as items:
            first = b.imul(items.iv, size)
            self._vectors(size, lambda at, lanes, mask: self._copy(first, at, lanes, mask))
            self.update(split(b, items.iv, self.parts), first)
        work = math.prod(self.parts)
        elems = math.prod(self.shape) + _CYCLES * math.prod(self.given)
        return Launch(b.func, tuple(self.buffers.args), work, grain_of(work, elems))

    @abstractmethod
    def update(self, part: list[Index], first: Index) -> None:
        """All updates of one part, whose elements begin at `first`."""

    def _vectors(self, count: int, body: Callable[[Index, int, Value | None], None]) -> None:
        """`body(at, lanes, mask)` for each vector of so many elements."""
        lanes = 1 if count < self.site.lanes else self.site.lanes
        chunks = Chunks(count, lanes, min(_UNROLLED, -(-count // lanes)), size=count)
        chunks.emit(self.b, 0, lambda at, off, mask: body(self.b.iadd(at, off), lanes, mask))

    def _copy(self, first: Index, at: Index, lanes: int, mask: Value | None) -> None:
        here = self.b.iadd(first, at)
        self.b.store(self.out, here, self.b.load(self.x, here, lanes, mask=mask), mask=mask)

    def _place(self, at: Index, extent: int) -> tuple[Value, Value]:
        """The index that lies there, counted from the front, and whether it is in range."""
        b = self.b
        place = b.convert(b.load(self.indices, at), Kind.INDEX)
        from_end = b.binary("add", place, extent)
        place = b.select(b.compare("lt", place, 0), from_end, place)
        inside = b.binary("and", b.compare("ge", place, 0), b.compare("lt", place, extent))
        return place, inside

    def _join(self, to: Index, source: Index, lanes: int, mask: Value | None) -> None:
        """Updates from `source` on, put to `to` or joined to what stands there."""
        b = self.b
        value = b.load(self.updates, source, lanes, mask=mask)
        reduction = self.site.anchor.attrs.reduction
        if reduction != "none":
            scalars: Any = VectorScalars(b, lanes)
            before = b.load(self.out, to, lanes, mask=mask)
            value = getattr(scalars, reduction)(before, value)
        b.store(self.out, to, value, mask=mask)


class _Elements(_Scatter):
    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.axis: int = site.anchor.attrs.axis
        self.parts = self.shape[: self.axis]

    def update(self, part: list[Index], first: Index) -> None:
        """Updates of a part, unless it lies outside of the indices."""
        b = self.b
        beyond = [
            b.compare("lt", place, n)
            for place, n, whole in zip(part, self.named, self.parts, strict=False)
            if n < whole and isinstance(place, Value)
        ]
        inner = self.named[self.axis :]
        count = math.prod(inner)

        def run() -> None:
            start = b.imul(flat(b, part, pitches_of(self.named[: self.axis])), count)
            with b.loop(0, count, hint="update") as loop:
                places = split(b, loop.iv, inner)
                source = b.iadd(start, loop.iv)
                place, inside = self._place(source, self.shape[self.axis])
                own = self.pitches[self.axis :]
                to = b.iadd(first, flat(b, [place, *places[1:]], own))
                with b.when(inside):
                    self._join(to, source, 1, None)

        if not beyond:
            run()
            return
        inside = beyond[0]
        for more in beyond[1:]:
            inside = b.binary("and", inside, more)
        with b.when(inside):
            run()


class _Slices(_Scatter):
    def update(self, part: list[Index], first: Index) -> None:
        """One slice after another."""
        b, counted = self.b, self.named[-1]
        size = math.prod(self.shape[counted:])
        with b.loop(0, math.prod(self.named[:-1]), hint="update") as loop:
            start = b.imul(loop.iv, counted)
            found = [self._place(b.iadd(start, k), self.shape[k]) for k in range(counted)]
            to = flat(b, [place for place, _ in found], self.pitches[:counted])
            inside = found[0][1]
            for _, more in found[1:]:
                inside = b.binary("and", inside, more)
            with b.when(inside):
                source = b.imul(loop.iv, size)
                self._vectors(
                    size,
                    lambda at, lanes, mask: self._join(
                        b.iadd(to, at), b.iadd(source, at), lanes, mask
                    ),
                )
