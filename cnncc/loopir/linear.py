"""Linear forms with integer coefficients over numbered symbols, and ranges of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INFINITY = math.inf
Bound = int | float
Range = tuple[Bound, Bound]


def times(a: Bound, b: Bound) -> Bound:
    """The product of two bounds, where zero times infinity is zero."""
    return 0 if a == 0 or b == 0 else a * b


def quotient(a: Bound, b: Bound) -> Bound:
    """The floor of a quotient of bounds, `b > 0`."""
    if abs(a) == INFINITY:
        return a
    return (0 if a >= 0 else -1) if b == INFINITY else a // b


@dataclass(frozen=True, slots=True)
class Linear:
    """`const + sum(terms[symbol] * symbol)`; no coefficient is zero."""

    const: int
    terms: Mapping[int, int]

    @property
    def constant(self) -> int | None:
        """The value of a form without symbols."""
        return None if self.terms else self.const

    def plus(self, other: Linear) -> Linear:
        """The sum."""
        if not other.terms:
            return Linear(self.const + other.const, self.terms)
        terms = dict(self.terms)
        for symbol, factor in other.terms.items():
            total = terms.pop(symbol, 0) + factor
            if total:
                terms[symbol] = total
        return Linear(self.const + other.const, terms)

    def minus(self, other: Linear) -> Linear:
        """The difference."""
        return self.plus(other.scaled(-1))

    def scaled(self, factor: int) -> Linear:
        """The product with a number."""
        if factor == 0:
            return Linear(0, {})
        return Linear(self.const * factor, {s: f * factor for s, f in self.terms.items()})

    def split(self, divisor: int) -> tuple[Linear, Linear]:
        """`(q, r)` with `self == divisor*q + r`, and in `r` what the divisor does not divide."""
        whole = {s: f // divisor for s, f in self.terms.items() if f % divisor == 0}
        rest = {s: f for s, f in self.terms.items() if f % divisor}
        return Linear(self.const // divisor, whole), Linear(self.const % divisor, rest)

    def range(self, ranges: Sequence[Range]) -> Range:
        """The least and greatest value, for symbols that vary within their ranges."""
        low: Bound = self.const
        high: Bound = self.const
        for symbol, factor in self.terms.items():
            a, b = (times(factor, bound) for bound in ranges[symbol])
            low, high = low + min(a, b), high + max(a, b)
        return low, high
