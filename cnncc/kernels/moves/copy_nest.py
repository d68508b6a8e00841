"""Loops of a separable movement: six shapes, the first that fits is taken.

`runs`: a row of a group is one run of elements on both sides. `lanes`: the channels of a group are
neighbours on both sides, one vector a pixel. `transpose`: channels are neighbours on one side,
columns on the other; square tiles go through registers. `interleave`: the same for a few channels
that become one narrow block. `shuffle`: each vector of the result is put together of a few of the
source. `scalars`: everything else, one element at a time.
Each may scale on the way: x·factor + summand with one pair of numbers a channel.
"""

from __future__ import annotations

import numpy as np

from cnncc.kernels.layout import NARROW, Layout, Picked
from cnncc.kernels.movement import Movement, Offsets
from cnncc.kernels.moves.copy_loops import CopyLoops, Scaling, turn_elems
from cnncc.kernels.template import (
    Arg,
    Launch,
    PackedArg,
    ResultArg,
)

# Cycles an element beside the memory traffic, by shape of the loops.
_CYCLES = {
    "runs": 0.05,
    "lanes": 0.4,
    "transpose": 0.6,
    "interleave": 0.6,
    "shuffle": 0.4,
    "scalars": 3.0,
}
_MOST_VECTORS = 8  # that one vector of the result is put together of
_GRAIN_ELEMS = 8192  # below this a second thread costs more than it saves


class CopyNest:
    """The loop nest of one movement on a machine with vectors of `lanes` f32."""

    def __init__(self, move: Movement, lanes: int, scaling: Scaling | None = None) -> None:
        self.lanes = lanes
        self.scaling = scaling
        self._set(move)
        # Rows that are too short for vectors may be long enough together.
        whole = move.in_one_row() if self.shape == "scalars" else None
        if whole is not None:
            self._set(whole)
            if self.shape == "scalars":
                self._set(move)

    def _set(self, move: Movement) -> None:
        self.move = move
        self.source, self.dest = move.cells
        self.rows, self.width = len(self.source.row), len(self.source.column)
        self.shape = self._choose()

    # -- choice ------------------------------------------------------------------------------------

    def _choose(self) -> str:
        """Which of the six shapes of loops it is."""
        move = self.move
        in_line = move.source_in_line(), move.dest_in_line()
        based = bool(np.all(move.source[:, 0] >= 0) and np.all(move.dest[:, 0] >= 0))
        whole = move.loads_whole_groups and move.stores_whole_groups
        scaled = self.scaling is not None
        unit = turn_elems(move.lanes, self.lanes, scaled=scaled)
        if all(in_line) and based and whole and self._rows_are_runs() and unit:
            return "runs"
        if self._interleaves(in_line[1]):
            return "interleave"
        if move.lanes != self.lanes or self.lanes == 1 or not based:
            return "scalars"
        if all(in_line):
            return "lanes"
        if self.width >= self.lanes and self._transposes(in_line):
            return "transpose"
        if self._shuffles(in_line[1]):
            return "shuffle"
        return "scalars"

    def _shuffles(self, in_line: bool) -> bool:
        """Whole vectors of the result, each out of a few vectors of the source."""
        layout = self.source.layout
        same = isinstance(layout, Layout | Picked) and layout.block == self.lanes
        offsets = (self.source.row, self.source.column, self.move.dest[:, :1])
        aligned = all(bool(np.all(o % self.lanes == 0)) for o in offsets)
        whole = in_line and self.move.stores_whole_groups and self.scaling is None
        few = all(len(v) <= _MOST_VECTORS for v in self.move.vectors)
        return same and self.source.channelled and aligned and whole and few

    def _rows_are_runs(self) -> bool:
        return all(self._row_is_run(c.column) for c in self.move.cells)

    def _row_is_run(self, column: Offsets) -> bool:
        return np.array_equal(column - column[0], np.arange(self.width) * self.move.lanes)

    def _interleaves(self, in_line: bool) -> bool:
        """A few channels, columns in line before and channels in line behind."""
        narrow = 1 < self.move.lanes <= NARROW and self.lanes <= self.width
        across = bool(np.all(np.diff(self.source.column) == 1))
        whole = bool(self.move.moved.all())
        return narrow and across and whole and in_line and self._row_is_run(self.dest.column)

    def _transposes(self, in_line: tuple[bool, bool]) -> bool:
        """Lanes in line on one side, columns on the other (and nowhere a column repeated)."""
        across = [np.all(np.diff(c.column) == 1) for c in self.move.cells]
        into = in_line[1] and across[0] and self.move.stores_whole_groups
        out_of = in_line[0] and across[1] and self.move.loads_whole_groups
        return bool(into or (out_of and self.scaling is None))

    @property
    def cycles(self) -> float:
        """Predicted cycles of one thread beside the traffic."""
        return self.move.dest.size * self.rows * self.width * _CYCLES[self.shape]

    # -- code --------------------------------------------------------------------------------------

    def launch(self, name: str, source: Arg) -> Launch:
        """The function with its arguments; `source` is the buffer that it reads."""
        loops = CopyLoops(name, self.move, self.lanes, self.scaling)
        emit = {
            "runs": loops.runs,
            "lanes": loops.pixels,
            "transpose": loops.transpose,
            "interleave": loops.interleave,
            "shuffle": loops.shuffle,
            "scalars": loops.scalars,
        }[self.shape]
        units, body = emit()
        lo, hi = loops.b.index_param("lo"), loops.b.index_param("hi")
        with loops.b.loop(lo, hi, hint="item") as items:
            body(items.iv)
        work = units * self.rows
        grain = max(1, _GRAIN_ELEMS * work // max(1, self.move.dest.size * self.rows * self.width))
        args = (source, ResultArg(), *map(PackedArg, loops.tables))
        return Launch(loops.b.func, args, work, min(grain, work))
