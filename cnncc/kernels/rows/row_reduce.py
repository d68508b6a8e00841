"""Reductions of row-major arrays: of rows with lanes side by side, else column by column.

Neighbouring axes that are both kept or both reduced count as one. Sums are added in an order that
depends on the shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_major import (
    Buffers,
    Shape,
    flat,
    for_size,
    grain_of,
    pitches_of,
    refuses_layouts,
    row_estimate,
    split,
    tail_mask,
)
from cnncc.kernels.scalars.lane_sums import across_lanes, joined
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_SUMS = 4  # independent ones, so that each finds the one before it finished
_RULES = {"sum": "add", "mean": "add", "prod": "mul", "max": "max", "min": "min"}
_NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}
Sums = list[Value]


class RowReduce(Kernel):
    """One work item is one element of the result, or a few vectors of neighbouring ones."""

    name: ClassVar[str] = "row_reduce"
    anchors: ClassVar[frozenset[str]] = frozenset({"reduce"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the reduction"
        if site.types[0].dtype is DType.F16:
            return "does not compute with f16"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and the vectors; along the last axis also the lanes of each sum."""
        nest, lanes = _Nest(site), site.lanes
        if not nest.along:
            vectors = site.types[0].elems / nest.last * -(-nest.last // lanes)
            return row_estimate(site, 2.0 * vectors, "column by column")
        each = -(-nest.last // lanes) * site.types[0].elems / nest.last / site.result.elems
        lanes_joined = 2.0 * math.log2(lanes) + 2.0 * _SUMS + 6.0
        return row_estimate(site, site.result.elems * (2.0 * each + lanes_joined), "along rows")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        return [_Nest(site).launch()]


class _Nest:
    """The loops of one reduction.

    Attributes:
        along: whether the last axis is reduced.
        last: its extent.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.kind: str = site.anchor.attrs.kind
        self.dtype = site.types[0].dtype
        kept, gone = _groups(site.types[0].shape, site.anchor.attrs.axes)
        self.along = not kept or bool(gone and gone[-1][1] == 1)
        own = gone if self.along else kept
        self.last = own.pop()[0] if own else 1
        self.kept: Shape = tuple(n for n, _ in kept)
        self.kept_pitches: Shape = tuple(p for _, p in kept)
        self.gone = gone

    def launch(self) -> Launch:
        """The function, ready to run."""
        self.b = b = Builder(f"row_{self.kind}")
        self.vectors = VectorScalars(b, self.site.lanes)
        buffers = Buffers(b, self.site)
        self.x, self.out = buffers.operand(self.site.anchor.args[0]), buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        panels = 1 if self.along else -(-self.last // self._panel)
        with b.loop(lo, hi, hint="item") as items:
            number, panel = b.idiv(items.iv, panels), b.irem(items.iv, panels)
            first = flat(b, split(b, number, self.kept), self.kept_pitches)
            if self.along:
                self._row(first, number)
            else:
                base = b.imul(number, self.last)
                for_size(
                    b,
                    self.last,
                    self._panel,
                    panel,
                    lambda width: self._columns(first, base, b.imul(panel, self._panel), width),
                )
        work = math.prod(self.kept) * panels
        return Launch(
            b.func, tuple(buffers.args), work, grain_of(work, self.site.types[0].elems / 2)
        )

    # -- along the last axis -----------------------------------------------------------------------

    def _row(self, first: Index, number: Index) -> None:
        """One element: all that belongs to it, in lanes side by side."""
        b, lanes = self.b, self.site.lanes
        unit = _SUMS * lanes
        turns = self.last // unit

        def inner(at: Index, sums: Sums) -> Sums:
            if turns:
                with b.loop(0, turns, carry=sums, hint="r") as loop:
                    here, now = b.iadd(at, b.imul(loop.iv, unit)), loop.carried
                    loop.yields([self._add(s, here, v * lanes) for v, s in enumerate(now)])
                sums = list(loop.results)
            for v, offset in enumerate(range(turns * unit, self.last, lanes)):
                sums[v] = self._add(sums[v], at, offset, tail_mask(b, self.last - offset, lanes))
            return sums

        used = _SUMS if turns else -(-self.last // lanes)
        sums = self._through(0, first, [self._neutral() for _ in range(used)], inner)
        single = VectorScalars(b, 1)
        total = across_lanes(b, self._join(single), sums)
        b.store(self.out, number, self._finished(single, total))

    # -- column by column --------------------------------------------------------------------------

    @property
    def _panel(self) -> int:
        """Columns of one work item."""
        return _SUMS * self.site.lanes

    def _columns(self, first: Index, base: Index, column: Index, width: int) -> None:
        """Neighbouring elements of the result, one a lane."""
        b, lanes = self.b, self.site.lanes
        masks = [tail_mask(b, width - at, lanes) for at in range(0, width, lanes)]
        extent, pitch = self.gone[-1] if self.gone else (1, 0)
        side = max(1, _SUMS // len(masks))  # elements of a column added side by side
        turns = extent // side

        def add(at: Index, sums: Sums, row: int) -> Sums:
            return [
                self._add(sums[v], at, row * pitch + v * lanes, mask, keep=False)
                for v, mask in enumerate(masks)
            ]

        def inner(at: Index, sums: Sums) -> Sums:
            count = len(masks)
            if turns:
                with b.loop(0, turns, carry=sums, hint="r") as loop:
                    here, made = b.iadd(at, b.imul(loop.iv, side * pitch)), []
                    for row in range(side):
                        made += add(here, loop.carried[row * count : (row + 1) * count], row)
                    loop.yields(made)
                sums = list(loop.results)
            for row in range(turns * side, extent):
                sums[:count] = add(at, sums[:count], row)
            return sums

        start = [self._neutral() for _ in range(side * len(masks))]
        sums = self._through(0, b.iadd(first, column), start, inner, inmost=1)
        for v, mask in enumerate(masks):
            total = joined(self._join(self.vectors), sums[v :: len(masks)])
            value = self._finished(self.vectors, total)
            b.store(self.out, b.iadd(base, column), value, offset=v * lanes, mask=mask)

    # -- pieces ------------------------------------------------------------------------------------

    def _through(
        self,
        level: int,
        at: Index,
        sums: Sums,
        inner: Callable[[Index, Sums], Sums],
        *,
        inmost: int = 0,
    ) -> Sums:
        """Loops over the reduced axes, but for the last `inmost`, which `inner` does itself."""
        if level >= len(self.gone) - inmost:
            return inner(at, sums)
        extent, pitch = self.gone[level]
        with self.b.loop(0, extent, carry=sums, hint="r") as loop:
            here = self.b.iadd(at, self.b.imul(loop.iv, pitch))
            loop.yields(self._through(level + 1, here, loop.carried, inner, inmost=inmost))
        return list(loop.results)

    def _neutral(self) -> Value:
        if self.dtype is DType.BOOL:
            return self.vectors.const(self.kind == "min", DType.BOOL)
        return self.vectors.const(_NEUTRAL[self.kind], self.dtype)

    def _join(self, scalars: VectorScalars) -> Callable[[Value, Value], Value]:
        rule: Callable[[Value, Value], Value] = getattr(scalars, _RULES[self.kind])
        return rule

    def _add(
        self,
        total: Value,
        at: Index,
        offset: int,
        mask: Value | None = None,
        *,
        keep: bool = True,
    ) -> Value:
        """A vector more; masked lanes keep their total, or (without `keep`) do not matter."""
        value = self.b.load(self.x, at, self.site.lanes, offset=offset, mask=mask)
        more = self._join(self.vectors)(total, value)
        return self.b.select(mask, more, total) if keep and mask is not None else more

    def _finished(self, scalars: VectorScalars, total: Value) -> Value:
        if self.kind != "mean":
            return total
        count = self.site.types[0].elems // self.site.result.elems
        divided: Value = scalars.div(total, scalars.const(count, self.dtype))
        return divided


def _groups(shape: Shape, axes: Shape) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Extents and pitches of the kept and of the reduced axes, neighbours joined."""
    kept: list[tuple[int, int]] = []
    gone: list[tuple[int, int]] = []
    before: list[tuple[int, int]] | None = None
    for axis, (extent, pitch) in enumerate(zip(shape, pitches_of(shape), strict=True)):
        if extent == 1:
            continue
        group = gone if axis in axes else kept
        if group is before:
            group[-1] = (group[-1][0] * extent, pitch)
        else:
            group.append((extent, pitch))
        before = group
    return kept, gone
