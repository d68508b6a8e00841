"""The loops of a separable movement, one method a shape; `copy_nest.py` says which is taken."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.layout import Picked
from cnncc.kernels.movement import AxisMap, Movement
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Kind, Value

Scaling = tuple[NDArray[np.float32], NDArray[np.float32]]  # factor and summand, f32[C] each
_UNROLLED = 4
_MOST_CONSTANT_VECTORS = 8
Body = Callable[[Value], None]


class CopyLoops:
    """Writes one function; each shape declares its tables and gives (units a row, item body).

    Attributes:
        b: where the code goes.
        tables: packed constants in the order of their parameters, which follow source and result.
    """

    def __init__(self, name: str, move: Movement, lanes: int, scaling: Scaling | None) -> None:
        self.move = move
        self.lanes = lanes
        self.scaling = scaling
        self.b = Builder(name)
        self.tables: list[NDArray[np.float32]] = []
        self.source, self.dest = source, dest = move.cells
        self.rows, self.width = len(source.row), len(source.column)
        apart = not isinstance(source.layout, Picked)  # else the result may lie between its parts
        self.x = self.b.buffer("x", source.kind, source.layout.elems, unique=apart)
        self.out = self.b.buffer("out", Kind.F32, dest.layout.elems, writable=True, unique=apart)
        self.row = self._map(source.row, "source_row"), self._map(dest.row, "row")
        self.column = self._map(source.column, "source_column"), self._map(dest.column, "column")

    # -- parameters --------------------------------------------------------------------------------

    def _map(self, offsets: NDArray[np.int64], hint: str, *, fill: bool = False) -> AxisMap:
        made = AxisMap(offsets, fill=fill)
        made.declare(self.b, hint)
        if made.table is not None:
            self.tables.append(made.table.array)
        return made

    def _numbers(self, hint: str, values: NDArray[np.float32]) -> Value:
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        self.tables.append(flat)
        return self.b.buffer(hint, Kind.F32, flat.size)

    def _flags(self, hint: str, lanes: NDArray[np.bool_]) -> Value | None:
        """A table of 0 and 1, unless all are set."""
        return None if lanes.all() else self._numbers(hint, lanes.astype(np.float32))

    def _constants(self, channels: NDArray[np.int64]) -> tuple[Value, Value] | None:
        """Tables of factors and summands in the order of `channels`, 0 where there is none."""
        if self.scaling is None:
            return None
        there = channels >= 0
        tables = [np.where(there, v[channels], np.float32(0)) for v in self.scaling]
        return self._numbers("factor", tables[0]), self._numbers("summand", tables[1])

    # -- pieces ------------------------------------------------------------------------------------

    def _load(self, index: Index, lanes: int, offset: int = 0, mask: Value | None = None) -> Value:
        value = self.b.load(self.x, index, lanes, offset=offset, mask=mask)
        return value if self.source.kind is Kind.F32 else self.b.convert(value, Kind.F32)

    def _scaled(self, value: Value, pair: tuple[Value, Value] | None) -> Value:
        return value if pair is None else self.b.fma(value, *pair)

    def _pair(
        self, tables: tuple[Value, Value] | None, index: Index, lanes: int, offset: int = 0
    ) -> tuple[Value, Value] | None:
        if tables is None:
            return None
        factor, summand = (self.b.load(t, index, lanes, offset=offset) for t in tables)
        return factor, summand

    def _mask(self, flags: Value | None, index: Index) -> Value | None:
        if flags is None:
            return None
        lanes = self.lanes
        zero = self.b.const(0.0, vector(lanes))
        return self.b.compare("gt", self.b.load(flags, index, lanes), zero)

    def _bases(self, maps: tuple[AxisMap, AxisMap], unit: Index, row: Index) -> tuple[Index, Index]:
        """Where a row of a group begins, on both sides."""
        source, dest = (
            self.b.iadd(m.at(self.b, unit), r.at(self.b, row))
            for m, r in zip(maps, self.row, strict=True)
        )
        return source, dest

    def _split(self, item: Value) -> tuple[Index, Index]:
        """Group and row of an item."""
        return self.b.idiv(item, self.rows), self.b.irem(item, self.rows)

    def _group_maps(self) -> tuple[AxisMap, AxisMap]:
        source = self._map(self.move.source[:, 0], "source_group")
        return source, self._map(self.move.dest[:, 0], "group")

    # -- the four shapes ---------------------------------------------------------------------------

    def runs(self) -> tuple[int, Body]:
        """One run of `width * group` elements an item."""
        b, lanes = self.b, self.lanes
        group, total = self.move.lanes, self.width * self.move.lanes
        unit = turn_elems(group, lanes, scaled=self.scaling is not None)
        maps = self._group_maps()
        starts = [*range(0, unit, lanes), max(0, total - lanes)]  # the last one overlaps
        places = np.add.outer(starts, np.arange(lanes)).reshape(-1) % group
        constants = self._constants(self.move.channel[:, places])
        first = self.source.column[0], self.dest.column[0]

        def body(item: Value) -> None:
            group_index, row = self._split(item)
            source, dest = self._bases(maps, group_index, row)
            source, dest = b.iadd(source, int(first[0])), b.iadd(dest, int(first[1]))
            known = b.imul(group_index, len(starts) * lanes)

            def move(at: Index, number: int, offset: int, count: int = lanes) -> None:
                pair = self._pair(constants, known, count, number * lanes)
                value = self._load(b.iadd(source, at), count, offset)
                b.store(self.out, b.iadd(dest, at), self._scaled(value, pair), offset=offset)

            turns = total // unit
            with b.loop(0, turns, hint="turn") as loop:
                at = b.imul(loop.iv, unit)
                for v in range(unit // lanes):
                    move(at, v, v * lanes)
            rest = total - turns * unit
            for v in range(rest // lanes):
                move(turns * unit, v, v * lanes)
            if total < lanes:
                for e in range(total):
                    self._element(source, dest, constants, known, e)
            elif rest % lanes:
                move(total - lanes, len(starts) - 1, 0)

        return self.move.groups, body

    def _element(
        self,
        source: Index,
        dest: Index,
        constants: tuple[Value, Value] | None,
        known: Index,
        place: int,
    ) -> None:
        pair = self._pair(constants, known, 1, place)
        self.b.store(self.out, dest, self._scaled(self._load(source, 1, place), pair), offset=place)

    def pixels(self) -> tuple[int, Body]:
        """One vector a pixel."""
        b, lanes = self.b, self.lanes
        maps = self._group_maps()
        loads = self.move.moved | self.move.zero
        load_flags = self._flags("load_lanes", loads)
        store_flags = self._flags("store_lanes", self.move.dest >= 0)
        constants = self._constants(self.move.channel)

        def body(item: Value) -> None:
            group, row = self._split(item)
            source, dest = self._bases(maps, group, row)
            known = b.imul(group, lanes)
            load_mask, store_mask = self._mask(load_flags, known), self._mask(store_flags, known)
            pair = self._pair(constants, known, lanes)
            with b.loop(0, self.width, hint="x") as columns:
                at, to = (m.at(b, columns.iv) for m in self.column)
                value = self._load(b.iadd(source, at), lanes, mask=load_mask)
                value = self._scaled(value, pair)
                b.store(self.out, b.iadd(dest, to), value, mask=store_mask)

        return self.move.groups, body

    def transpose(self) -> tuple[int, Body]:
        """Square tiles; the last one overlaps the one before."""
        into_lanes = self.move.dest_in_line() and self.move.stores_whole_groups
        return self._rows_to_lanes() if into_lanes else self._lanes_to_rows()

    def _tiles(self, body: Callable[[Index], None]) -> None:
        width, lanes = self.width, self.lanes
        with self.b.loop(0, -(-width // lanes), hint="tile") as tiles:
            body(self.b.imin(self.b.imul(tiles.iv, lanes), width - lanes))

    def _rows_to_lanes(self) -> tuple[int, Body]:
        b, lanes = self.b, self.lanes
        channels = self._map(self.move.source, "source_channel", fill=True)
        base = self._map(self.move.dest[:, 0], "group")
        flags = self._flags("lane_flags", self.move.moved)
        constants = self._constants(self.move.channel)

        def body(item: Value) -> None:
            group, row = self._split(item)
            known = b.imul(group, lanes)
            line = self.row[0].at(b, row)
            lines = [b.iadd(channels.at(b, b.iadd(known, i)), line) for i in range(lanes)]
            dest = b.iadd(base.at(b, group), self.row[1].at(b, row))
            mask, pair = self._mask(flags, known), self._pair(constants, known, lanes)

            def tile(x: Index) -> None:
                at = self.column[0].at(b, x)
                square = transposed(b, [self._load(b.iadd(line, at), lanes) for line in lines])
                for i, pixel in enumerate(square):
                    value = self._scaled(pixel, pair)
                    if mask is not None:
                        value = b.select(mask, value, b.const(0.0, vector(lanes)))
                    b.store(self.out, b.iadd(dest, self.column[1].at(b, b.iadd(x, i))), value)

            self._tiles(tile)

        return self.move.groups, body

    def interleave(self) -> tuple[int, Body]:
        """Vectors of columns of a few channels, shuffled into one run; the last tile overlaps."""
        b, lanes, group = self.b, self.lanes, self.move.lanes
        channels = self._map(self.move.source, "source_channel")
        base = self._map(self.move.dest[:, 0], "group")
        places = np.arange(group * lanes) % group
        constants = self._constants(self.move.channel[:, places])

        def body(item: Value) -> None:
            index, row = self._split(item)
            line, known = self.row[0].at(b, row), b.imul(index, group * lanes)
            first = b.imul(index, group)
            lines = [b.iadd(channels.at(b, b.iadd(first, i)), line) for i in range(group)]
            dest = b.iadd(base.at(b, index), self.row[1].at(b, row))
            pairs = [self._pair(constants, known, lanes, v * lanes) for v in range(group)]

            def tile(x: Index) -> None:
                at, to = (m.at(b, x) for m in self.column)
                planes = [self._load(b.iadd(line, at), lanes) for line in lines]
                for v, pair in enumerate(pairs):
                    value = self._scaled(interleaved(b, planes, lanes, v), pair)
                    b.store(self.out, b.iadd(dest, to), value, offset=v * lanes)

            self._tiles(tile)

        return self.move.groups, body

    def shuffle(self) -> tuple[int, Body]:
        """A row of all groups an item: a few vectors are loaded and shuffled into one."""
        b, lanes = self.b, self.lanes
        nothing = b.const(0.0, vector(lanes))

        def body(row: Value) -> None:
            source, dest = (m.at(b, row) for m in self.row)
            for group, vectors in enumerate(self.move.vectors):
                come = self.move.source[group]
                to = b.iadd(dest, int(self.move.dest[group, 0]))
                with b.loop(0, self.width, hint="x") as columns:
                    at, place = (m.at(b, columns.iv) for m in self.column)
                    value = nothing
                    for start in vectors:
                        known = self._load(b.iadd(source, at), lanes, start)
                        order = [
                            lanes + int(c) - start if start <= c < start + lanes else lane
                            for lane, c in enumerate(come)
                        ]
                        value = b.shuffle(value, known, order)
                    b.store(self.out, b.iadd(to, place), value)

        return 1, body

    def _lanes_to_rows(self) -> tuple[int, Body]:
        b, lanes = self.b, self.lanes
        base = self._map(self.move.source[:, 0], "source_group")
        channels = self._map(self.move.dest, "channel", fill=True)
        there = self.move.dest.reshape(-1) >= 0
        count = self._map(np.count_nonzero(self.move.dest >= 0, axis=1), "count")

        def body(item: Value) -> None:
            group, row = self._split(item)
            known = b.imul(group, lanes)
            source = b.iadd(base.at(b, group), self.row[0].at(b, row))
            line = self.row[1].at(b, row)

            def tile(x: Index) -> None:
                pixels = [
                    self._load(b.iadd(source, self.column[0].at(b, b.iadd(x, i))), lanes)
                    for i in range(lanes)
                ]
                at = b.iadd(line, self.column[1].at(b, x))
                for i, values in enumerate(transposed(b, pixels)):
                    to = b.iadd(channels.at(b, b.iadd(known, i)), at)
                    if there.all():
                        b.store(self.out, to, values)
                        continue
                    with b.when(b.compare("gt", count.at(b, group), i)):
                        b.store(self.out, to, values)

            self._tiles(tile)

        return self.move.groups, body

    def scalars(self) -> tuple[int, Body]:
        """One channel of one row an item, neighbouring channels one after another."""
        b = self.b
        goes = self.move.dest.reshape(-1) >= 0
        come, to = self.move.source.reshape(-1)[goes], self.move.dest.reshape(-1)[goes]
        source, dest = self._map(come, "source_channel"), self._map(to, "channel")
        constants = self._constants(self.move.channel.reshape(-1)[goes])
        count = len(come)

        def body(item: Value) -> None:
            row, slot = b.idiv(item, count), b.irem(item, count)
            first, line = source.at(b, slot), self.row[0].at(b, row)
            target = b.iadd(dest.at(b, slot), self.row[1].at(b, row))

            def copy() -> None:
                pair = self._pair(constants, slot, 1)
                with b.loop(0, self.width, hint="x") as columns:
                    at = b.iadd(first, line, self.column[0].at(b, columns.iv))
                    where = b.iadd(target, self.column[1].at(b, columns.iv))
                    b.store(self.out, where, self._scaled(self._load(at, 1), pair))

            if (come >= 0).all():
                copy()
                return
            with b.when(b.compare("ge", first, 0)):
                copy()
            with b.otherwise(), b.loop(0, self.width, hint="x") as columns:
                where = b.iadd(target, self.column[1].at(b, columns.iv))
                b.store(self.out, where, b.const(0.0))

        return count, body


def turn_elems(group: int, lanes: int, *, scaled: bool) -> int:
    """Elements that a turn of the `runs` loop moves; 0 where it needs too many constants."""
    if not scaled:
        return _UNROLLED * lanes
    unit = math.lcm(group, lanes)
    return unit if unit <= _MOST_CONSTANT_VECTORS * lanes else 0


def interleaved(b: Builder, planes: list[Value], lanes: int, number: int) -> Value:
    """Vector `number` of the elements of n `planes` taken in turn.

    Lane j is element e = number·lanes + j, which is lane e div n of plane e mod n.
    """
    picks = [divmod(number * lanes + j, len(planes)) for j in range(lanes)]
    value = planes[0]
    for plane in range(1, len(planes)):
        order = [
            lanes + place if source == plane else (place if plane == 1 and source == 0 else j)
            for j, (place, source) in enumerate(picks)
        ]
        value = b.shuffle(value, planes[plane], order)
    return value


def transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """The transpose of a square of n vectors of n lanes, n a power of two.

    Stage h swaps bit h of the row number with bit h of the lane number.
    """
    lanes = len(rows)
    stage = 1
    while stage < lanes:
        swapped = list(rows)
        for i in (i for i in range(lanes) if not i & stage):
            j = i | stage
            low = [lane if not lane & stage else lanes + lane - stage for lane in range(lanes)]
            high = [lane + stage if not lane & stage else lanes + lane for lane in range(lanes)]
            swapped[i] = b.shuffle(rows[i], rows[j], low)
            swapped[j] = b.shuffle(rows[i], rows[j], high)
        rows, stage = swapped, stage * 2
    return rows
