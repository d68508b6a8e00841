"""Pooling over windows: maxima and means, with pointwise steps behind them.

Windows are cut at the edges of the picture, so the halo is never looked at. Rows are cut by loop
bounds. Columns whose windows lie inside come in runs, where the windows that see a pixel share its
load; the few columns at the edges are done one by one. Where windows share many columns, the
pixels of each column are combined first, once for all windows of the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.kernels.epilogue import Epilogue, LaneMask, refuses_epilogue
from cnncc.kernels.maps.row_nest import for_columns, grain_of, row_estimate
from cnncc.kernels.shares import each_panel
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    out_buffer,
    refuses_blocks,
    scratch_buffer,
)
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.pool import WINDOW_POOLS, window_counts

_MOST_TAPS = 8  # columns of a window that are written out; wider windows are loops
_MOST_RUN = 8


@dataclass(frozen=True, slots=True)
class _Axis:
    """Windows along one axis.

    Attributes:
        extent: pixels of the picture.
        count: windows.
        taps: pixels of a window.
        stride: from one window to the next.
        pad: pixels before the picture in the first window.
    """

    extent: int
    count: int
    taps: int
    stride: int
    pad: int

    @property
    def inside(self) -> tuple[int, int]:
        """First and last-but-one window that lie wholly in the picture."""
        first = min(self.count, -(-self.pad // self.stride))
        last = (self.extent - self.taps + self.pad) // self.stride + 1
        return first, max(first, min(self.count, last))

    def cut(self, b: Builder, window: Index) -> tuple[Index, Index]:
        """First and last-but-one pixel of a window that exist."""
        start = b.isub(b.imul(window, self.stride), self.pad)
        return b.imax(start, 0), b.imin(b.iadd(start, self.taps), self.extent)


class Pool2d(Kernel):
    """One work item is one output row of one channel block."""

    name: ClassVar[str] = "pool"
    anchors: ClassVar[frozenset[str]] = WINDOW_POOLS

    def refuses(self, site: Site) -> str:
        """Operand and result lie in equal blocks."""
        return refuses_blocks(site, site.anchor.args) or refuses_epilogue(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and a load and a combination a tap."""
        return row_estimate(site, site.anchor.args, _operations(site), f"runs of {_run(site)}")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        return [_PoolNest(site).launch()]


def _axes(site: Site) -> tuple[_Axis, _Axis]:
    source, out, attrs = site.blocked(site.anchor.args[0]), site.blocked_out, site.anchor.attrs
    (kh, kw), (sh, sw), (top, left, _, _) = attrs.window, attrs.strides, attrs.pads
    return (
        _Axis(source.height, out.height, kh, sh, top),
        _Axis(source.width, out.width, kw, sw, left),
    )


