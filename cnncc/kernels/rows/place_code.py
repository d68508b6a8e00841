"""Places that element rules compute: whole numbers that move with the lanes of a vector.

Where a bound or a quotient would bend a place, code holds for a part of the row only and raises
`Cut`, which says where the row must be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

_MOST_PERIODS = 8  # of a quotient in one row


class NotVectorizable(Exception):
    """The rule has no vector form along the axis; never leaves the kernels."""


class Cut(NotVectorizable):
    """The rule has vector forms on both sides of some places of the row.

    Attributes:
        points: those places.
    """

    def __init__(self, points: frozenset[int]) -> None:
        super().__init__(points)
        self.points = points


@dataclass(frozen=True, slots=True)
class Place:
    """A whole number: `index` in lane 0 and `step` more in each further one.

    Attributes:
        index: see above.
        step: see above.
        start: what it is at place 0 of the row, if nothing but the place in the row matters.
    """

    index: Index
    step: int = 0
    start: int | None = None


class PlaceCode:
    """Arithmetic on places, for a part of a row.

    Args:
        b: where the code goes.
        part: places of the row, from and to, that the code is for.
    """

    def __init__(self, b: Builder, part: tuple[int, int]) -> None:
        self._b = b
        self._part = part

    def plus(self, *places: Any) -> Place:
        """The sum of places."""
        known = [place_from(p) for p in places]
        starts = [p.start for p in known if p.start is not None]
        start = sum(starts) if len(starts) == len(known) else None
        return Place(self._b.iadd(*(p.index for p in known)), sum(p.step for p in known), start)

    def times(self, place: Any, factor: int) -> Place:
        """A place times a constant."""
        known = place_from(place)
        start = None if known.start is None else known.start * factor
        return Place(self._b.imul(known.index, factor), known.step * factor, start)

    def quotient(self, place: Any, divisor: int) -> Place:
        """A non-negative place divided by a positive constant."""
        known = place_from(place)
        if known.step:
            return place_from(self._period(known, divisor))
        return place_from(self._b.idiv(known.index, divisor))

    def remainder(self, place: Any, divisor: int) -> Place:
        """What the division leaves."""
        known = place_from(place)
        if known.step:
            return self.plus(known, -self._period(known, divisor) * divisor)
        return place_from(self._b.irem(known.index, divisor))

    def clamp(self, place: Any, low: int, high: int) -> Place:
        """The place in [low, high] nearest to `place`."""
        known = place_from(place)
        if not known.step:
            return place_from(self._b.imin(self._b.imax(known.index, low), high))
        least, most = self.range_of(known)
        if low <= least and most <= high:
            return known
        if most <= low or least >= high:
            return place_from(low if most <= low else high)
        raise self.cut(known, (low, high + 1))

    def range_of(self, place: Place) -> tuple[int, int]:
        """Least and greatest value in this part of the row."""
        if place.start is None:
            raise NotVectorizable
        ends = [place.step * at + place.start for at in (self._part[0], self._part[1] - 1)]
        return min(ends), max(ends)

    def _period(self, place: Place, divisor: int) -> int:
        """The quotient by a constant, the same all over this part of the row."""
        first, last = (end // divisor for end in self.range_of(place))
        if first == last:
            return first
        if last - first > _MOST_PERIODS:
            raise NotVectorizable
        raise self.cut(place, [period * divisor for period in range(first + 1, last + 1)])

    def cut(self, place: Place, limits: Sequence[int]) -> Cut:
        """Cuts at the first places of the row that are on the other side of a limit."""
        start = place.start or 0
        if place.step > 0:
            points = [-(-(limit - start) // place.step) for limit in limits]
        else:
            points = [(start - limit) // -place.step + 1 for limit in limits]
        low, high = self._part
        return Cut(frozenset(p for p in points if low < p < high))

    def alike(self, place: Any) -> Index:
        """A place that is the same in all lanes."""
        known = place_from(place)
        if known.step:
            raise NotVectorizable
        return known.index


def place_from(place: Any) -> Place:
    """A place, from one or from a number."""
    if isinstance(place, Place):
        return place
    return Place(place, start=place if isinstance(place, int) else None)
