"""Index values as linear forms over numbered symbols that have ranges.

What is not linear (a quotient, a minimum) becomes a new symbol with the range it can have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INFINITY = math.inf
Bound = int | float
Range = tuple[Bound, Bound]
EVERYTHING: Range = (-INFINITY, INFINITY)


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

    def multiple_of(self, other: Linear) -> int:
        """`f` where the terms of `f*other` are among these; 0 where there is none."""
        ratios = {divmod(self.terms.get(s, 0), f) for s, f in other.terms.items()}
        if len(ratios) != 1:
            return 0
        ((factor, rest),) = ratios
        return factor if rest == 0 else 0

    def range(self, ranges: Sequence[Range]) -> Range:
        """The least and greatest value, for symbols that vary within their ranges."""
        low: Bound = self.const
        high: Bound = self.const
        for symbol, factor in self.terms.items():
            a, b = (times(factor, bound) for bound in ranges[symbol])
            low, high = low + min(a, b), high + max(a, b)
        return low, high


class Symbols:
    """The symbols of one function.

    Attributes:
        ranges: least and greatest value of each.
        exact: whether a symbol is certain to take every value of its range.
        facts: ranges of sums of symbols that hold where the analysis stands.
    """

    def __init__(self) -> None:
        self.ranges: list[Range] = []
        self.exact: list[bool] = []
        self.facts: list[tuple[Linear, Range]] = []

    def fresh(self, range_: Range, *, exact: bool = False) -> Linear:
        """A new symbol."""
        self.ranges.append(range_)
        self.exact.append(exact)
        return Linear(0, {len(self.ranges) - 1: 1})

    def range(self, form: Linear) -> Range:
        """The range of a form as the symbols' ranges now are."""
        low, high = form.range(self.ranges)
        for sum_, known in self.facts:
            factor = form.multiple_of(sum_)
            if factor:
                a, b = (times(factor, bound) for bound in known)
                rest = form.minus(sum_.scaled(factor)).range(self.ranges)
                low, high = max(low, rest[0] + min(a, b)), min(high, rest[1] + max(a, b))
        return low, high

    def binary(self, op: str, a: Linear, b: Linear) -> Linear:
        """`op` of `BINARY_OPS` on two index values."""
        if op == "shl" and b.constant is not None and 0 <= b.constant < 64:
            op, b = "mul", Linear(1 << b.constant, {})
        elif op == "shr" and b.constant is not None and 0 <= b.constant < 64:
            op, b = "div", Linear(1 << b.constant, {})
        match op:
            case "add":
                return a.plus(b)
            case "sub":
                return a.minus(b)
            case "mul":
                return self.product(a, b)
            case "div":
                return self._quotient(a, b)
            case "rem":
                return self._rest(a, b)
            case "min":
                return self._extremum(a, b, 1)
            case "max":
                return self._extremum(a.scaled(-1), b.scaled(-1), -1)
            case "and" if b.constant is not None and b.constant >= 0:
                return self.fresh((0, b.constant))
            case _:
                return self.fresh(EVERYTHING)

    def product(self, a: Linear, b: Linear) -> Linear:
        """The product, linear where one factor is a number."""
        if a.constant is not None:
            return b.scaled(a.constant)
        if b.constant is not None:
            return a.scaled(b.constant)
        corners = [times(x, y) for x in self.range(a) for y in self.range(b)]
        return self.fresh((min(corners), max(corners)))

    def _quotient(self, a: Linear, b: Linear) -> Linear:
        """Of non-negative numbers, as LoopIR demands; what `b` divides stays linear."""
        divisor = b.constant
        if divisor is not None and divisor > 0:
            whole, rest = a.split(divisor)
            low, high = (quotient(bound, divisor) for bound in self.range(rest))
            if low == high:
                return whole.plus(Linear(int(low), {}))
            if not whole.terms:
                low = max(low, -whole.const)
            return whole.plus(self.fresh((low, high)))
        low, high = self.range(a)
        least, most = (max(1, bound) for bound in self.range(b))
        return self.fresh((quotient(max(0, low), most), quotient(max(0, high), least)))

    def _rest(self, a: Linear, b: Linear) -> Linear:
        divisor = b.constant
        if divisor is None or divisor <= 0:
            return self.fresh((0, max(0, self.range(b)[1] - 1)))
        rest = a.split(divisor)[1]
        low, high = self.range(rest)
        if low >= 0 and high < divisor:
            return rest
        return self.fresh((0, divisor - 1))

    def _extremum(self, a: Linear, b: Linear, sign: int) -> Linear:
        """The smaller of two forms, times `sign`."""
        low, high = self.range(a.minus(b))
        if high <= 0:
            return a.scaled(sign)
        if low >= 0:
            return b.scaled(sign)
        (a_low, a_high), (b_low, b_high) = self.range(a), self.range(b)
        return self.fresh((min(a_low, b_low), min(a_high, b_high))).scaled(sign)