def _run(site: Site) -> int:
    """Output pixels of a run: what the registers hold, in runs of like length."""
    first, last = _axes(site)[1].inside
    width = last - first
    most = min(_MOST_RUN, site.target.vector_registers // 2)
    return -(-width // -(-width // most)) if width else 1


def _by_columns(site: Site) -> bool:
    """Whether pixels are combined by columns first: that takes fewer operations."""
    rows, columns = _axes(site)
    return rows.taps * columns.stride + columns.taps < rows.taps * columns.taps


def _operations(site: Site) -> float:
    out, (rows, columns) = site.blocked_out, _axes(site)
    taps = rows.taps * columns.taps
    if _by_columns(site):
        taps = rows.taps * columns.stride + columns.taps
    cost = 3.0 if site.anchor.op == "max_pool2d" else 2.0
    return cost * float(taps * out.blocks * out.height * out.width)


class _PoolNest:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.rows, self.columns = _axes(site)
        self.lanes = site.lanes
        self.maximum = site.anchor.op == "max_pool2d"
        self.b = b = Builder(site.anchor.op)
        self.epilogue = Epilogue(site)
        self.mask = LaneMask(site, needed=not self.epilogue.keeps_zero)
        self.x = b.buffer("x", extent=self.source.elems)
        self.args: list[PackedArg] = []
        if not self.maximum:
            self.divisors = [self._divisors(axis) for axis in (0, 1)]
        self.epilogue.declare(b)
        self.mask.declare(b)
        self.result, self.result_arg = out_buffer(b, site)
        self.scratch: list[Arg] = []
        self.held: Value | None = None
        if _by_columns(site):
            self.held, held_arg = scratch_buffer(b, "held", self.source.width * self.lanes)
            self.scratch.append(held_arg)

    def _divisors(self, axis: int) -> Value:
        windows, attrs = (self.rows, self.columns)[axis], self.site.anchor.attrs
        table = window_counts(attrs, axis, windows.extent, windows.count).astype(np.float32)
        self.args.append(PackedArg(table))
        return self.b.buffer("row_counts" if axis == 0 else "column_counts", extent=table.size)

    def launch(self) -> Launch:
        b, height = self.b, self.out.height
        first, last = self.columns.inside
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with (
            each_panel(b, (lo, hi), self.out.blocks, height) as (block, begin, end),
            b.loop(begin, end, hint="row") as lines,
        ):
            row = lines.iv
            rows = self.rows.cut(b, row)
            if self.held is not None:
                self._combine_columns(self.held, block, rows)
                rows = 0, 1
            for left, right in ((0, first), (last, self.columns.count)):
                if left < right:
                    with b.loop(left, right, hint="x") as columns:
                        self._edge(block, row, rows, columns.iv)

            def body(x: Index, count: int) -> None:
                self._inside(block, row, rows, x, count)

            for_columns(b, last - first, _run(self.site), body, first=first)
        work = self.out.blocks * height
        args = (
            OperandArg(self.site.anchor.args[0]),
            *self.args,
            *self.epilogue.args,
            *self.mask.args,
            self.result_arg,
            *self.scratch,
        )
        return Launch(b.func, args, work, grain_of(work, _operations(self.site)))

    def _start(self) -> Value:
        return self.b.const(-float("inf") if self.maximum else 0.0, vector(self.lanes))

    def _combine(self, acc: Value, pixel: Value) -> Value:
        return self.b.binary("max" if self.maximum else "add", acc, pixel)

    def _combine_columns(self, held: Value, block: Index, rows: tuple[Index, Index]) -> None:
        """The pixels of each column of a row of windows, side by side."""
        b, width = self.b, self.source.width

        def body(x: Index, count: int) -> None:
            with b.loop(*rows, carry=[self._start()] * count, hint="r") as lines:
                line = self.source.index(b, block, lines.iv, x)
                lines.yields(
                    [
                        self._combine(acc, b.load(self.x, line, self.lanes, offset=n * self.lanes))
                        for n, acc in enumerate(lines.carried)
                    ]
                )
            for n, value in enumerate(lines.results):
                b.store(held, b.imul(x, self.lanes), value, offset=n * self.lanes)

        for_columns(b, width, min(_MOST_RUN, width), body, first=0)

    def _pixels(self, block: Index, row: Index, x: Index) -> tuple[Value, Index]:
        """Buffer and element of a pixel, or of a combined column."""
        if self.held is not None:
            return self.held, self.b.imul(x, self.lanes)
        return self.x, self.source.index(self.b, block, row, x)

    def _edge(self, block: Index, row: Index, rows: tuple[Index, Index], x: Value) -> None:
        """One window that the edge may cut."""
        b = self.b
        with b.loop(*rows, carry=[self._start()], hint="r") as lines:
            buffer, line = self._pixels(block, lines.iv, 0)
            with b.loop(*self.columns.cut(b, x), carry=lines.carried, hint="c") as taps:
                at = b.iadd(line, b.imul(taps.iv, self.source.block))
                pixel = b.load(buffer, at, self.lanes)
                taps.yields([self._combine(taps.carried[0], pixel)])
            lines.yields(taps.results)
        count = None if self.maximum else b.load(self.divisors[1], x)
        self._finish(block, row, x, lines.results, count)

    def _inside(
        self, block: Index, row: Index, rows: tuple[Index, Index], x: Index, count: int
    ) -> None:
        """`count` windows from column `x` on that lie inside."""
        b, axis = self.b, self.columns
        first = b.isub(b.imul(x, axis.stride), axis.pad)
        with b.loop(*rows, carry=[self._start()] * count, hint="r") as lines:
            line = self._pixels(block, lines.iv, first)
            if axis.taps <= _MOST_TAPS:
                lines.yields(self._line(line, lines.carried, axis.taps))
            else:
                with b.loop(0, axis.taps, carry=lines.carried, hint="c") as taps:
                    at = b.iadd(line[1], b.imul(taps.iv, self.source.block))
                    taps.yields(self._line((line[0], at), taps.carried, 1))
                lines.yields(taps.results)
        taken = None if self.maximum else b.const(float(axis.taps))
        self._finish(block, row, x, lines.results, taken)

    def _line(self, line: tuple[Value, Index], acc: list[Value], taps: int) -> list[Value]:
        """One row of pixels for all windows of a run; each pixel is loaded once."""
        stride = self.columns.stride
        last = (len(acc) - 1) * stride + taps
        for place in range(last):
            users = [t for t in range(len(acc)) if 0 <= place - t * stride < taps]
            if users:
                offset = place * self.source.block
                pixel = self.b.load(*line, self.lanes, offset=offset)
                for t in users:
                    acc[t] = self._combine(acc[t], pixel)
        return acc

    def _finish(
        self, block: Index, row: Index, x: Index, values: list[Value], columns: Value | None
    ) -> None:
        """Take the mean, apply what is fused, store."""
        b = self.b
        if columns is not None:
            pixels = b.binary("mul", b.load(self.divisors[0], row), columns)
            share = b.splat(b.binary("div", b.const(1.0), pixels), self.lanes)
            values = [b.binary("mul", v, share) for v in values]
        self.epilogue.open(b, block, row, x)
        base = self.out.index(b, block, row, x)
        for t, value in enumerate(values):
            finished = self.mask.apply(b, self.epilogue.apply(b, value, columns=t), block)
            b.store(self.result, base, finished, offset=self.out.offset(0, 0, t))
