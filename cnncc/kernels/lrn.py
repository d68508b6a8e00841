"""Local response normalisation across channels: x / (k + alpha/size · Σ x²)^beta.

The squares of a pixel are laid out in channel order in scratch memory with zeros before and behind,
so that the neighbours of a vector of channels are loads at shifted places.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnncc.kernels.conv_nest import out_buffer
from cnncc.kernels.epilogue import LaneMask
from cnncc.kernels.movement import AxisMap
from cnncc.kernels.row_nest import grain_of, refuses_blocks, row_estimate
from cnncc.kernels.scalar_math import VectorScalars
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    scratch_buffer,
)
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.norm import LrnAttrs

_MOST_TERMS = 8  # neighbours that are written out; more are a loop


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
        source, out, attrs = site.blocked(site.anchor.args[0]), site.blocked_out, site.anchor.attrs
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
        squares = _Squares(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        squares.clear()
        with b.loop(lo, hi, hint="row") as rows, b.loop(0, out.width, hint="x") as columns:
            with b.loop(0, out.blocks, hint="block") as blocks:
                value = b.load(x, source.index(b, blocks.iv, rows.iv, columns.iv), site.lanes)
                squares.put(first_channel.at(b, blocks.iv), value)
            with b.loop(0, out.blocks, hint="block") as blocks:
                value = b.load(x, source.index(b, blocks.iv, rows.iv, columns.iv), site.lanes)
                base = squares.base(first_channel.at(b, blocks.iv))
                scaled = _divided(VectorScalars(b, site.lanes), value, base, attrs.beta)
                scaled = mask.apply(b, scaled, blocks.iv)
                b.store(result, out.index(b, blocks.iv, rows.iv, columns.iv), scaled)
        args += [*mask.args, result_arg, squares.arg]
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
    return (20.0 + 2 * neighbours) * float(out.blocks * out.height * out.width)


class _Squares:
    """Scratch for the squares of one pixel's channels, zeros around them.

    Blocks are put in ascending order: what the padding lanes of one write beyond its channels is
    overwritten by the next, and behind the last they write the zeros that belong there.
    """

    def __init__(self, b: Builder, site: Site) -> None:
        attrs: LrnAttrs = site.anchor.attrs
        self.b, self.lanes, self.attrs = b, site.lanes, attrs
        self.before, behind = _neighbours(site)
        self.terms = self.before + 1 + behind
        self.elems = _scratch_elems(site)
        self.memory, self.arg = scratch_buffer(b, "squares", self.elems)

    def clear(self) -> None:
        """Zeros everywhere, once a call."""
        zero = self.b.const(0.0)
        with self.b.loop(0, self.elems, hint="i") as elements:
            self.b.store(self.memory, elements.iv, zero)

    def put(self, channel: Index, value: Value) -> None:
        """The squares of a vector of channels that starts at `channel`."""
        square = self.b.binary("mul", value, value)
        self.b.store(self.memory, channel, square, offset=self.before)

    def base(self, channel: Index) -> Value:
        """The bracket of the definition, for a vector of channels."""
        b, size = self.b, self.terms
        total = b.const(0.0, vector(self.lanes))
        if size <= _MOST_TERMS:
            for neighbour in range(size):
                square = b.load(self.memory, channel, self.lanes, offset=neighbour)
                total = b.binary("add", total, square)
        else:
            with b.loop(0, size, carry=[total], hint="n") as terms:
                square = b.load(self.memory, b.iadd(channel, terms.iv), self.lanes)
                terms.yields([b.binary("add", terms.carried[0], square)])
            total = terms.results[0]
        scalars = VectorScalars(b, self.lanes)
        factor = scalars.const(self.attrs.alpha / self.attrs.size)
        return scalars.fma(total, factor, scalars.const(self.attrs.k))


def _divided(scalars: VectorScalars, x: Value, base: Value, beta: float) -> Value:
    """X / base^beta; the usual exponents need roots only."""
    if beta == 1.0:
        return scalars.div(x, base)
    if beta == 0.5:
        return scalars.div(x, scalars.sqrt(base))
    if beta == 0.75:
        root = scalars.sqrt(base)
        return scalars.div(x, scalars.mul(root, scalars.sqrt(root)))
    power = scalars.exp(scalars.mul(scalars.log(base), scalars.const(beta)))
    return scalars.div(x, power)
