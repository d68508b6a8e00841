"""Moving elements: where each one comes from and goes to, as data that the copy loops are made of.

A movement that maps channel, row and column each on its own is *separable*: the element of result
(c, y, x) lies at `channel[c] + row[y] + column[x]` on either side (`Cells`). Re-layouts, slices,
crops, joins, shuffles, flattening and nearest-neighbour resizing all are. `Movement` pairs the two
sides and groups the channels in blocks, with -1 where a block has no channel; `copy_nest.py` turns
it into loops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, Layout, Picked
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Kind, Value

Offsets = NDArray[np.int64]
KINDS = {
    DType.F32: Kind.F32,
    DType.F16: Kind.F16,
    DType.I32: Kind.I32,
    DType.I8: Kind.I8,
    DType.U8: Kind.U8,
}


@dataclass(frozen=True, eq=False)
class Cells:
    """One side of a movement: element offsets along the three axes.

    Attributes:
        channel: int64[C], the origin included.
        row: int64[H].
        column: int64[W].
        layout: the buffer's layout.
        channelled: whether `channel` still counts channels, not rows or columns (a transposition).
    """

    channel: Offsets
    row: Offsets
    column: Offsets
    layout: Layout | DenseLayout | Picked
    channelled: bool = True

    @classmethod
    def of(cls, layout: Layout | DenseLayout | Picked) -> Cells:
        """All elements of a value in logical order."""
        if isinstance(layout, Layout):
            channel = layout.slot_offsets[layout.channel_slots]
            steps = (layout.row_pitch, layout.block)
        elif isinstance(layout, Picked):
            channel, steps = layout.channel_offsets, (layout.row_pitch, layout.block)
        else:
            pitch, *rest = layout.pitches
            channel, steps = np.arange(layout.channels) * pitch, (rest[0], rest[1])
        row, column = np.arange(layout.height) * steps[0], np.arange(layout.width) * steps[1]
        return cls(channel, row, column, layout)

    def pick(
        self,
        channel: Offsets | slice = slice(None),
        row: Offsets | slice = slice(None),
        column: Offsets | slice = slice(None),
    ) -> Cells:
        """Some of the channels, rows and columns, in any order and with repetitions."""
        return replace(
            self, channel=self.channel[channel], row=self.row[row], column=self.column[column]
        )

    @property
    def kind(self) -> Kind:
        """Element kind of the buffer."""
        return KINDS[self.layout.dtype] if isinstance(self.layout, DenseLayout) else Kind.F32


@dataclass(frozen=True, eq=False)
class Movement:
    """A separable movement, its channels in groups of `lanes`.

    Attributes:
        source: int64[groups, lanes], channel offsets of the source; -1 where nothing comes from.
        dest: int64[groups, lanes], channel offsets of the result; -1 where nothing goes to. Where
            only the source is -1 the result gets 0: those are its padding lanes.
        channel: int64[groups, lanes], the logical channel, or -1.
        cells: the sides, source first.
        zero: bool[groups, lanes]: the source may be read at lane 0 + `lane` and is 0 there.
    """

    source: Offsets
    dest: Offsets
    channel: Offsets
    cells: tuple[Cells, Cells]
    zero: NDArray[np.bool_]

    @property
    def lanes(self) -> int:
        """Channels in a group."""
        return int(self.source.shape[1])

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.source.shape[0])

    @cached_property
    def moved(self) -> NDArray[np.bool_]:
        """Lanes that carry an element from the source to the result."""
        return (self.source >= 0) & (self.dest >= 0)

    def in_one_row(self) -> Movement | None:
        """The same with all rows one behind the other as a single one, where both sides allow it.

        They do where rows follow each other at the pace of the columns: there is no halo between.
        """
        sides = []
        for cells in self.cells:
            places = (cells.row[:, None] + cells.column).reshape(-1)
            steps = np.diff(places)
            if len(cells.row) == 1 or len(places) < 2 or np.any(steps != steps[0]):
                return None
            sides.append(replace(cells, row=np.zeros(1, np.int64), column=places))
        return replace(self, cells=(sides[0], sides[1]))

    def source_in_line(self) -> bool:
        """Whether the lanes of each group are neighbours in the source."""
        return _in_line(self.source)

    def dest_in_line(self) -> bool:
        """Whether the lanes of each group are neighbours in the result."""
        return _in_line(self.dest)

    @cached_property
    def vectors(self) -> list[list[int]]:
        """For each group where the vectors of the source begin that its lanes lie in.

        Only where the source is in blocks of as many channels as a group has lanes.
        """
        found = self.source // self.lanes * self.lanes
        return [
            sorted({int(v) for v, come in zip(row, lanes, strict=True) if come >= 0})
            for row, lanes in zip(found, self.source, strict=True)
        ]

    @property
    def loads_whole_groups(self) -> bool:
        """Whether a group may be read without a mask: lanes that must become 0 are 0 already."""
        return bool(np.all(self.moved | self.zero))

    @property
    def stores_whole_groups(self) -> bool:
        """Whether every lane goes somewhere."""
        return bool(np.all(self.dest >= 0))


def _in_line(offsets: Offsets) -> bool:
    """Lanes that exist come first and are one element apart."""
    there = offsets >= 0
    prefix = np.all(there[:, :-1] | ~there[:, 1:])
    expected = offsets[:, :1] + np.arange(offsets.shape[1])
    return bool(prefix and np.all(~there | (offsets == expected)))


def movement(source: Cells, dest: Cells, slots: tuple[int, int] | None = None) -> Movement:
    """Pair the sides, channel by channel.

    Args:
        source: where elements come from, in the order of `dest`.
        dest: where they go.
        slots: the channel slots (of a blocked result) that this movement has to fill, padding lanes
            included; by default all of them.
    """
    lengths = [(len(c.channel), len(c.row), len(c.column)) for c in (source, dest)]
    if lengths[0] != lengths[1]:
        raise InternalError(f"a movement of {lengths[0]} elements to {lengths[1]}")
    layout = dest.layout
    if isinstance(layout, Layout):
        first, last = slots or (0, layout.blocks * layout.block)
        lanes = layout.block if first % layout.block == 0 and last % layout.block == 0 else 1
        to = layout.slot_offsets[first:last]
        channel = _positions(dest.channel, to)
        come = np.where(channel >= 0, source.channel[channel], -1)
    elif isinstance(source.layout, Picked):
        lanes, come, to = 1, source.channel, dest.channel
        channel = np.arange(len(come))
    else:
        if not isinstance(source.layout, Layout):
            raise InternalError("a movement from one dense array to another")
        lanes = source.layout.block
        channel = _positions(source.channel, source.layout.slot_offsets).reshape(-1, lanes)
        channel = channel[(channel >= 0).any(axis=1)].reshape(-1)
        come = np.where(channel >= 0, source.channel[channel], -1)
        to = np.where(channel >= 0, dest.channel[channel], -1)
    shape = (-1, lanes)
    grouped = come.reshape(shape), to.reshape(shape), channel.reshape(shape)
    return Movement(*grouped, (source, dest), _zero_lanes(source, grouped[0], grouped[1]))


def _positions(offsets: Offsets, wanted: Offsets) -> Offsets:
    """Where each wanted offset stands in `offsets`, -1 where it does not."""
    place = {int(o): i for i, o in enumerate(offsets)}
    return np.array([place.get(int(w), -1) for w in wanted], np.int64)


def _zero_lanes(source: Cells, come: Offsets, to: Offsets) -> NDArray[np.bool_]:
    """Lanes behind the first of a group that are padding lanes of the source, or go nowhere."""
    zero = np.zeros(come.shape, bool)
    layout = source.layout
    if not isinstance(layout, Layout) or layout.block != come.shape[1] or not source.channelled:
        return zero
    padding = {int(o): bool(c < 0) for o, c in zip(layout.slot_offsets, layout.slot_channels,
                                                   strict=True)}  # fmt: skip
    for group, first in enumerate(come[:, 0]):
        for lane in range(come.shape[1]):
            there = padding.get(int(first) + lane)
            # A lane that goes nowhere may hold anything, as long as it lies in the block.
            zero[group, lane] = there is not None and (there or to[group, lane] < 0)
    return zero


class OffsetTable:
    """Whole numbers as a packed constant, for offsets that no formula gives.

    Packed constants are f32, so the table holds the numbers' bits.
    """

    def __init__(self, offsets: Offsets) -> None:
        if offsets.max(initial=0) >= 2**31:
            raise InternalError("an offset needs more than 31 bits")
        self.array = offsets.reshape(-1).astype(np.int32).view(np.float32)
        self._param: Value | None = None

    def declare(self, b: Builder, hint: str) -> None:
        """Add the parameter; its argument is `array`."""
        self._param = b.buffer(hint, Kind.F32, self.array.size)

    def at(self, b: Builder, index: Index) -> Value:
        """Entry `index`."""
        if self._param is None:
            raise InternalError("a table was read before it was declared")
        return b.convert(b.bitcast(b.load(self._param, index), Kind.I32), Kind.INDEX)


class AxisMap:
    """Offsets along an axis as code: `start + step * min(i // repeat, last)`, else a table.

    The clamp stands in for entries of -1 behind the last element when `fill` is set.
    """

    def __init__(self, offsets: Offsets, *, fill: bool = False) -> None:
        self.table: OffsetTable | None = None
        flat = offsets.reshape(-1)
        there = flat >= 0
        count = int(np.count_nonzero(there))
        dense = bool(there[:count].all()) and count > 0
        known = flat[:count] if dense else flat
        self.start = int(known[0])
        self.repeat = _repeat_of(known)
        steps = np.diff(known[:: self.repeat])
        self.step = int(steps[0]) if len(steps) else 0
        self.last = (count - 1) // self.repeat
        self.clamped = count < len(flat)
        index = np.arange(len(known)) // self.repeat
        affine = dense and bool(np.all(known == self.start + self.step * index))
        if not affine or (self.clamped and not fill):
            self.table = OffsetTable(_forward_filled(flat) if fill else flat)

    def declare(self, b: Builder, hint: str) -> None:
        """Add the table's parameter, if there is one; its argument is `table.array`."""
        if self.table is not None:
            self.table.declare(b, hint)

    def at(self, b: Builder, index: Index) -> Index:
        """The offset of entry `index`."""
        if self.table is not None:
            return self.table.at(b, index)
        turn = b.idiv(index, self.repeat)
        if self.clamped:
            turn = b.imin(turn, self.last)
        return b.iadd(b.imul(turn, self.step), self.start)


def _repeat_of(values: Offsets) -> int:
    """How often each value is repeated, 1 where that is not the same for all."""
    if len(values) < 2:
        return 1
    changes = np.flatnonzero(np.diff(values)) + 1
    first = int(changes[0]) if len(changes) else 1
    return first if np.array_equal(values, np.repeat(values[::first], first)[: len(values)]) else 1


def _forward_filled(values: Offsets) -> Offsets:
    """Each -1 replaced by the entry before it (the first one by the least entry)."""
    latest = np.maximum.accumulate(np.where(values >= 0, np.arange(len(values)), -1))
    return np.where(latest >= 0, values[latest], values[values >= 0].min())
