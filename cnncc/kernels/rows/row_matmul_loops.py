"""The loops of a matrix product: tiles of the result in registers, or dot products."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from cnncc.kernels.rows.row_major import (
    Buffers,
    Shape,
    flat,
    for_size,
    grain_of,
    pitches_of,
    split,
    tail_mask,
)
from cnncc.kernels.rows.row_matmul_tile import product_of, tile_of
from cnncc.kernels.rows.row_steps import RowSteps
from cnncc.kernels.scalars.lane_sums import across_lanes
from cnncc.kernels.template import Launch, Site
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value

_SUMMANDS = 4  # in one turn of the loop over them
_DOT_ROWS, _DOT_VECTORS = 2, 4  # sums of one work item and of each row: enough for the latency
_FLOPS_PER_ELEM = 16  # multiply-adds that take as long as an element of other kernels


class _Nest(ABC):
    """What both forms of the loops share: parameters, the batch, the steps behind."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.lanes = site.lanes
        self.p = product_of(site)
        self.steps = RowSteps(site)
        self.b = Builder("row_" + "_".join(dict.fromkeys(s.op for s in site.steps)))
        self.buffers = Buffers(self.b, site)
        left, right = site.anchor.args
        self.left, self.right = self.buffers.operand(left), self._right(right)
        self.steps.declare(self.buffers)
        self.out = self.buffers.result()

    def _right(self, operand: int) -> Value:
        return self.buffers.operand(operand)

    def launch(self) -> Launch:
        """The function, ready to run."""
        b, batch = self.b, self.p.batch
        lo, hi = b.index_param("lo"), b.index_param("hi")
        counts = self._counts()
        with b.loop(lo, hi, hint="item") as items:
            *where, first, second = split(b, items.iv, [*batch, *counts])
            self._item(where, first, second)
        work = math.prod(batch) * math.prod(counts)
        cost = math.prod(batch) * self.p.rows * self.p.columns * self.p.terms / _FLOPS_PER_ELEM
        return Launch(b.func, tuple(self.buffers.args), work, grain_of(work, cost))

    @abstractmethod
    def _counts(self) -> tuple[int, int]:
        """Work items of one matrix, on two axes."""

    @abstractmethod
    def _item(self, where: Sequence[Index], first: Index, second: Index) -> None:
        """One work item of the matrix at place `where` of the batch."""

    def _matrix(self, where: Sequence[Index], shape: Shape) -> Index:
        return flat(self.b, where, self.p.pitches(shape))

    def _place(self, where: Sequence[Index], row: Index) -> list[Index]:
        """The place of a row of the result on all axes but that of the columns."""
        axes = self.site.result.shape[: len(self.site.result.shape) - (len(self.p.right) > 1)]
        if len(axes) > len(where) + 1:  # rows of several matrices
            return split(self.b, row, axes)
        # The result has an axis of rows only where the left side has one.
        return [*where, row][: len(axes)]

    def _zero(self) -> Value:
        return self.b.const(0.0, vector(self.lanes))


