"""Pointwise operators on row-major arrays of any rank and type: one pass for a chain of them."""

from __future__ import annotations

import math
from typing import ClassVar

from cnncc import ops  # noqa: F401 - registers the operators that are asked for below
from cnncc.ir.op import Trait, registered
from cnncc.kernels.rows.row_major import (
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
from cnncc.loopir.nodes import Index, Stmt, Value, sub_bodies

# Vectors side by side in a turn of the loop, by statements that one of them takes: short chains
# wait for their operands, long ones fill the machine alone.
_UNROLLED = ((24, 4), (60, 2))


class RowPointwise(Kernel):
    """One work item is a row of the result (axes that all operands walk alike are one), or a piece.

    Elements beyond the last whole vector are done under a mask.
    """

    name: ClassVar[str] = "row_pointwise"
    anchors: ClassVar[frozenset[str]] = frozenset(
        name for name, op in registered().items() if Trait.POINTWISE in op.traits
    )
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """All steps are pointwise, and everything lies in row-major order."""
        return refuses_layouts(site) or refuses_steps(site, first=0)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and a few operations a step."""
        choice = f"{len(site.steps)} step{'s' if len(site.steps) > 1 else ''} a pass"
        steps = RowSteps(site, first=0, joined=True)
        rows = math.prod(steps.dims[:-1])
        return row_estimate(site, steps.operations + 4.0 * rows, choice)

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        steps = RowSteps(site, first=0, joined=True)
        b = Builder("row_" + "_".join(dict.fromkeys(s.op for s in site.steps)))
        buffers = Buffers(b, site)
        steps.declare(buffers)
        out = buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        lanes, outer = site.lanes, steps.dims[:-1]
        chunks = Chunks(steps.dims[-1], lanes, _unroll(site))
        with b.loop(lo, hi, hint="item") as items:
            number, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
            row = split(b, number, outer)
            steps.open(b, row)
            steps.preload(b, lanes)
            base = b.imul(number, steps.dims[-1]) if outer else 0

            def body(at: Index, offset: int, mask: Value | None) -> None:
                value = steps.apply(b, None, at, lanes, offset=offset, mask=mask)
                b.store(out, b.iadd(base, at), value, offset=offset, mask=mask)

            chunks.emit(b, chunk, body)
        work = math.prod(outer) * chunks.count
        return [Launch(b.func, tuple(buffers.args), work, grain_of(work, site.result.elems))]


def _unroll(site: Site) -> int:
    """How many vectors a turn of the loop takes."""
    steps = RowSteps(site, first=0, joined=True)
    b = Builder("trial")
    steps.declare(Buffers(b, site))
    steps.open(b, [0] * (len(steps.dims) - 1))
    steps.apply(b, None, 0, site.lanes)
    count = _statements(b.func.body)
    return next((turns for most, turns in _UNROLLED if count <= most), 1)


def _statements(body: list[Stmt]) -> int:
    return sum(1 + sum(map(_statements, sub_bodies(s))) for s in body)
