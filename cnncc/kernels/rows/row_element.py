"""Every operator that says how one element of its result is computed: one kernel runs all rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, cast

from cnncc import ops  # noqa: F401 - registers the operators that are asked for below
from cnncc.ir.op import Cost, ElementBuilder, Trait, lookup, registered
from cnncc.ir.types import TensorType
from cnncc.kernels.rows.element_code import ElementCode
from cnncc.kernels.rows.place_code import Cut, NotVectorizable, Place
from cnncc.kernels.rows.row_major import (
    CHUNK,
    Buffers,
    Chunks,
    grain_of,
    refuses_layouts,
    row_estimate,
    split,
)
from cnncc.kernels.rows.row_steps import RowSteps, refuses_steps
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_MOST_PLACES = 1 << 30  # places in vectors are 32 bits wide
_MOST_CUTS = 8  # places where a row is cut
_CHAIN = 4.0  # operations that would find time while a sum waits for its next product
_SCALAR_CYCLES = 3.0  # an operation on one element, addresses and waiting counted


class RowElement(Kernel):
    """One work item is a row of the result, or a piece of a long one.

    Neighbours on the last axis are computed side by side where the rule has such a form (each place
    moves with the axis by 1, -1 or 0), else one after another.
    """

    name: ClassVar[str] = "row_element"
    anchors: ClassVar[frozenset[str]] = frozenset(
        name for name, op in registered().items() if Trait.ELEMENT in op.traits
    )
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order; steps behind the rule are pointwise."""
        if Trait.ELEMENT not in lookup(site.anchor.op).traits:
            return f"`{site.anchor.op}` has no rule for one element"
        if site.in_place in site.anchor.args:
            return "the result must not lie over an operand that is read at other places"
        return refuses_layouts(site) or refuses_steps(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and the operator's own count of operations."""
        operations, lanes = _operations(site), _nest(site).lanes
        if lanes == 1:
            return row_estimate(site, 2 * _SCALAR_CYCLES * operations, "one element at a time")
        return row_estimate(site, 2 * operations / lanes, f"{lanes} elements side by side")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        return [_nest(site).launch]


def _nest(site: Site) -> _Nest:
    """The loops, in vectors if the rule has that form for all parts of a row."""
    cuts: frozenset[int] = frozenset()
    lanes = _lanes(site)
    while lanes > 1:
        try:
            return _Nest(site, lanes, cuts)
        except Cut as cut:
            if not cut.points - cuts or len(cut.points | cuts) > _MOST_CUTS:
                break
            cuts |= cut.points
        except NotVectorizable:
            break
    return _Nest(site, 1)


def _lanes(site: Site) -> int:
    """Elements side by side: none for rows much shorter than a vector."""
    whole = (*site.types, site.result)
    row = site.result.shape[-1] if site.result.shape else 1
    if 2 * row < site.lanes or any(t.elems > _MOST_PLACES for t in whole):
        return 1
    return site.lanes


def _operations(site: Site) -> float:
    """Operations of all of it, a load and a store for each element at least."""
    step = site.anchor
    types = [site.types[a] for a in step.args]
    cost: Cost = lookup(step.op).cost(types, site.result, step.attrs)
    return _CHAIN * cost.macs + cost.flops + (2.0 + 2.0 * len(site.steps[1:])) * site.result.elems


class _Nest:
    """The loops around the rule.

    Attributes:
        lanes: elements side by side.
        launch: the function, ready to run.
    """

    def __init__(self, site: Site, lanes: int, cuts: frozenset[int] = frozenset()) -> None:
        self.site = site
        self.lanes = lanes
        self.op: Any = lookup(site.anchor.op)
        self.types = [site.types[a] for a in site.anchor.args]
        self.made: TensorType = self.op.infer(self.types, site.anchor.attrs)
        self.steps = RowSteps(site)
        self.b = b = Builder("row_" + "_".join(dict.fromkeys(s.op for s in site.steps)))
        buffers = Buffers(b, site)
        self.operands = [buffers.operand(a) for a in site.anchor.args]
        self.steps.declare(buffers)
        self.out = buffers.result()
        operations = _operations(site)
        shape = site.result.shape or (1,)
        size = int(CHUNK * site.result.elems / operations) * 2
        chunks = Chunks(shape[-1], lanes, size=max(lanes, size) if not cuts else shape[-1])
        self.ends = [0, *sorted(cuts), shape[-1]]
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            number, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
            self._row(split(b, number, shape[:-1]), b.imul(number, shape[-1]), chunk, chunks)
        work = math.prod(shape[:-1]) * chunks.count
        self.launch = Launch(b.func, tuple(buffers.args), work, grain_of(work, operations / 2))

    def _row(self, row: list[Index], base: Index, chunk: Index, chunks: Chunks) -> None:
        b = self.b
        self.steps.open(b, row)

        if len(self.ends) == 2:
            chunks.emit(b, chunk, self._body(row, base, (0, chunks.length)))
            return
        for part in pairwise(self.ends):
            length = part[1] - part[0]
            Chunks(length, self.lanes, size=length).emit(b, 0, self._body(row, base, part))

    def _body(
        self, row: list[Index], base: Index, part: tuple[int, int]
    ) -> Callable[[Index, int, Value | None], None]:
        """What computes and stores a vector of a part of a row."""

        def body(at: Index, offset: int, mask: Value | None) -> None:
            b, here = self.b, self.b.iadd(at, offset + part[0])
            count = self.lanes if mask is None else (part[1] - part[0]) % self.lanes
            value = self._element(row, here, count, part)
            value = self.steps.apply(b, value, here, self.lanes, mask=mask)
            b.store(self.out, b.iadd(base, here), value, mask=mask)

        return body

    def _element(self, row: list[Index], at: Index, count: int, part: tuple[int, int]) -> Value:
        """The rule at places `at`, `at + 1`, ... of a row."""
        shapes = [t.shape for t in self.types]
        code = ElementCode(self.b, self.operands, shapes, self.lanes, count, part)
        last = Place(at, 1, 0) if self.lanes > 1 else Place(at)
        index = [*map(Place, row), last] if self.made.shape else []
        builder = cast(ElementBuilder, code)
        attrs = self.site.anchor.attrs
        return code.many(self.op.element(builder, self.types, self.made, index, attrs))
