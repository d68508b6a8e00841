"""Products of minimal filtering whose filters are transformed while they are multiplied.

Transformed filters are 4 times as many numbers as taps for F(4x4, 3x3). Where few tiles read them,
their way from memory takes longer than all multiplications. Here a register tile is the planes of
one row of the transform by a few tiles: the taps of a channel are read, made into one vector of
filters a plane with additions, which have units of their own, and multiplied.

Channels go by in runs whose taps stay in the first level of cache for all rows; meanwhile the next
run's taps are fetched. What the runs give is added up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.targets.target import Target

_STEP = 2  # channels in a basic block: with more, a register tile does not stay in registers
_LINE_ELEMS = 16  # of a line of the cache
_REGISTERS = 32  # that a row of planes, its filters and what makes them need

# A buffer and the element where something begins in it.
Place = tuple[Value, Index]


def most_tiles(target: Target, horizontal: CookToom) -> int:
    """Tiles in registers beside a vector of filters for each plane; 0 where they find no room."""
    if target.vector_registers < _REGISTERS:
        return 0
    planes = max(phase.products for phase in horizontal.phases)
    # Other machines hold the numbers in registers, some of them ahead.
    others = 2 if target.multiplies_memory else 8
    return (target.vector_registers - others - planes) // planes


def run_blocks(target: Target, blocks: int, taps: int) -> int:
    """Blocks of input channels in a run: their taps take a good half of the L1 cache."""
    bytes_of_block = target.lanes() * taps * target.vector_bits // 8
    most = max(1, target.l1_bytes * 5 // 8 // bytes_of_block)
    return max(run for run in range(1, min(most, blocks) + 1) if blocks % run == 0)


def scaled_taps(
    packed: NDArray[np.float32], vertical: CookToom, horizontal: CookToom
) -> NDArray[np.float32]:
    """Filters `[panel][block][kh][kw][channel][lanes]` as `[panel][block][channel][tap][lanes]`."""
    scales = np.outer(vertical.tap_scales, horizontal.tap_scales)[:, :, None, None]
    scaled = (packed * scales).astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 1, 4, 2, 3, 5))


@dataclass(frozen=True, slots=True)
class ExpandedProducts:
    """The products of one vector of outputs.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        lanes: f32 lanes of a vector.
        blocks: blocks of input channels.
        run: how many of them go by at a time; divides their number.
        count: tiles.
        pitch: tiles that there is room for, in a plane of inputs and of products.
        most: tiles in registers.
        plane: elements from one plane of inputs to the next.
    """

    vertical: CookToom
    horizontal: CookToom
    lanes: int
    blocks: int
    run: int
    count: int
    pitch: int
    most: int
    plane: int

    @property
    def taps(self) -> int:
        """Taps of a channel."""
        return self.vertical.taps * self.horizontal.taps

    @property
    def elems(self) -> int:
        """Taps of all channels."""
        return self.blocks * self.lanes * self.taps * self.lanes

    def emit(self, b: Builder, inputs: Value, taps: Place, products: Value) -> None:
        """Write `products [plane][tile][lanes]` of one vector of outputs.

        Args:
            b: where the code goes.
            inputs: transformed inputs `[plane][block][tile][lanes]`.
            taps: scaled taps `[block][channel][tap][lanes]`.
            products: scratch memory.
        """
        passes = [(i, ks) for i in range(self.vertical.products) for ks in self._phases()]
        runs = self.blocks // self.run
        if runs > 1:
            self._clear(b, products)
        with b.loop(0, runs, hint="run") as loop:
            first = b.imul(loop.iv, self.run)
            own = (taps[0], b.iadd(taps[1], b.imul(first, self.lanes * self.taps * self.lanes)))
            seen = b.imul(first, self.pitch * self.lanes)
            for number, (row, columns) in enumerate(passes):
                part = _Pass(self, row, columns, number, len(passes))

                def tile(size: int, first: Index, part: _Pass = part) -> None:
                    at = b.imul(first, self.lanes)
                    sums = part.reduce(b, size, (inputs, b.iadd(seen, at)), own)
                    part.store(b, size, (products, at), sums, add=runs > 1)

                self._for_each_tile(b, tile)

    def _clear(self, b: Builder, products: Value) -> None:
        """Zeros, to which the runs add their sums."""
        zero = b.splat(b.const(0.0), self.lanes)
        every = self.vertical.products * self.horizontal.products * self.pitch
        with b.loop(0, every, hint="zero") as zeros:
            b.store(products, b.imul(zeros.iv, self.lanes), zero)

    def _phases(self) -> list[list[int]]:
        """Planes of a row that are made of the same taps."""
        ends = np.cumsum([phase.products for phase in self.horizontal.phases]).tolist()
        return [list(range(lo, hi)) for lo, hi in pairwise([0, *ends])]

    def _for_each_tile(self, b: Builder, body: Callable[[int, Index], None]) -> None:
        """Tiles of a register tile, and the first of them."""
        full, last = divmod(self.count, self.most)
        if full == 1:
            body(self.most, 0)
        elif full:
            with b.loop(0, full, hint="tile") as tiles:
                body(self.most, b.imul(tiles.iv, self.most))
        if last:
            body(last, full * self.most)


@dataclass(frozen=True, slots=True)
class _Pass:
    """Some planes of a row, of one run of channels.

    Attributes:
        whole: what it is a part of.
        row: of the vertical transform.
        columns: of the horizontal one.
        number: of the pass in its run.
        count: passes of a run.
    """

    whole: ExpandedProducts
    row: int
    columns: list[int]
    number: int
    count: int

    def reduce(self, b: Builder, size: int, source: Place, taps: Place) -> list[Value]:
        """Sums in order (column, tile) over the channels of the run."""
        w, lanes = self.whole, self.whole.lanes
        step = min(_STEP, lanes)
        zeros = [b.splat(b.const(0.0), lanes)] * (size * len(self.columns))
        with b.loop(0, w.run, carry=zeros, hint="icb") as blocks:
            below = b.iadd(source[1], b.imul(blocks.iv, w.pitch * lanes))
            with b.loop(0, lanes // step, carry=blocks.carried, hint="ic") as turns:
                turn = b.iadd(b.imul(blocks.iv, lanes // step), turns.iv)
                self._fetch(b, taps, turn)
                at = b.iadd(taps[1], b.imul(turn, step * w.taps * lanes))
                pixel = b.iadd(below, b.imul(turns.iv, step))
                acc = turns.carried
                for channel in range(step):
                    filters = self._filters(b, (taps[0], at), channel)
                    acc = self._multiply_add(b, size, (source[0], pixel), filters, acc, channel)
                turns.yields(acc)
            blocks.yields(turns.results)
        return blocks.results

    def _fetch(self, b: Builder, taps: Place, turn: Index) -> None:
        """Bring a part of the next run's taps nearer, the lines of all passes in order."""
        w = self.whole
        elems = w.run * w.lanes * w.taps * w.lanes
        turns = w.run * w.lanes // min(_STEP, w.lanes)
        lines = -(-elems // _LINE_ELEMS)
        each = -(-lines // (self.count * turns))
        first = elems + self.number * lines // self.count * _LINE_ELEMS
        at = b.iadd(taps[1], b.imul(turn, each * _LINE_ELEMS))
        for line in range(each):
            b.prefetch(taps[0], at, offset=first + line * _LINE_ELEMS)

    def _filters(self, b: Builder, taps: Place, channel: int) -> list[Value]:
        """The vectors of filters of all planes for one input channel."""
        tall, wide, lanes = self.whole.vertical, self.whole.horizontal, self.whole.lanes
        downs = np.flatnonzero(tall.expansion[self.row]).tolist()
        across = np.flatnonzero(wide.expansion[self.columns].any(axis=0)).tolist()
        line = {}
        for k in across:
            column = {}
            for j in downs:
                place = channel * self.whole.taps + j * wide.taps + k
                column[j] = b.load(*taps, lanes, offset=place * lanes)
            (line[k],) = tall.expand(b, [self.row], column)
        return wide.expand(b, self.columns, line)

    def _multiply_add(
        self, b: Builder, size: int, pixels: Place, filters: list[Value], acc: list[Value], c: int
    ) -> list[Value]:
        """Each plane's filters times the numbers of all tiles."""
        w = self.whole
        made: list[Value] = []
        for k, value in zip(self.columns, filters, strict=True):
            plane = (self.row * w.horizontal.products + k) * w.plane
            for t in range(size):
                number = b.load_splat(*pixels, w.lanes, offset=plane + t * w.lanes + c)
                made.append(b.fma(number, value, acc[len(made)]))
        return made

    def store(
        self, b: Builder, size: int, products: Place, sums: list[Value], *, add: bool
    ) -> None:
        """Write the sums of a run, or add them to those of the runs before."""
        w = self.whole
        for n, total in enumerate(sums):
            plane = self.row * w.horizontal.products + self.columns[n // size]
            offset = (plane * w.pitch + n % size) * w.lanes
            if add:
                total = b.binary("add", b.load(*products, w.lanes, offset=offset), total)
            b.store(*products, total, offset=offset)
