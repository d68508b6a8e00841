"""Rows of a picture of few channels, read out of planes and framed with zeros in scratch memory.

Planes are a caller's array of channels, rows and columns, or blocks of one channel: neither needs
a halo. The ring holds the rows that a row of tiles reads; the next one copies only the new ones.
Rows and columns are counted from the first ones of padding, so that they are never negative.
"""

from __future__ import annotations

from cnncc.ir.types import DType
from cnncc.kernels.layout import AnyLayout, DenseLayout, Layout
from cnncc.kernels.template import Arg, scratch_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


def refuses_planes(layout: AnyLayout | None) -> str:
    """Why a value cannot be read as planes of rows; an empty string when it can."""
    if isinstance(layout, DenseLayout):
        plain = layout.dtype is DType.F32 and layout.memory == "chw"
        return "" if plain else "the input is no f32 array of planes"
    if isinstance(layout, Layout) and layout.block == 1:
        return ""
    return "the input does not lie in planes"


class PlaneRows:
    """Code that copies rows of planes to where they have room around them.

    Args:
        layout: of the input.
        rows: rows that are held.
        pads: rows of zeros above the picture, columns left of it.
        width: pixels of a row in scratch memory, those of padding counted.
        lanes: of the target.
    """

    def __init__(
        self,
        layout: DenseLayout | Layout,
        rows: int,
        pads: tuple[int, int],
        width: int,
        lanes: int,
    ) -> None:
        self.layout, self.rows, self.pads, self.lanes = layout, rows, pads, lanes
        self.pitch = -(-width // lanes) * lanes
        if isinstance(layout, DenseLayout):
            self._plane, self._row, _ = layout.pitches
            self._first = 0
        else:
            self._plane, self._row, self._first = (
                layout.plane_pitch,
                layout.row_pitch,
                layout.origin,
            )

    def declare(self, b: Builder) -> Arg:
        """Add the parameter of the scratch memory; returns its argument."""
        size = self.rows * self.layout.channels * self.pitch
        self.buffer, arg = scratch_buffer(b, "rows", size)
        return arg

    def clear(self, b: Builder) -> None:
        """Zeros left and right; only rows of zeros are ever written there again."""
        left, end = self.pads[1], self.pads[1] + self.layout.width
        with b.loop(0, self.rows * self.layout.channels, hint="row") as rows:
            start = b.imul(rows.iv, self.pitch)
            self._zeros(b, start, left)
            self._zeros(b, b.iadd(start, end), self.pitch - end)

    def fill(self, b: Builder, source: Value, start: Index, end: Index) -> None:
        """Rows `start ..< end`: those of the picture, zeros above and below it."""
        top, bottom = self.pads[0], self.pads[0] + self.layout.height
        if top:
            with b.loop(start, b.imin(end, top), hint="above") as rows:
                self._zero_row(b, rows.iv)
        with b.loop(b.imax(start, bottom), end, hint="below") as rows:
            self._zero_row(b, rows.iv)
        with (
            b.loop(b.imax(start, top), b.imin(end, bottom), hint="row") as rows,
            b.loop(0, self.layout.channels, hint="ic") as channels,
        ):
            at = b.iadd(
                b.imul(channels.iv, self._plane),
                b.imul(b.isub(rows.iv, top), self._row),
                self._first,
            )
            self._copy(b, source, at, b.iadd(self.row(b, channels.iv, rows.iv), self.pads[1]))

    def row(self, b: Builder, channel: Index, number: Index) -> Index:
        """Element where a row of a channel begins, its padding included."""
        slot = b.imul(b.irem(number, self.rows), self.layout.channels)
        return b.imul(b.iadd(slot, channel), self.pitch)

    def _zero_row(self, b: Builder, number: Value) -> None:
        self._zeros(b, self.row(b, 0, number), self.layout.channels * self.pitch)

    def _zeros(self, b: Builder, start: Index, count: int) -> None:
        lanes = self.lanes if count % self.lanes == 0 else 1
        zero = b.splat(b.const(0.0), lanes)
        if count:
            with b.loop(0, count, lanes, hint="i") as i:
                b.store(self.buffer, b.iadd(start, i.iv), zero)

    def _copy(self, b: Builder, source: Value, at: Index, to: Index) -> None:
        """One row; its last vector may overlap the one before."""
        width = self.layout.width
        lanes = self.lanes if width >= self.lanes else 1
        with b.loop(0, width - lanes + 1, lanes, hint="x") as x:
            b.store(self.buffer, b.iadd(to, x.iv), b.load(source, b.iadd(at, x.iv), lanes))
        if width % lanes:
            last = b.load(source, at, lanes, offset=width - lanes)
            b.store(self.buffer, to, last, offset=width - lanes)
