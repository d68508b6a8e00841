"""A binary heap in a buffer, for selections: no memory beyond its entries, no recursion.

Entries are what the caller says: some values that belong together, read from a slot and written to
one. The entry that lies above all others is in slot 0; the children of slot p are 2p+1 and 2p+2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Value

Entry = tuple[Value, ...]


@dataclass(frozen=True)
class Heap:
    """The code of one heap.

    Attributes:
        b: where the code goes.
        load: the entry in a slot.
        store: writes an entry to a slot.
        above: whether the first entry must lie above the second.
        most: entries that it may have.
    """

    b: Builder
    load: Callable[[Index], Entry]
    store: Callable[[Index, Entry], None]
    above: Callable[[Entry, Entry], Value]
    most: int

    def sift(self, slot: Index, entry: Entry, size: Index) -> None:
        """Put an entry into a slot, or below it, where children that belong above it move up."""
        b = self.b
        place = slot if isinstance(slot, Value) else b.const(slot, INDEX)
        levels = self.most.bit_length() - 1
        with b.loop(0, levels, carry=[place], hint="level") as loop:
            here = loop.carried[0]
            left = b.iadd(b.imul(here, 2), 1)
            inside = b.compare("lt", left, size)
            left = b.select(inside, left, 0)
            right = b.iadd(left, 1)
            right = b.select(b.compare("lt", right, size), right, left)
            swapped = self.above(self.load(right), self.load(left))
            child = b.select(swapped, right, left)
            moved = self.load(child)
            up = b.binary("and", inside, self.above(moved, entry))
            with b.when(up):
                self.store(here, moved)
            loop.yields([b.select(up, child, here)])
        self.store(loop.results[0], entry)

    def order(self, size: Index) -> None:
        """Make a heap of the first `size` slots."""
        b = self.b
        half = b.idiv(size, 2)
        with b.loop(0, half, hint="slot") as loop:
            slot = b.isub(b.isub(half, 1), loop.iv)
            self.sift(slot, self.load(slot), size)

    def sort(self, size: int) -> None:
        """Leave the entries in the slots with the one from the top last."""
        b = self.b
        with b.loop(0, size - 1, hint="slot") as loop:
            last = b.isub(size - 1, loop.iv)
            moved, top = self.load(last), self.load(0)
            self.store(last, top)
            self.sift(0, moved, last)


def exceeds(scalars: VectorScalars, a: Value, b: Value, *, is_float: bool, nan: str) -> Value:
    """Whether a > b, where NaN is the `highest` or the `lowest` of all numbers."""
    greater: Value = scalars.gt(a, b)
    if not is_float:
        return greater
    odd, whole = (a, b) if nan == "highest" else (b, a)
    stands_out = scalars.bit_and(scalars.ne(odd, odd), scalars.eq(whole, whole))
    found: Value = scalars.bit_or(greater, stands_out)
    return found
