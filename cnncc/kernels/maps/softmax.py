"""Softmax over the channels of each pixel: maximum, exponentials with their sum, scaling.

A few pixels go together: what joins the lanes of one waits for each of its steps, and the others
pass meanwhile.
"""

from __future__ import annotations

from typing import ClassVar

from cnncc.kernels.epilogue import LaneMask
from cnncc.kernels.maps.row_nest import for_columns, grain_of, row_estimate
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

_OPERATIONS = 24.0  # vector operations a vector: three passes, one with an exponential
_JOINS = 36.0  # vector operations that join the lanes of a pixel
_MOST_RUN = 4  # pixels that go together


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
        with b.loop(lo, hi, hint="row") as rows:

            def body(column: Index, count: int) -> None:
                nest.pixels(rows.iv, column, count)

            for_columns(b, out.width, min(_MOST_RUN, out.width), body)
        args = (OperandArg(site.anchor.args[0]), *nest.mask.args, nest.result_arg)
        return [Launch(b.func, args, out.height, grain_of(out.height, _operations(site)))]


def _operations(site: Site) -> float:
    out = site.blocked_out
    return (_OPERATIONS * out.blocks + _JOINS) * out.height * out.width


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

    def pixels(self, row: Index, column: Index, count: int) -> None:
        """All channels of so many neighbouring pixels."""
        b, blocks, lanes, run = self.b, self.out.blocks, self.lanes, range(count)
        lowest = b.const(-float("inf"), vector(lanes))
        with b.loop(0, blocks, carry=[lowest] * count, hint="block") as first:
            values = [
                self.mask.apply(b, value, first.iv, otherwise=-float("inf"))
                for value in self._loads(first.iv, row, column, count)
            ]
            first.yields([b.binary("max", first.carried[n], values[n]) for n in run])
        tops = [self._across("max", value) for value in first.results]
        zero = b.const(0.0, vector(lanes))
        with b.loop(0, blocks, carry=[zero] * count, hint="block") as second:
            values = self._loads(second.iv, row, column, count)
            at, powers = self.out.index(b, second.iv, row, column), []
            for n in run:
                below = b.binary("sub", values[n], tops[n])
                power = self.mask.apply(b, self.scalars.decay(below), second.iv)
                b.store(self.result, at, power, offset=n * lanes)
                powers.append(power)
            second.yields([b.binary("add", second.carried[n], powers[n]) for n in run])
        one = b.const(1.0, vector(lanes))
        factors = [b.binary("div", one, self._across("add", v)) for v in second.results]
        with b.loop(0, blocks, hint="block") as third:
            at = self.out.index(b, third.iv, row, column)
            for n in run:
                power = b.load(self.result, at, lanes, offset=n * lanes)
                scaled = self.mask.apply(b, b.binary("mul", power, factors[n]), third.iv)
                b.store(self.result, at, scaled, offset=n * lanes)

    def _loads(self, block: Index, row: Index, column: Index, count: int) -> list[Value]:
        at = self.source.index(self.b, block, row, column)
        return [self.b.load(self.x, at, self.lanes, offset=n * self.lanes) for n in range(count)]

    def _across(self, op: str, value: Value) -> Value:
        """All lanes joined, the same in every lane: halves change places log2(lanes) times."""
        step = self.lanes // 2
        while step:
            swapped = [lane ^ step for lane in range(self.lanes)]
            value = self.b.binary(op, value, self.b.shuffle(value, value, swapped))
            step //= 2
        return value