class Tiles(_Nest):
    """One work item is a tile of the result."""

    def __init__(self, site: Site) -> None:
        self.tile = tile_of(site.target, product_of(site))
        self.packed = False
        super().__init__(site)
        self.held: Value | None = None
        if self.steps.is_long:
            self.held = self.buffers.scratch("sums", self.tile[0] * self.width)

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.tile[1] * self.lanes

    @property
    def panels(self) -> int:
        """Tiles side by side."""
        return -(-self.p.columns // self.width)

    def _right(self, operand: int) -> Value:
        constant = self.site.constants[operand]
        if constant is None:
            return self.buffers.operand(operand)
        self.packed = True
        terms, columns = self.p.terms, self.p.columns
        matrices = np.asarray(constant, np.float32).reshape(-1, terms, columns)
        padded = np.pad(matrices, ((0, 0), (0, 0), (0, self.panels * self.width - columns)))
        panels = padded.reshape(-1, terms, self.panels, self.width).transpose(0, 2, 1, 3)
        return self.buffers.packed("panels", np.ascontiguousarray(panels))

    def _counts(self) -> tuple[int, int]:
        return self.panels, -(-self.p.rows // self.tile[0])

    def _item(self, where: Sequence[Index], first: Index, second: Index) -> None:
        """Tile `second` from above in panel `first`."""

        def wide(height: int) -> None:
            for_size(
                self.b,
                self.p.columns,
                self.width,
                first,
                lambda width: self._tile(where, first, second, height, width),
            )

        for_size(self.b, self.p.rows, self.tile[0], second, wide)

    def _tile(
        self, where: Sequence[Index], panel: Index, number: Index, height: int, width: int
    ) -> None:
        b, p, lanes = self.b, self.p, self.lanes
        row, column = b.imul(number, self.tile[0]), b.imul(panel, self.width)
        left = b.iadd(self._matrix(where, p.left), b.imul(row, p.terms))
        masks = [tail_mask(b, width - at, lanes) for at in range(0, width, lanes)]
        right, pitch = self._panel(where, panel, column)
        loads: list[Value | None] = [None] * len(masks) if self.packed else masks
        sums = [self._zero()] * (height * len(masks))

        def add(sums: list[Value], k: Index, offset: int) -> list[Value]:
            at = b.iadd(right, b.imul(k, pitch))
            columns = [
                b.load(self.right, at, lanes, offset=offset * pitch + v * lanes, mask=mask)
                for v, mask in enumerate(loads)
            ]
            made = []
            for i in range(height):
                here = b.iadd(left, k)
                factor = b.load_splat(self.left, here, lanes, offset=i * p.terms + offset)
                for v, values in enumerate(columns):
                    made.append(b.fma(factor, values, sums[i * len(columns) + v]))
            return made

        turns = p.terms // _SUMMANDS
        if turns:
            with b.loop(0, turns, carry=sums, hint="k") as loop:
                at, made = b.imul(loop.iv, _SUMMANDS), loop.carried
                for k in range(_SUMMANDS):
                    made = add(made, at, k)
                loop.yields(made)
            sums = loop.results
        for k in range(turns * _SUMMANDS, p.terms):
            sums = add(sums, 0, k)
        self._store(where, row, column, height, masks, sums)

    def _panel(self, where: Sequence[Index], panel: Index, column: Index) -> tuple[Index, int]:
        """Where the right side's columns begin, and how far its rows are apart."""
        b, p = self.b, self.p
        matrix = self._matrix(where, p.right)
        if not self.packed:
            return b.iadd(matrix, column), p.columns
        size = p.terms * p.columns
        number = b.idiv(matrix, size) if size > 1 else matrix
        number = b.iadd(b.imul(number, self.panels), panel)
        return b.imul(number, p.terms * self.width), self.width

    def _store(
        self,
        where: Sequence[Index],
        row: Index,
        column: Index,
        height: int,
        masks: Sequence[Value | None],
        sums: Sequence[Value],
    ) -> None:
        count = len(masks)
        if self.held is None:
            for i in range(height):
                values = sums[i * count : (i + 1) * count]
                self._finish(where, self.b.iadd(row, i), column, masks, values)
            return
        # The steps want the registers of the sums themselves: row by row, from memory.
        for number, value in enumerate(sums):
            self.b.store(self.held, number * self.lanes, value)
        with self.b.loop(0, height, hint="row") as rows:
            at = self.b.imul(rows.iv, count * self.lanes)
            values = [self.b.load(self.held, at, self.lanes, offset=v * self.lanes)
                      for v in range(count)]  # fmt: skip
            self._finish(where, self.b.iadd(row, rows.iv), column, masks, values)

    def _finish(
        self,
        where: Sequence[Index],
        row: Index,
        column: Index,
        masks: Sequence[Value | None],
        values: Sequence[Value],
    ) -> None:
        """The steps on one row of a tile, and its way to memory."""
        b, p, lanes = self.b, self.p, self.lanes
        self.steps.open(b, self._place(where, row))
        base = flat(b, [*where, row], pitches_of((*p.batch, p.rows, p.columns))[:-1])
        for v, (mask, value) in enumerate(zip(masks, values, strict=True)):
            made = self.steps.apply(b, value, column, lanes, offset=v * lanes, mask=mask)
            b.store(self.out, b.iadd(base, column), made, offset=v * lanes, mask=mask)


class Dots(_Nest):
    """One work item is a few rows of the left side times the only column of the right."""

    def _counts(self) -> tuple[int, int]:
        return -(-self.p.rows // _DOT_ROWS), 1

    def _item(self, where: Sequence[Index], first: Index, second: Index) -> None:
        """A few rows of the left side with the one column of the right."""
        row = self.b.imul(first, _DOT_ROWS)
        for_size(self.b, self.p.rows, _DOT_ROWS, first, lambda n: self._dots(where, row, n))

    def _dots(self, where: Sequence[Index], row: Index, height: int) -> None:
        b, p = self.b, self.p
        left = b.iadd(self._matrix(where, p.left), b.imul(row, p.terms))
        right = self._matrix(where, p.right)
        unit = _DOT_VECTORS * self.lanes
        turns = p.terms // unit
        sums = [self._zero()] * (height * _DOT_VECTORS)
        if turns:
            with b.loop(0, turns, carry=sums, hint="k") as loop:
                at = b.imul(loop.iv, unit)
                made = list(loop.carried)
                for v in range(_DOT_VECTORS):
                    self._add(made, height, v, (left, right), at, v * self.lanes, None)
                loop.yields(made)
            sums = loop.results
        sums = list(sums)
        for v, at in enumerate(range(turns * unit, p.terms, self.lanes)):
            mask = tail_mask(b, p.terms - at, self.lanes)
            self._add(sums, height, v, (left, right), 0, at, mask)
        self._finish(where, row, height, sums)

    def _add(
        self,
        sums: list[Value],
        height: int,
        number: int,
        bases: tuple[Index, Index],
        at: Index,
        offset: int,
        mask: Value | None,
    ) -> None:
        b, p = self.b, self.p
        column = b.load(self.right, b.iadd(bases[1], at), self.lanes, offset=offset, mask=mask)
        for i in range(height):
            here, far = b.iadd(bases[0], at), i * p.terms + offset
            values = b.load(self.left, here, self.lanes, offset=far, mask=mask)
            slot = i * _DOT_VECTORS + number
            sums[slot] = b.fma(values, column, sums[slot])

    def _finish(
        self, where: Sequence[Index], row: Index, height: int, sums: Sequence[Value]
    ) -> None:
        b, p = self.b, self.p
        shape = self.site.result.shape
        pitches = pitches_of((*p.batch, p.rows))
        for i in range(height):
            own = sums[i * _DOT_VECTORS : (i + 1) * _DOT_VECTORS]
            here = [*where, b.iadd(row, i)]
            value = across_lanes(b, lambda x, y: b.binary("add", x, y), own)
            # The result has the axes of rows and of columns only where the operands have them.
            place = [*self._place(where, here[-1]), *[0] * (len(p.right) > 1)]
            place = place or [0] * (len(shape) or 1)
            self.steps.open(b, place[:-1])
            value = self.steps.apply(b, value, place[-1], 1)
            b.store(self.out, flat(b, here, pitches), value)
