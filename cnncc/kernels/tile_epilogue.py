"""The epilogue of a register tile: vector after vector, or in a loop where the steps are long.

A few instructions for each vector are unrolled with the tile. Longer ones (an exponential takes
thirty) would make tens of kilobytes of one function, with constants that push accumulators out of
registers; so the tile is parked in scratch memory, which stays in L1, and a loop passes over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cnncc.errors import InternalError
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.template import Arg, Site, scratch_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


@dataclass(frozen=True, slots=True)
class Patch:
    """Which part of the result a tile's vectors are: pixel by pixel, the blocks of one together.

    Attributes:
        rows: rows of pixels.
        columns: columns of them.
        vectors: neighbouring channel blocks of each pixel.
        step: rows and columns of the result from one pixel to the next.
    """

    rows: int
    columns: int
    vectors: int
    step: tuple[int, int] = (1, 1)

    @property
    def pixels(self) -> list[tuple[int, int]]:
        """Row and column of each pixel, counted from the first."""
        down, right = self.step
        return [(r * down, c * right) for r in range(self.rows) for c in range(self.columns)]


class TileEpilogue:
    """Epilogue and lane mask of a kernel whose accumulators are a tile.

    Use: `declare` on a builder, which gives the arguments, then `finish` for each tile.

    Args:
        site: the node.
        last: step before which to stop, as in a slice; all by default.
        most: vectors of the largest tile; by default as many as there are registers.
    """

    def __init__(self, site: Site, *, last: int | None = None, most: int = 0) -> None:
        self.epilogue = Epilogue(site, last=last)
        # Even if the epilogue keeps zeros: NaN times a padding lane's zero filter is NaN.
        self.mask = LaneMask(site, needed=True)
        self._site = site
        self._most = most or site.target.vector_registers
        self._scratch: Value | None = None

    @cached_property
    def in_loop(self) -> bool:
        """Whether the steps are too long to be unrolled."""
        return self.epilogue.is_long

    def declare(self, b: Builder) -> list[Arg]:
        """Add the parameters; returns their arguments in order."""
        self.epilogue.declare(b)
        self.mask.declare(b)
        args: list[Arg] = [*self.epilogue.args, *self.mask.args]
        if self.in_loop:
            self._scratch, arg = scratch_buffer(b, "tile", self._most * self._site.lanes)
            args.append(arg)
        return args

    def finish(
        self, b: Builder, values: list[Value], patch: Patch, block: Index, y: Index, x: Index
    ) -> list[Value]:
        """The vectors behind all steps.

        `values` lie as the patch says, whose first pixel is (y, x) of channel block `block`.
        """
        if len(values) != len(patch.pixels) * patch.vectors:
            raise InternalError(f"{self._site.name}: {len(values)} vectors are no {patch}")
        if self._scratch is None:
            return self._unrolled(b, values, patch, block, y, x)
        return self._looped(b, self._scratch, values, patch, (block, y, x))

    def _unrolled(
        self, b: Builder, values: list[Value], patch: Patch, block: Index, y: Index, x: Index
    ) -> list[Value]:
        self.epilogue.open(b, block, y, x)
        places = [(r, c, v) for r, c in patch.pixels for v in range(patch.vectors)]
        finished = []
        for value, (row, column, v) in zip(values, places, strict=True):
            done = self.epilogue.apply(b, value, blocks=v, rows=row, columns=column)
            finished.append(self.mask.apply(b, done, b.iadd(block, v)))
        return finished

    def _looped(
        self,
        b: Builder,
        scratch: Value,
        values: list[Value],
        patch: Patch,
        at: tuple[Index, Index, Index],
    ) -> list[Value]:
        lanes, (block, y, x) = self._site.lanes, at
        if len(values) > self._most:
            raise InternalError(f"{self._site.name}: a tile of {len(values)} vectors")
        for number, value in enumerate(values):
            b.store(scratch, 0, value, offset=number * lanes)
        down, right = patch.step
        with (
            b.loop(0, patch.rows, hint="row") as rows,
            b.loop(0, patch.columns, hint="column") as columns,
        ):
            row, column = b.imul(rows.iv, down), b.imul(columns.iv, right)
            self.epilogue.open(b, block, b.iadd(y, row), b.iadd(x, column))
            pixel = b.iadd(b.imul(rows.iv, patch.columns), columns.iv)
            first = b.imul(pixel, patch.vectors * lanes)
            for v in range(patch.vectors):
                value = b.load(scratch, first, lanes, offset=v * lanes)
                done = self.epilogue.apply(b, value, blocks=v)
                masked = self.mask.apply(b, done, b.iadd(block, v))
                b.store(scratch, first, masked, offset=v * lanes)
        return [b.load(scratch, 0, lanes, offset=n * lanes) for n in range(len(values))]
