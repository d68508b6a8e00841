"""Local response normalisation across channels: x / (k + alpha/size · Σ x²)^beta.

A pixel is laid out in channel order in scratch memory with zeros before and behind, so that the
neighbours of a vector of channels are loads at shifted places. Squares of numbers above 2^64
overflow, where the quotient does not: beside numbers of such size k is nothing, so that the sum is
taken of smaller numbers, and the quotient brought back.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from cnncc.kernels.epilogue import LaneMask
from cnncc.kernels.maps.row_nest import grain_of, row_estimate
from cnncc.kernels.movement import AxisMap
from cnncc.kernels.scalars.scalar_math import VectorScalars
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
from cnncc.ops.norm import LrnAttrs

_MOST_TERMS = 8  # neighbours that are written out; more are a loop
_LARGE = 2.0**120  # sums of squares from here on are taken again
_HALVED = 4.0  # exponents up to here are divided by in two halves
_SHRINK = 70  # of numbers divided by two to this power


class Lrn(Kernel):
    """One work item is one row of pixels with all their channels."""

    name: ClassVar[str] = "lrn"
    anchors: ClassVar[frozenset[str]] = frozenset({"lrn"})

    def refuses(self, site: Site) -> str:
        """Operand and result lie in equal blocks; nothing runs behind."""
        if len(site.steps) > 1:
            return "has no epilogue"
        return refuses_blocks(site, site.anchor.args)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, a load and an addition a neighbour, and the power."""
        return row_estimate(
            site, site.anchor.args, _operations(site), f"{site.anchor.attrs.size} neighbours"
        )

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        source, out = site.blocked(site.anchor.args[0]), site.blocked_out
        b = Builder("lrn")
        x = b.buffer("x", extent=source.elems)
        args: list[Arg] = [OperandArg(site.anchor.args[0])]
        first_slots = np.arange(out.blocks) * out.block
        first_channel = AxisMap(out.slot_channels[first_slots])
        first_channel.declare(b, "first_channel")
        if first_channel.table is not None:
            args.append(PackedArg(first_channel.table.array))
        mask = LaneMask(site, needed=True)  # a padding lane may have a neighbour that is NaN
        mask.declare(b)
        result, result_arg = out_buffer(b, site)
        pixel = _Pixel(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        pixel.clear()
        with b.loop(lo, hi, hint="row") as rows, b.loop(0, out.width, hint="x") as columns:
            with b.loop(0, out.blocks, hint="block") as blocks:
                value = b.load(x, source.index(b, blocks.iv, rows.iv, columns.iv), site.lanes)
                pixel.put(first_channel.at(b, blocks.iv), value)
            with b.loop(0, out.blocks, hint="block") as blocks:
                value = b.load(x, source.index(b, blocks.iv, rows.iv, columns.iv), site.lanes)
                scaled = pixel.quotient(first_channel.at(b, blocks.iv), value)
                scaled = mask.apply(b, scaled, blocks.iv)
                b.store(result, out.index(b, blocks.iv, rows.iv, columns.iv), scaled)
        args += [*mask.args, result_arg, pixel.arg]
        return [Launch(b.func, tuple(args), out.height, grain_of(out.height, _operations(site)))]


def _neighbours(site: Site) -> tuple[int, int]:
    """Channels of the window before and behind its own; farther than the last there are none."""
    size, last = site.anchor.attrs.size, site.blocked_out.channels - 1
    return min((size - 1) // 2, last), min(size // 2, last)


def _scratch_elems(site: Site) -> int:
    out = site.blocked_out
    last_vector = int(out.slot_channels[(out.blocks - 1) * out.block])
    return sum(_neighbours(site)) + last_vector + site.lanes


def _operations(site: Site) -> float:
    out, neighbours = site.blocked_out, 1 + sum(_neighbours(site))
    return (26.0 + 4 * neighbours) * float(out.blocks * out.height * out.width)


class _Pixel:
    """Scratch for one pixel's channels, zeros around them.

    Blocks are put in ascending order: what the padding lanes of one write beyond its channels is
    overwritten by the next, and behind the last they write the zeros that belong there.
    """

    def __init__(self, b: Builder, site: Site) -> None:
        attrs: LrnAttrs = site.anchor.attrs
        self.b, self.lanes, self.attrs = b, site.lanes, attrs
        self.scalars = VectorScalars(b, site.lanes)
        self.before, behind = _neighbours(site)
        self.terms = self.before + 1 + behind
        self.elems = _scratch_elems(site)
        self.memory, self.arg = scratch_buffer(b, "pixel", self.elems)

    def clear(self) -> None:
        """Zeros everywhere, once a call."""
        zero = self.b.const(0.0)
        with self.b.loop(0, self.elems, hint="i") as elements:
            self.b.store(self.memory, elements.iv, zero)

    def put(self, channel: Index, value: Value) -> None:
        """A vector of channels that starts at `channel`."""
        self.b.store(self.memory, channel, value, offset=self.before)

    def quotient(self, channel: Index, value: Value) -> Value:
        """The definition for that vector, in one of two scales."""
        s, beta = self.scalars, self.attrs.beta
        factor = s.const(self.attrs.alpha / self.attrs.size)
        squares, small = self._sums(channel)
        large = s.bit_not(s.lt(squares, s.const(_LARGE)))
        base = s.fma(squares, factor, s.const(self.attrs.k))
        base = s.select(large, s.mul(small, factor), base)
        x = s.select(large, self._shrunk(value), value)
        back = s.const(_power_of_two(_SHRINK * (1 - 2 * beta)))
        return s.mul(_divided(s, x, base, beta), s.select(large, back, s.const(1.0)))

    def _shrunk(self, value: Value) -> Value:
        return self.scalars.mul(value, self.scalars.const(2.0**-_SHRINK))

    def _sums(self, channel: Index) -> tuple[Value, Value]:
        """Sums of the neighbours' squares, and of the squares of what `_shrunk` makes of them."""
        b = self.b
        zero = b.const(0.0, vector(self.lanes))

        def more(sums: tuple[Value, Value], value: Value) -> tuple[Value, Value]:
            less = self._shrunk(value)
            return b.fma(value, value, sums[0]), b.fma(less, less, sums[1])

        if self.terms <= _MOST_TERMS:
            sums = (zero, zero)
            for neighbour in range(self.terms):
                sums = more(sums, b.load(self.memory, channel, self.lanes, offset=neighbour))
            return sums
        with b.loop(0, self.terms, carry=[zero, zero], hint="n") as loop:
            value = b.load(self.memory, b.iadd(channel, loop.iv), self.lanes)
            loop.yields(more((loop.carried[0], loop.carried[1]), value))
        return loop.results[0], loop.results[1]


def _power_of_two(exponent: float) -> float:
    """2^exponent, infinite where f64 has no such number."""
    return 2.0**exponent if exponent < 1024 else math.inf


def _divided(scalars: VectorScalars, x: Value, base: Value, beta: float) -> Value:
    """X / base^beta; the usual exponents need roots only."""
    if 1.0 < abs(beta) <= _HALVED:  # the power may overflow where the quotient does not
        return _divided(scalars, _divided(scalars, x, base, beta / 2), base, beta / 2)
    if beta == 1.0:
        return scalars.div(x, base)
    if beta == 0.5:
        return scalars.div(x, scalars.sqrt(base))
    if beta == 0.75:
        root = scalars.sqrt(base)
        return scalars.div(x, scalars.mul(root, scalars.sqrt(root)))
    power = scalars.exp(scalars.mul(scalars.log(base), scalars.const(beta)))
    return scalars.div(x, power)
