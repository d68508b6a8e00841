"""A pool over a convolution that comes in rows of tiles, of which a few rows wait in a ring.

Rows of tiles and rows of windows need not fall together: with each row of tiles those windows are
pooled whose last row has come.
"""

from __future__ import annotations

from cnncc.kernels.convolution.conv_ring import ring_shape
from cnncc.kernels.pool_behind import HeldRows, pool_of, pool_row
from cnncc.kernels.template import Arg, Site, scratch_buffer
from cnncc.kernels.winograd.phase_choice import PhaseChoice, PhaseShape
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class PoolRing:
    """Rows of the convolution that a pool reads, as `[channel block][row][column]`.

    Rows and columns are counted from the padding above and left; what lies outside the picture
    never wins a maximum.

    Args:
        site: it ends in a pool.
        conv: the convolution.
        choice: its tiles.
    """

    def __init__(self, site: Site, conv: PhaseShape, choice: PhaseChoice) -> None:
        self.choice, self.tile_rows = choice, choice.vertical.outputs
        self.conv, self.pool_behind = conv, pool_of(site)
        self.out, self.lanes = site.blocked_out, site.lanes
        attrs = self.pool_behind.step.attrs
        self.window, self.stride = attrs.window, attrs.strides
        size = (self.pool_behind.rows, self.pool_behind.columns)
        self.shape = ring_shape(self.conv.columns, attrs.window, attrs.strides, attrs.pads, size)
        # The last row of tiles may be followed by rows of padding.
        last = self.shape.reach - self.shape.top - (choice.down - 1) * self.tile_rows
        self.rows = self.window[0] - 1 + max(self.tile_rows, last)
        computed = choice.across * choice.horizontal.outputs
        self.pitch = (
            self.shape.left + max(computed, self.conv.columns + self.shape.right)
        ) * self.lanes

    def declare(self, b: Builder) -> Arg:
        """Add the parameter; returns its argument."""
        self.buffer, arg = scratch_buffer(b, "ring", self.conv.out_blocks * self.rows * self.pitch)
        return arg

    def clear(self, b: Builder, first: Value) -> None:
        """Padding on the left, and above where a call begins with the first item."""
        with b.loop(0, self.conv.out_blocks * self.rows, hint="row") as rows:
            self._fill(b, b.imul(rows.iv, self.pitch), self.shape.left)
        if self.shape.top:
            with (
                b.when(b.compare("eq", first, 0)),
                b.loop(0, self.conv.out_blocks, hint="block") as blocks,
            ):
                start = b.imul(blocks.iv, self.rows * self.pitch)
                self._fill(b, start, self.shape.top * self.pitch // self.lanes)

    def store(
        self, b: Builder, block: Index, y: Index, x: Index, pixels: dict[tuple[int, int], Value]
    ) -> None:
        """The results of a tile that begins at (y, x)."""
        column = b.imul(b.iadd(x, self.shape.left), self.lanes)
        starts = {
            row: b.iadd(self._row(b, block, b.iadd(y, row)), column)
            for row in dict.fromkeys(row for row, _ in pixels)
        }
        for (row, k), value in pixels.items():
            b.store(self.buffer, starts[row], value, offset=k * self.lanes)

    def close(self, b: Builder, down: Value) -> None:
        """What tiles of a row computed outside the picture, and padding below it."""
        y = b.imul(down, self.tile_rows)
        with b.loop(0, self.conv.out_blocks, hint="block") as blocks:
            if self.shape.right:
                start = (self.shape.left + self.conv.columns) * self.lanes
                with b.loop(y, b.iadd(y, self.tile_rows), hint="row") as rows:
                    row = self._row(b, blocks.iv, rows.iv)
                    self._fill(b, b.iadd(row, start), self.shape.right)
            end = self.shape.reach - self.shape.top
            if end > self.conv.rows:
                last = b.compare("eq", down, self.choice.down - 1)
                with b.loop(
                    self.conv.rows, b.select(last, end, self.conv.rows), hint="row"
                ) as rows:
                    row = self._row(b, blocks.iv, rows.iv)
                    self._fill(b, row, self.pitch // self.lanes)

    def pool(self, b: Builder, down: Value, result: Value) -> None:
        """The pooled rows whose last row of the convolution is one of this row of tiles."""
        ready = self._ready(b, b.iadd(down, 1))
        last = b.compare("eq", down, self.choice.down - 1)
        ready = b.select(last, self.pool_behind.rows, ready)
        before = b.select(b.compare("eq", down, 0), 0, self._ready(b, down))
        with (
            b.loop(before, ready, hint="oy") as pooled,
            b.loop(0, self.conv.out_blocks, hint="block") as blocks,
        ):
            first = b.isub(b.imul(pooled.iv, self.stride[0]), self.shape.top)
            slots = [self._row(b, blocks.iv, b.iadd(first, i)) for i in range(self.window[0])]
            held = HeldRows(self.buffer, slots, self.lanes, 1, self.lanes)
            pool_row(b, self.pool_behind, held, (result, self.out, blocks.iv, pooled.iv))

    def _ready(self, b: Builder, down: Index) -> Index:
        """Pooled rows that are done with so many rows of tiles, all but the last of them."""
        known = self.shape.top - self.window[0] + self.stride[0]
        rows = b.imax(b.iadd(b.imul(down, self.tile_rows), known), 0)
        return b.imin(b.idiv(rows, self.stride[0]), self.pool_behind.rows)

    def _row(self, b: Builder, block: Index, y: Index) -> Index:
        """Where a row of the convolution begins, its padding included."""
        slot = b.irem(b.iadd(y, self.shape.top), self.rows)
        return b.imul(b.iadd(b.imul(block, self.rows), slot), self.pitch)

    def _fill(self, b: Builder, start: Index, pixels: int) -> None:
        if pixels == 0:
            return
        least = b.splat(b.const(float("-inf")), self.lanes)
        with b.loop(0, pixels * self.lanes, self.lanes, hint="i") as i:
            b.store(self.buffer, b.iadd(start, i.iv), least)
