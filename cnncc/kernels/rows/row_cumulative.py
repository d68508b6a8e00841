"""Running sums and products along an axis: one pass, neighbouring lines in lanes side by side."""

from __future__ import annotations

import math
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
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_WAIT = 5.0  # cycles of a sum that waits for the one before it


class RowCumulative(Kernel):
    """One work item is a vector of lines side by side; of lines along the last axis, one."""

    name: ClassVar[str] = "row_cumulative"
    anchors: ClassVar[frozenset[str]] = frozenset({"cumsum", "cumprod"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the running sum"
        if site.result.dtype is DType.F16:
            return "does not compute with f16"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and chains of operations that wait for one another."""
        inner = math.prod(site.result.shape[site.anchor.attrs.axis + 1 :])
        chains = site.result.elems / inner * -(-inner // site.lanes)
        return row_estimate(site, 2 * _WAIT * chains, "one pass")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        shape, axis = site.result.shape, site.anchor.attrs.axis
        inner = math.prod(shape[axis + 1 :])
        lanes = 1 if inner == 1 else site.lanes
        b = Builder(f"row_{site.anchor.op}")
        buffers = Buffers(b, site)
        x, out = buffers.operand(site.anchor.args[0]), buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        panels = -(-inner // lanes)
        with b.loop(lo, hi, hint="item") as items:
            outer, panel = b.idiv(items.iv, panels), b.irem(items.iv, panels)
            first = b.iadd(b.imul(outer, shape[axis] * inner), b.imul(panel, lanes))

            def line(width: int) -> None:
                _line(b, site, (x, out), first, (inner, lanes, width))

            for_size(b, inner, lanes, panel, line)
        work = math.prod(shape[:axis]) * panels
        return [Launch(b.func, tuple(buffers.args), work, grain_of(work, site.result.elems))]


def _line(
    b: Builder,
    site: Site,
    buffers: tuple[Value, Value],
    first: Index,
    form: tuple[int, int, int],
) -> None:
    """Lines from element `first` on; `form` is their pitch, the lanes, and how many there are."""
    pitch, lanes, width = form
    attrs, dtype = site.anchor.attrs, site.result.dtype
    extent = site.result.shape[attrs.axis]
    scalars, mask = VectorScalars(b, lanes), tail_mask(b, width, lanes)
    is_sum = site.anchor.op == "cumsum"
    start = scalars.const(0 if is_sum else 1, dtype)
    with b.loop(0, extent, carry=[start], hint="k") as loop:
        place = b.isub(extent - 1, loop.iv) if attrs.reverse else loop.iv
        at = b.iadd(first, b.imul(place, pitch))
        value = b.load(buffers[0], at, lanes, mask=mask)
        before = loop.carried[0]
        after = scalars.add(before, value) if is_sum else scalars.mul(before, value)
        b.store(buffers[1], at, before if attrs.exclusive else after, mask=mask)
        loop.yields([after])
