"""The tiles of a block, and register tiles that cover those of them that a plane has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from cnncc.kernels.winograd.winograd_choice import WinogradChoice
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


@dataclass(frozen=True, slots=True)
class BlockTiles:
    """The tiles of the map that go together.

    Attributes:
        choice: how the map falls into tiles and blocks.
    """

    choice: WinogradChoice

    @property
    def columns(self) -> int:
        """Tiles of the map in a register tile."""
        return min(self.choice.tile.columns, self.choice.block)

    @property
    def fringed(self) -> bool:
        """Whether the last row or column has smaller tiles."""
        return any(self.choice.fringe)

    def counts(self) -> set[int]:
        """How many tiles a plane may have in a block."""
        if self.fringed:
            return {n for _, n in self.choice.regions.counts()}
        return {self.choice.block, self.choice.tiles % self.choice.block} - {0}

    def range(self, b: Builder, plane: Index, count: Index) -> tuple[Index, Index]:
        """The tiles that a plane has in a block of so many: the first, and how many there are.

        Smaller tiles in the last row and column lack some planes.
        """
        if not self.fringed:
            return 0, count
        regions, pitch = self.choice.regions, self.choice.horizontal.products
        lacks = regions.lacking()
        row = _within(b, b.idiv(plane, pitch), lacks[0])
        column = _within(b, b.irem(plane, pitch), lacks[1])

        def of_plane(number: int) -> Index:
            whole, right, below, both = (
                regions.tiles(*case)[number]
                for case in ((False, False), (False, True), (True, False), (True, True))
            )
            return b.select(row, b.select(column, both, below), b.select(column, right, whole))

        return of_plane(0), of_plane(1)

    def each(
        self,
        b: Builder,
        first: Index,
        count: Index,
        part: Callable[[int, Index, Index], None],
    ) -> None:
        """`part(size, first, number)` for register tiles that cover so many tiles of the map."""
        columns = self.columns
        full, last = b.idiv(count, columns), b.irem(count, columns)

        def among(size: int, start: Index, number: Index) -> None:
            inside = start
            if len(self.counts()) > 1:  # which of them it is the bounds' proof cannot know
                inside = b.imin(start, self.choice.block - size)
            part(size, inside, number)

        if full == 1:
            among(columns, first, 0)
        else:
            with b.loop(0, full, hint="tile") as tiles:
                among(columns, b.iadd(first, b.imul(tiles.iv, columns)), tiles.iv)
        for size in sorted({n % columns for n in self.counts()} - {0}):
            with ExitStack() as cases:
                if len(self.counts()) > 1:
                    cases.enter_context(b.when(b.compare("eq", last, size)))
                among(size, b.iadd(first, b.imul(full, columns)), full)


def _within(b: Builder, place: Index, among: range) -> Value:
    """Whether a number is in a range."""
    inside = b.select(b.compare("lt", place, among.stop), place, -1)
    return b.compare("le", among.start if among else 0, inside)
