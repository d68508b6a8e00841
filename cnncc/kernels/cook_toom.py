"""Minimal filtering F(m, r): m outputs of a filter of r taps with m + r - 1 multiplications.

`y = A^T [(G g) * (B^T d)]` for inputs d [n], taps g [r], outputs y [m], n = m + r - 1; in two
dimensions each transform is applied along both axes. (S. Winograd, "Arithmetic Complexity of
Computations", 1980; A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015,
whose matrices belong to the points 0, +-1, +-2.) The matrices follow from n - 1 points and
infinity: with M(t) the product of (t - p), row p of B^T holds the coefficients of M(t) / (t - p),
row p of G the powers of p over M'(p), column p of A^T the powers of p.

Points 0, +-sqrt(1/2), +-sqrt(2) round about half as badly as 0, +-1, +-2 (`docs/decisions`). As
points come in pairs p, -p, rows do too: both are a sum of even and odd terms, made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Value

F64 = NDArray[np.float64]
# Points above zero by inputs of a tile; each stands for its negative too, and 0 and infinity join.
_POINTS = {2: (), 4: (1.0,), 6: (0.5**0.5, 2.0**0.5), 8: (0.5, 1.0, 2.0)}


@dataclass(frozen=True)
class CookToom:
    """F(m, r) in one dimension; F(1, 1) is the identity.

    Attributes:
        outputs: m.
        taps: r.
    """

    outputs: int
    taps: int

    @property
    def inputs(self) -> int:
        """Of a tile, n = m + r - 1; the multiplications too."""
        return self.outputs + self.taps - 1

    @cached_property
    def points(self) -> tuple[float, ...]:
        """The finite points, in the order of the rows: 0, p, -p, ..."""
        if self.inputs not in _POINTS:
            raise InternalError(f"no points for F({self.outputs}, {self.taps})")
        return (0.0, *(s * p for p in _POINTS[self.inputs] for s in (1, -1)))

    @cached_property
    def input_matrix(self) -> F64:
        """B^T [n,n]."""
        if self.inputs == 1:
            return np.ones((1, 1))
        rows = np.zeros((self.inputs, self.inputs))
        for number, point in enumerate(self.points):
            others = [q for q in self.points if q != point]
            rows[number, : self.inputs - 1] = np.poly(others)[::-1]
        rows[-1] = np.poly(self.points)[::-1]
        return rows

    @cached_property
    def filter_matrix(self) -> F64:
        """G [n,r]."""
        if self.inputs == 1:
            return np.ones((1, 1))
        rows = np.zeros((self.inputs, self.taps))
        for number, point in enumerate(self.points):
            others = np.array([q for q in self.points if q != point])
            rows[number] = point ** np.arange(self.taps) / np.prod(point - others)
        rows[-1, -1] = 1.0
        return rows

    @cached_property
    def output_matrix(self) -> F64:
        """A^T [m,n]."""
        if self.inputs == 1:
            return np.ones((1, 1))
        powers = np.arange(self.outputs)[:, None]
        columns = np.array(self.points)[None, :] ** powers
        last = np.zeros((self.outputs, 1))
        last[-1] = 1.0
        return np.hstack([columns, last])

    def groups(self) -> list[list[int]]:
        """Rows of B^T that are made together: those of a point and its negative."""
        pairs = [[k, k + 1] for k in range(1, self.inputs - 1, 2)]
        ends = [[0], [self.inputs - 1]] if self.inputs > 1 else [[0]]
        return [ends[0], *pairs, *ends[1:]]

    def transform_inputs(
        self, b: Builder, group: list[int], values: dict[int, Value]
    ) -> list[Value]:
        """Rows `group` of B^T times the vectors `values`, by place; see `reads`."""
        matrix = self.input_matrix
        if len(group) == 1:
            return [combine(b, [(matrix[group[0], k], values[k]) for k in self.reads(group)])]
        point = self.points[group[0]]
        row = matrix[group[0]]
        even = [(row[k], values[k]) for k in self.reads(group) if k % 2 == 0]
        odd = [(row[k] / point, values[k]) for k in self.reads(group) if k % 2 == 1]
        return _sum_and_difference(b, combine(b, even), combine(b, odd), point)

    def reads(self, group: list[int]) -> list[int]:
        """The places that rows of a group read."""
        row = self.input_matrix[group[0]]
        return [k for k in range(self.inputs) if row[k] != 0.0]

    def transform_outputs(self, b: Builder, values: list[Value]) -> list[Value]:
        """A^T times n vectors: m vectors."""
        if self.inputs == 1:
            return values
        sums, differences = [], []
        for k in range(1, self.inputs - 1, 2):
            sums.append(b.binary("add", values[k], values[k + 1]))
            differences.append(b.binary("sub", values[k], values[k + 1]))
        made = []
        for power in range(self.outputs):
            halves = differences if power % 2 else sums
            terms = [(self.points[2 * k + 1] ** power, h) for k, h in enumerate(halves)]
            if power == 0:
                terms.insert(0, (1.0, values[0]))
            if power == self.outputs - 1:
                terms.append((1.0, values[-1]))
            made.append(combine(b, terms))
        return made


def combine(b: Builder, terms: list[tuple[float, Value]]) -> Value:
    """The sum of factor times vector, in as few operations: factors of 1 are added first."""
    plain = [value for factor, value in terms if factor == 1.0]
    rest = [(factor, value) for factor, value in terms if factor != 1.0]
    if plain:
        total = plain[0]
        for value in plain[1:]:
            total = b.binary("add", total, value)
    else:
        factor, value = rest.pop(0)
        total = b.binary("mul", value, _like(b, factor, value))
    for factor, value in rest:
        total = b.fma(value, _like(b, factor, value), total)
    return total


def _sum_and_difference(b: Builder, even: Value, odd: Value, point: float) -> list[Value]:
    """`even + point * odd` and `even - point * odd`."""
    if point == 1.0:
        return [b.binary("add", even, odd), b.binary("sub", even, odd)]
    return [b.fma(odd, _like(b, sign * point, odd), even) for sign in (1, -1)]


def _like(b: Builder, number: float, vector: Value) -> Value:
    return b.splat(b.const(number), vector.type.lanes)  # type: ignore[union-attr]
