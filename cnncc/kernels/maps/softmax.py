"""Softmax over the channels of each pixel: maximum, exponentials with their sum, scaling."""

from __future__ import annotations

from typing import ClassVar

from cnncc.kernels.epilogue import LaneMask
from cnncc.kernels.maps.row_nest import grain_of, row_estimate
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.kernels.template import (
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    Site,
    out_buffer,
    refuses_blocks,
)
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value

_OPERATIONS = 30.0  # vector operations a vector: three passes, one with an exponential


class Softmax(Kernel):
    """One work item is one row of pixels with all their channels."""

    name: ClassVar[str] = "softmax"
    anchors: ClassVar[frozenset[str]] = frozenset({"softmax"})

    def refuses(self, site: Site) -> str:
        """Along channels only; operand and result lie in equal blocks; nothing runs behind."""
        if len(site.steps) > 1:
            return "has no epilogue"
        if site.anchor.attrs.axis != 1:
            return f"sums over channels, not over axis {site.anchor.attrs.axis}"
        return refuses_blocks(site, site.anchor.args)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic and three passes in cache."""
        return row_estimate(site, site.anchor.args, _operations(site), "three passes a pixel")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        nest = _SoftmaxNest(site)
        out, b = site.blocked_out, nest.b
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="row") as rows, b.loop(0, out.width, hint="x") as columns:
            nest.pixel(rows.iv, columns.iv)
        args = (OperandArg(site.anchor.args[0]), *nest.mask.args, nest.result_arg)
        return [Launch(b.func, args, out.height, grain_of(out.height, _operations(site)))]


def _operations(site: Site) -> float:
    out = site.blocked_out
    return _OPERATIONS * out.blocks * out.height * out.width


class _SoftmaxNest:
    def __init__(self, site: Site) -> None:
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.lanes = site.lanes
        self.b = Builder("softmax")
        self.scalars = VectorScalars(self.b, self.lanes)
        self.mask = LaneMask(site, needed=True)
        self.x = self.b.buffer("x", extent=self.source.elems)
        self.mask.declare(self.b)
        self.result, self.result_arg = out_buffer(self.b, site)

    def pixel(self, row: Index, column: Index) -> None:
        """All channels of one pixel."""
        b, blocks = self.b, self.out.blocks
        lowest = b.const(-float("inf"), vector(self.lanes))
        with b.loop(0, blocks, carry=[lowest], hint="block") as first:
            value = self._load(first.iv, row, column)
            value = self.mask.apply(b, value, first.iv, otherwise=-float("inf"))
            first.yields([b.binary("max", first.carried[0], value)])
        top = self._across("max", first.results[0])
        zero = b.const(0.0, vector(self.lanes))
        with b.loop(0, blocks, carry=[zero], hint="block") as second:
            below = b.binary("sub", self._load(second.iv, row, column), top)
            power = self.mask.apply(b, self.scalars.decay(below), second.iv)
            b.store(self.result, self.out.index(b, second.iv, row, column), power)
            second.yields([b.binary("add", second.carried[0], power)])
        one = b.const(1.0, vector(self.lanes))
        factor = b.binary("div", one, self._across("add", second.results[0]))
        with b.loop(0, blocks, hint="block") as third:
            at = self.out.index(b, third.iv, row, column)
            scaled = b.binary("mul", b.load(self.result, at, self.lanes), factor)
            b.store(self.result, at, self.mask.apply(b, scaled, third.iv))

    def _load(self, block: Index, row: Index, column: Index) -> Value:
        return self.b.load(self.x, self.source.index(self.b, block, row, column), self.lanes)

    def _across(self, op: str, value: Value) -> Value:
        """All lanes joined, the same in every lane: halves change places log2(lanes) times."""
        step = self.lanes // 2
        while step:
            swapped = [lane ^ step for lane in range(self.lanes)]
            value = self.b.binary(op, value, self.b.shuffle(value, value, swapped))
            step //= 2
        return value
