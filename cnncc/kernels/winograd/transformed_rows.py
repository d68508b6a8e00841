"""Rows of planes, transformed for minimal filtering of columns of pixels, in scratch memory.

A vector holds neighbouring columns of one channel: no lane needs another one's number, and a few
channels fill vectors as well as many.
"""

from __future__ import annotations

from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Arg, scratch_buffer
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Kind, Type, Value


class TransformedRows:
    """The rows that one tile of rows reads, as `[channel][product][column]`.

    Args:
        source: planes of the input.
        transform: along columns of pixels.
        pads: rows of padding above the picture, columns left of it.
        read: columns that are read, padding counted.
        lanes: of the target.
    """

    def __init__(
        self, source: Layout, transform: CookToom, pads: tuple[int, int], read: int, lanes: int
    ) -> None:
        self.source, self.transform, self.pads = source, transform, pads
        self.read, self.lanes = read, lanes
        self.pitch = -(-read // lanes) * lanes

    @property
    def plane(self) -> int:
        """Elements from one channel to the next."""
        return self.transform.products * self.pitch

    def declare(self, b: Builder) -> Arg:
        """Add the parameter of the scratch memory; returns its argument.

        There is room for a vector that begins in any column that is read.
        """
        size = self.source.blocks * self.plane + self.lanes
        self.buffer, arg = scratch_buffer(b, "rows", size)
        return arg

    def fill(self, b: Builder, x: Value, row: Index) -> None:
        """Transform the rows that belong to row `row` of the convolution and those behind it."""
        first = self.source.index(b, 0, b.isub(row, self.pads[0]), -self.pads[1])
        full, left = divmod(self.read, self.lanes)
        with b.loop(0, self.source.blocks, hint="ic") as channels:
            place = b.iadd(first, b.imul(channels.iv, self.source.plane_pitch))
            to = b.imul(channels.iv, self.plane)
            with b.loop(0, full * self.lanes, self.lanes, hint="x") as columns:
                self._vector(b, x, b.iadd(place, columns.iv), b.iadd(to, columns.iv), None)
            if left:
                held = tuple(i < left for i in range(self.lanes))
                mask = b.const(held, Type(Kind.BOOL, self.lanes))
                end = full * self.lanes
                self._vector(b, x, b.iadd(place, end), b.iadd(to, end), mask)

    def _vector(self, b: Builder, x: Value, place: Index, to: Index, mask: Value | None) -> None:
        pitch = self.source.row_pitch
        rows = {
            k: b.load(x, place, self.lanes, offset=k * pitch, mask=mask)
            for k in range(self.transform.inputs)
        }
        for group in self.transform.groups():
            made = self.transform.transform_inputs(b, group, rows)
            for product, value in zip(group, made, strict=True):
                b.store(self.buffer, to, value, offset=product * self.pitch)
