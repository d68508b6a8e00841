"""Pointwise steps of a site on row-major arrays: operands broadcast to the result's shape.

A kernel makes a `RowSteps` for the steps behind its anchor (or for all), declares it, opens it once
for each row of the result, and applies it to each vector of that row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnncc.ir.op import Trait, lookup
from cnncc.kernels.rows.row_major import Buffers, Shape, collapse, flat, pitches_of
from cnncc.kernels.scalars.scalar_math import SHORT, VectorScalars, count_operations
from cnncc.kernels.template import Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


@dataclass(frozen=True, slots=True)
class Stream:
    """An operand as some step reads it.

    Attributes:
        operand: its number.
        pitches: elements between neighbours along each axis of the result; 0 where it is spread.
    """

    operand: int
    pitches: Shape


class RowSteps:
    """The steps `first ..< end` of a site, as code on vectors along the result's last axis.

    Attributes:
        dims: axes of the result, those that all operands walk over as over one joined if wanted.
        pitches: of the result, for those axes.
    """

    def __init__(self, site: Site, *, first: int = 1, joined: bool = False) -> None:
        self.site = site
        self.first = first
        self.steps = site.steps[first:]
        shape = site.result.shape or (1,)
        self._streams = self._find_streams(len(shape))
        own = list(dict.fromkeys(self._streams.values()))
        self.dims, self.pitches = shape, pitches_of(shape)
        self._pitches = {s: s.pitches for s in own}
        if joined:
            self.dims, found = collapse(shape, self.pitches, *(s.pitches for s in own))
            self.pitches, self._pitches = found[0], dict(zip(own, found[1:], strict=True))
        self._params: dict[Stream, Value] = {}
        self._base: dict[Stream, Index] = {}
        self._spread: dict[tuple[Stream, int], Value] = {}

    # -- operands ----------------------------------------------------------------------------------

    def _find_streams(self, rank: int) -> dict[tuple[int, int], Stream]:
        """For each step and each position among its operands where that operand lies."""
        streams: dict[tuple[int, int], Stream] = {}
        ranks: list[int] = []
        for number, step in enumerate(self.site.steps):
            op = lookup(step.op)
            own = [len(self.site.types[a].shape) if a >= 0 else ranks[~a] for a in step.args]
            ranks.append(own[0] if op.per_channel else max(own, default=0))
            if number < self.first:
                ranks[-1] = rank
                continue
            for position, arg in enumerate(step.args):
                if arg >= 0:
                    channel = op.per_channel and position > 0
                    streams[number, position] = self._stream(arg, rank, own[0] if channel else None)
        return streams

    def _stream(self, operand: int, rank: int, channelled: int | None) -> Stream:
        """An operand whose last axis is the result's; `[C]` goes with axis 1 of `channelled`."""
        shape = self.site.types[operand].shape
        if channelled is not None:
            shape = (*shape, *(1,) * (channelled - 2))
        aligned = (1,) * (rank - len(shape)) + shape
        pitches = zip(aligned, pitches_of(aligned), strict=True)
        return Stream(operand, tuple(p if n > 1 else 0 for n, p in pitches))

    def declare(self, buffers: Buffers) -> None:
        """Ask for the operands' buffers."""
        for stream in self._pitches:
            self._params[stream] = buffers.operand(stream.operand)

    # -- code --------------------------------------------------------------------------------------

    def open(self, b: Builder, row: Sequence[Index]) -> None:
        """Prepare for a row of the result, whose place on all axes but the last is `row`."""
        self._spread.clear()
        for stream, pitches in self._pitches.items():
            self._base[stream] = flat(b, row, pitches[:-1])

    def preload(self, b: Builder, lanes: int) -> None:
        """Load what is one number for the whole row, in front of the loop over it."""
        for stream, pitches in self._pitches.items():
            if pitches[-1] == 0:
                value = b.load_splat(self._params[stream], self._base[stream], lanes)
                self._spread[stream, lanes] = value

    def apply(
        self,
        b: Builder,
        value: Value | None,
        at: Index,
        lanes: int,
        *,
        offset: int = 0,
        mask: Value | None = None,
    ) -> Value:
        """The steps on the vector at place `at + offset` of the row; `value` is the anchor's."""
        scalars: Any = VectorScalars(b, lanes)
        results: dict[int, Any] = {~(self.first - 1): value}
        loaded: dict[Stream, Value] = {}
        for number, step in enumerate(self.steps, start=self.first):
            operands = []
            for position, arg in enumerate(step.args):
                if arg < 0:
                    operands.append(results[arg])
                    continue
                stream = self._streams[number, position]
                if stream not in loaded:
                    loaded[stream] = self._load(b, stream, at, lanes, offset, mask)
                operands.append(loaded[stream])
            value = lookup(step.op).scalar(scalars, operands, step.attrs)
            results[~number] = value
        assert value is not None
        return value

    def _load(
        self, b: Builder, stream: Stream, at: Index, lanes: int, offset: int, mask: Value | None
    ) -> Value:
        param, base = self._params[stream], self._base[stream]
        if self._pitches[stream][-1] == 0:
            kept = self._spread.get((stream, lanes))
            return b.load_splat(param, base, lanes) if kept is None else kept
        return b.load(param, b.iadd(base, at), lanes, offset=offset, mask=mask)

    @property
    def is_long(self) -> bool:
        """Whether values of f32 steps would drive a tile's accumulators out of registers."""
        return count_operations(self.steps, self.site.lanes) > SHORT

    @property
    def operations(self) -> float:
        """Vector operations of all of them, four a step."""
        whole = math.prod(self.dims)
        return 4.0 * len(self.steps) * whole / self.site.lanes


def refuses_steps(site: Site, *, first: int = 1) -> str:
    """Why the steps from `first` on cannot run on rows; empty if they can."""
    for step in site.steps[first:]:
        if Trait.POINTWISE not in lookup(step.op).traits:
            return f"`{step.op}` is not pointwise"
    if first and site.steps[first:]:
        types = [site.types[a] for a in site.anchor.args]
        made = lookup(site.anchor.op).infer(types, site.anchor.attrs)
        if made.shape != site.result.shape:
            return "a step behind the first gives a larger result"
    return ""
