"""Bilinear upsampling by whole factors: between rows first, then between columns.

Two neighbouring pixels of the source, mixed out of their two rows, give as many pixels of the
result as the factor says, always with the same weights: along a row each source pixel is loaded
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from cnncc.kernels.maps.row_nest import grain_of, row_estimate
from cnncc.kernels.movement import OffsetTable
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
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.resize import bilinear_taps

_STORED, _MIXED = 3.0, 6.0  # vector operations of a pixel, and of two rows at a source pixel


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
        """Memory traffic, a mixture a pixel and one of two rows for each source pixel."""
        choice = f"{site.anchor.attrs.factors[1]} pixels of two"
        return row_estimate(site, site.anchor.args, _operations(site), choice)

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        source, out = site.blocked(site.anchor.args[0]), site.blocked_out
        rows, columns = site.anchor.attrs.factors
        b = Builder("upsample_bilinear")
        x = b.buffer("x", extent=source.elems)
        down = _Rows(b, source.height, rows, source.row_pitch)
        result, result_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        before, between = _phases(columns)
        with b.loop(lo, hi, hint="item") as items:
            block, row = b.idiv(items.iv, out.height), b.irem(items.iv, out.height)
            plane = source.index(b, block, 0, 0)
            lines = [b.iadd(plane, line) for line in down.places(row)]
            height = down.weights(row)
            first = out.index(b, block, row, 0)

            def column(number: Index) -> Value:
                places = [b.iadd(line, b.imul(number, source.block)) for line in lines]
                return _mixed(b, site.lanes, [b.load(x, p, site.lanes) for p in places], height)

            def store(at: Index, pair: list[Value], weights: Sequence[float]) -> None:
                for number, second in enumerate(weights):
                    both = b.const(1.0 - second), b.const(second)
                    value = _mixed(b, site.lanes, pair, both)
                    b.store(result, at, value, offset=number * out.block)

            left, last = column(0), source.width - 1
            store(first, [left, column(min(1, last))], [0.0] * before)
            with b.loop(0, last, carry=[left], hint="x") as turns:
                pair = [turns.carried[0], column(b.iadd(turns.iv, 1))]
                place = b.imul(b.iadd(b.imul(turns.iv, columns), before), out.block)
                store(b.iadd(first, place), pair, between)
                turns.yields(pair[1:])
            place = (last * columns + before) * out.block
            store(b.iadd(first, place), turns.results * 2, [0.0] * (columns - before))
        work = out.blocks * out.height
        args = (OperandArg(site.anchor.args[0]), *down.args, result_arg)
        return [Launch(b.func, args, work, grain_of(work, _operations(site)))]


def _operations(site: Site) -> float:
    out = site.blocked_out
    columns: int = site.anchor.attrs.factors[1]
    return (_STORED + _MIXED / columns) * out.blocks * out.height * out.width


def _phases(factor: int) -> tuple[int, list[float]]:
    """Pixels before the first source pixel's centre, and weights of the second of two neighbours.

    Those before it, and behind the last one's, are clamped to it: the weight of the second is 0.
    """
    before = factor // 2
    places = [(before + j + 0.5) / factor - 0.5 for j in range(factor)]
    return before, [float(np.float32(place)) for place in places]


class _Rows:
    """Tables of the rows: two source offsets for each row of the result, and their weights."""

    def __init__(self, b: Builder, extent: int, factor: int, pitch: int) -> None:
        low, high, second = bilinear_taps(extent, factor)
        self._b = b
        self._offsets = [OffsetTable(np.asarray(t, np.int64) * pitch) for t in (low, high)]
        for table, word in zip(self._offsets, ("low", "high"), strict=True):
            table.declare(b, f"{word}_row")
        numbers = [1.0 - np.asarray(second), np.asarray(second)]
        weights = [w.astype(np.float32) for w in numbers]
        self._weights = [b.buffer("row_weight", extent=w.size) for w in weights]
        self.args: list[Arg] = [PackedArg(t.array) for t in self._offsets]
        self.args += [PackedArg(w) for w in weights]

    def places(self, index: Index) -> tuple[Value, Value]:
        """Offsets of the two source rows of a row of the result."""
        return self._offsets[0].at(self._b, index), self._offsets[1].at(self._b, index)

    def weights(self, index: Index) -> tuple[Value, Value]:
        """Their weights, as scalars."""
        first, second = (self._b.load(w, index) for w in self._weights)
        return first, second


def _mixed(b: Builder, lanes: int, pair: list[Value], weights: tuple[Value, Value]) -> Value:
    """The weighted sum."""
    first, second = (b.splat(w, lanes) for w in weights)
    return b.fma(pair[1], second, b.binary("mul", pair[0], first))
