"""Epilogues: the pointwise steps behind an anchor, applied to registers before the store.

A kernel binds an `Epilogue` while it declares its parameters, opens it once for each tile, and
applies it to each accumulator. Operands of the steps are per-channel constants, values of the
result's shape (a residual), or values `[N,C,1,1]` that stand for every pixel (a gate).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.op import lookup
from cnncc.kernels.layout import Layout
from cnncc.kernels.scalars.scalar_math import SHORT, NumpyScalars, VectorScalars, count_operations
from cnncc.kernels.template import Arg, OperandArg, PackedArg, Site, per_channel, refuses_blocks
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Kind, Value
from cnncc.ops.channels import channel_numbers, is_channel_shaped
from cnncc.ops.fused import Step


@dataclass(frozen=True, slots=True)
class _Stream:
    """An operand of some step: where it comes from and how it is addressed."""

    param: Value
    layout: Layout | None  # None: one number a channel slot


class Epilogue:
    """The steps `first ..< last` of a site, as code on vectors of `lanes` channels."""

    def __init__(self, site: Site, *, first: int = 1, last: int | None = None) -> None:
        self.site = site
        self.first = first
        self.steps: tuple[Step, ...] = site.steps[first:last]
        self.args: list[Arg] = []
        self._streams: dict[int, _Stream] = {}
        self._base: dict[int, Index] = {}

    @property
    def operands(self) -> list[int]:
        """Operands that the steps read, in order of first use."""
        seen = dict.fromkeys(a for s in self.steps for a in s.args if a >= 0)
        return list(seen)

    def declare(self, b: Builder) -> None:
        """Add a buffer parameter for each operand; `args` then holds the matching arguments."""
        out = self.site.blocked_out
        for operand in self.operands:
            constant = self.site.constants[operand]
            if constant is not None:
                slots = out.blocks * out.block
                param = b.buffer(f"channel{operand}", extent=slots)
                self.args.append(self.site.packed(slots, _channels(operand, out)))
                self._streams[operand] = _Stream(param, None)
                continue
            layout = self.site.blocked(operand)
            if layout.segments != out.segments or layout.block != out.block:
                raise InternalError(f"{self.site.name}: operand {operand} has other segments")
            param = b.buffer(f"value{operand}", extent=layout.elems, unique=self._is_apart(layout))
            self.args.append(OperandArg(operand))
            self._streams[operand] = _Stream(param, layout)

    def _is_apart(self, layout: Layout) -> bool:
        """Whether an operand of that layout surely lies elsewhere than the result.

        In `add(x, x)` two operands share the buffer that may be written over.
        """
        written = self.site.in_place
        return written is None or layout != self.site.layouts[written]

    def open(self, b: Builder, block: Index, y: Index, x: Index) -> None:
        """Prepare addresses for a tile whose first pixel is (y, x) of channel block `block`."""
        out = self.site.blocked_out
        for operand, stream in self._streams.items():
            layout = stream.layout
            if layout is None:
                self._base[operand] = b.imul(block, out.block)
            elif (layout.height, layout.width) == (1, 1):
                self._base[operand] = layout.index(b, block, 0, 0)
            else:
                self._base[operand] = layout.index(b, block, y, x)

    def apply(
        self,
        b: Builder,
        value: Value,
        *,
        blocks: int = 0,
        rows: int = 0,
        columns: int = 0,
        lanes: int = 0,
    ) -> Value:
        """The steps on one vector that lies so many blocks, rows and columns behind the first.

        With `lanes` the vector is a narrower one: the first lanes of a block.
        """
        width = lanes or self.site.lanes

        def load(operand: int) -> Value:
            return self._load(b, operand, (blocks, rows, columns), width)

        result: Value = self._run(VectorScalars(b, width), value, load)
        return result

    def _run(self, scalars: Any, value: Any, load: Callable[[int], Any]) -> Any:
        """The rules of the steps on `value` and on operands, each of which is loaded once."""
        results: dict[int, Any] = {~(self.first - 1): value}
        loaded: dict[int, Any] = {}
        for number, step in enumerate(self.steps, start=self.first):
            operands = []
            for arg in step.args:
                if arg >= 0 and arg not in loaded:
                    loaded[arg] = load(arg)
                operands.append(results[arg] if arg < 0 else loaded[arg])
            value = results[~number] = lookup(step.op).scalar(scalars, operands, step.attrs)
        return value

    def _load(self, b: Builder, operand: int, behind: tuple[int, int, int], lanes: int) -> Value:
        stream, blocks = self._streams[operand], behind[0]
        layout = stream.layout
        if layout is None:
            offset = blocks * self.site.blocked_out.block
        elif (layout.height, layout.width) == (1, 1):
            offset = layout.offset(blocks, 0, 0)
        else:
            offset = layout.offset(*behind)
        if layout is None and self.site.blocked_out.block == 1:  # lanes are pixels
            return b.load_splat(stream.param, self._base[operand], lanes, offset=offset)
        return b.load(stream.param, self._base[operand], lanes, offset=offset)

    @cached_property
    def operations(self) -> int:
        """Arithmetic operations on each vector."""
        return count_operations(self.steps, self.site.lanes)

    @property
    def is_long(self) -> bool:
        """Whether its own values would drive a tile's accumulators out of registers."""
        return self.operations > SHORT

    @property
    def keeps_zero(self) -> bool:
        """Whether a zero lane of the anchor is still zero behind all steps.

        Padding lanes of every operand are zero, so it is enough to run the rules on zeros.
        """
        zero = np.float32(0)
        return bool(self._run(NumpyScalars(), zero, lambda _: zero) == 0)


