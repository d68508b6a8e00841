"""Bilinear upsampling by whole factors: between rows first, then between columns."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnncc.kernels.conv_nest import out_buffer
from cnncc.kernels.movement import OffsetTable
from cnncc.kernels.row_nest import grain_of, refuses_blocks, row_estimate
from cnncc.kernels.template import Arg, Estimate, Kernel, Launch, OperandArg, PackedArg, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.resize import bilinear_taps

_OPERATIONS = 20.0  # vector operations a pixel


class UpsampleBilinear(Kernel):
    """One work item is one row of one channel block of the result."""

    name: ClassVar[str] = "upsample_bilinear"
    anchors: ClassVar[frozenset[str]] = frozenset({"upsample2d"})

    def refuses(self, site: Site) -> str:
        """Operand and result lie in equal blocks; nothing runs behind."""
        if len(site.steps) > 1:
            return "has no epilogue"
        if site.anchor.attrs.mode != "bilinear":
            return "interpolates"
        return refuses_blocks(site, site.anchor.args)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, four loads and two mixtures a pixel."""
        return row_estimate(site, site.anchor.args, _operations(site), "four loads a pixel")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        source, out = site.blocked(site.anchor.args[0]), site.blocked_out
        rows, columns = site.anchor.attrs.factors
        b = Builder("upsample_bilinear")
        x = b.buffer("x", extent=source.elems)
        down = _Taps(b, "row", source.height, rows, source.row_pitch)
        across = _Taps(b, "column", source.width, columns, source.block)
        result, result_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            block, row = b.idiv(items.iv, out.height), b.irem(items.iv, out.height)
            plane = source.index(b, block, 0, 0)
            upper, lower = (b.iadd(plane, line) for line in down.places(row))
            height = down.weights(row)
            with b.loop(0, out.width, hint="x") as turns:
                mixed = []
                for place in across.places(turns.iv):
                    pair = [b.load(x, b.iadd(r, place), site.lanes) for r in (upper, lower)]
                    mixed.append(_mixed(b, site.lanes, pair, height))
                value = _mixed(b, site.lanes, mixed, across.weights(turns.iv))
                b.store(result, out.index(b, block, row, turns.iv), value)
        work = out.blocks * out.height
        args = (OperandArg(site.anchor.args[0]), *down.args, *across.args, result_arg)
        return [Launch(b.func, args, work, grain_of(work, _operations(site)))]


def _operations(site: Site) -> float:
    out = site.blocked_out
    return _OPERATIONS * out.blocks * out.height * out.width


class _Taps:
    """Tables of one axis: two source offsets for each result pixel, and their weights."""

    def __init__(self, b: Builder, hint: str, extent: int, factor: int, pitch: int) -> None:
        low, high, second = bilinear_taps(extent, factor)
        self._b = b
        self._offsets = [OffsetTable(np.asarray(t, np.int64) * pitch) for t in (low, high)]
        for table, word in zip(self._offsets, ("low", "high"), strict=True):
            table.declare(b, f"{word}_{hint}")
        numbers = [1.0 - np.asarray(second), np.asarray(second)]
        weights = [w.astype(np.float32) for w in numbers]
        self._weights = [b.buffer(f"{hint}_weight", extent=w.size) for w in weights]
        self.args: list[Arg] = [PackedArg(t.array) for t in self._offsets]
        self.args += [PackedArg(w) for w in weights]

    def places(self, index: Index) -> tuple[Value, Value]:
        """Offsets of the two source pixels of a result pixel."""
        return self._offsets[0].at(self._b, index), self._offsets[1].at(self._b, index)

    def weights(self, index: Index) -> tuple[Value, Value]:
        """Their weights, as scalars."""
        first, second = (self._b.load(w, index) for w in self._weights)
        return first, second


def _mixed(b: Builder, lanes: int, pair: list[Value], weights: tuple[Value, Value]) -> Value:
    """The weighted sum."""
    first, second = (b.splat(w, lanes) for w in weights)
    return b.fma(pair[1], second, b.binary("mul", pair[0], first))
