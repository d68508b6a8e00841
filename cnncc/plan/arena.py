"""Where buffers go in the arena, so that those that live at the same time are apart.

Buffers are placed one after the other, each at the lowest offset where it overlaps none of those
that are placed and live at the same time; the largest come first (Pisarchyk and Lee, arXiv
2001.03288, "greedy by size"). Where the arena is then larger than what lives at the worst step, the
buffer on top of it goes forward in the order, for those before it took its place, and all is placed
again; the best of a few dozen turns counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TURNS = 64  # of moving a buffer forward, for each of the orders to begin with
_PATIENCE = 24  # turns without a smaller arena


@dataclass(frozen=True, slots=True)
class Interval:
    """A buffer: `elems` floats that live from step `first` to step `last`, both included."""

    owner: int
    elems: int
    first: int
    last: int

    def meets(self, other: Interval) -> bool:
        """Whether both live at some step."""
        return self.first <= other.last and other.first <= self.last


def place(intervals: Sequence[Interval]) -> tuple[dict[int, int], int]:
    """Offsets by owner, and the elements of the arena."""
    if not intervals:
        return {}, 0
    meeting = {
        i.owner: [o for o in intervals if o.owner != i.owner and o.meets(i)] for i in intervals
    }
    least = most_live(intervals)
    best: dict[int, int] = {}
    size = sum(i.elems for i in intervals) + 1
    for order in _orders(intervals):
        turns = idle = 0
        while turns < _TURNS and idle < _PATIENCE and size > least:
            offsets = _stack(order, meeting)
            top = max(order, key=lambda i: (offsets[i.owner] + i.elems, i.elems))
            end = offsets[top.owner] + top.elems
            turns, idle = turns + 1, 0 if end < size else idle + 1
            if end < size:
                best, size = offsets, end
            place = order.index(top)
            order.insert(place // 2, order.pop(place))
    return best, size


def _orders(intervals: Sequence[Interval]) -> list[list[Interval]]:
    """Orders to begin with: by size, by size and life, by life."""
    return [
        sorted(intervals, key=lambda i: (-i.elems, i.first, i.owner)),
        sorted(intervals, key=lambda i: (-i.elems * (1 + i.last - i.first), i.first, i.owner)),
        sorted(intervals, key=lambda i: (i.first - i.last, -i.elems, i.owner)),
    ]


def _stack(order: Sequence[Interval], meeting: Mapping[int, Sequence[Interval]]) -> dict[int, int]:
    """Each buffer at the lowest offset that those before it leave free."""
    offsets: dict[int, int] = {}
    for item in order:
        taken = sorted(
            (offsets[o.owner], offsets[o.owner] + o.elems)
            for o in meeting[item.owner]
            if o.owner in offsets
        )
        offset = 0
        for start, end in taken:
            if start - offset >= item.elems:
                break
            offset = max(offset, end)
        offsets[item.owner] = offset
    return offsets


def most_live(intervals: Sequence[Interval]) -> int:
    """The largest sum of sizes that live at one step."""
    steps = sorted({i.first for i in intervals})
    return max(
        (sum(i.elems for i in intervals if i.first <= s <= i.last) for s in steps), default=0
    )
