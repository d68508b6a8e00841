"""Concatenation of row-major arrays: one launch an operand, which copies its runs."""

from __future__ import annotations

import math
from typing import ClassVar

from cnncc.kernels.rows.row_major import Buffers, Chunks, grain_of, refuses_layouts, row_estimate
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_UNROLLED = 4


class RowConcat(Kernel):
    """One work item is a run of an operand (what lies together in the result), or a piece of it."""

    name: ClassVar[str] = "row_concat"
    anchors: ClassVar[frozenset[str]] = frozenset({"concat"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the concatenation"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and a load and a store for each vector of each run."""
        runs = _outer(site) * len(site.anchor.args)
        vectors = site.result.elems / site.lanes + runs
        return row_estimate(site, 2.0 * vectors + 4.0 * runs, "runs of each operand")

    def lower(self, site: Site) -> list[Launch]:
        """One launch for each operand."""
        launches, offset = [], 0
        for operand in site.anchor.args:
            run = site.types[operand].elems // _outer(site)
            launches.append(_copy(site, operand, run, offset))
            offset += run
        return launches


def _outer(site: Site) -> int:
    return math.prod(site.result.shape[: site.anchor.attrs.axis])


def _copy(site: Site, operand: int, run: int, offset: int) -> Launch:
    """Runs of `run` elements, `offset` elements into each run of the result."""
    outer = _outer(site)
    pitch = site.result.elems // outer
    b = Builder("row_concat")
    buffers = Buffers(b, site)
    source, out = buffers.operand(operand), buffers.result()
    lo, hi = b.index_param("lo"), b.index_param("hi")
    chunks = Chunks(run, site.lanes, _UNROLLED)
    with b.loop(lo, hi, hint="item") as items:
        number, chunk = b.idiv(items.iv, chunks.count), b.irem(items.iv, chunks.count)
        first, to = b.imul(number, run), b.imul(number, pitch)

        def body(at: Index, step: int, mask: Value | None) -> None:
            value = b.load(source, b.iadd(first, at), site.lanes, offset=step, mask=mask)
            b.store(out, b.iadd(to, at), value, offset=offset + step, mask=mask)

        chunks.emit(b, chunk, body)
    work = outer * chunks.count
    return Launch(b.func, tuple(buffers.args), work, grain_of(work, outer * run))