def _channels(operand: int, out: Layout) -> Callable[[Site], NDArray[np.float32]]:
    """Packs one number a channel of an operand into the slots of a layout."""

    def pack(site: Site) -> NDArray[np.float32]:
        return per_channel(channel_numbers(site.constant(operand), out.channels), out)

    return pack


class LaneMask:
    """Clears the padding lanes of the result where the epilogue would leave something in them."""

    def __init__(self, site: Site, *, needed: bool) -> None:
        layout = site.blocked_out
        self.needed = needed and layout.has_padding_lanes
        self._site = site
        self._param: Value | None = None
        self.args: list[Arg] = []

    def declare(self, b: Builder) -> None:
        """Add a parameter with one 0 or 1 for each slot, if the mask is needed at all."""
        if self.needed:
            flags = (self._site.blocked_out.slot_channels >= 0).astype(np.float32)
            self._param = b.buffer("lane_flags", Kind.F32, flags.size)
            self.args.append(PackedArg(flags))

    def apply(self, b: Builder, value: Value, block: Index, *, otherwise: float = 0.0) -> Value:
        """`value`, but `otherwise` in the lanes of `block` that belong to no channel."""
        if self._param is None:
            return value
        lanes = self._site.lanes
        flags = b.load(self._param, b.imul(block, lanes), lanes)
        zero = b.splat(b.const(0.0), lanes)
        other = zero if otherwise == 0.0 else b.splat(b.const(otherwise), lanes)
        return b.select(b.compare("gt", flags, zero), value, other)


def refuses_epilogue(site: Site, first: int = 1, *, pools: bool = False) -> str:
    """Why the steps from `first` on cannot be applied to registers; empty if they can.

    Args:
        site: what is to be computed.
        first: the first step that is none of the kernel's own.
        pools: whether the kernel combines windows behind the steps.
    """
    if site.ends_in_pool and len(site.steps) > first and not pools:
        return "does not pool behind another step"
    for operand in dict.fromkeys(a for s in site.steps[first:] for a in s.args if a >= 0):
        constant = site.constants[operand]
        if constant is None:
            reason = refuses_blocks(site, (operand,))
            if reason:
                return reason
        elif not _is_a_channel(site, first, operand):
            return f"the constant operand {operand} has more than one value a channel"
    return ""


def _is_a_channel(site: Site, first: int, operand: int) -> bool:
    """Whether every step that reads a constant operand takes one number a channel from it."""
    shape = site.types[operand].shape
    readers = [s for s in site.steps[first:] if operand in s.args]
    return all(is_channel_shaped(lookup(s.op), shape, site.result.shape) for s in readers)
