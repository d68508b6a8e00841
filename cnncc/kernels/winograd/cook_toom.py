"""Minimal filtering F(m, r): m outputs of a filter of r taps with m + r - 1 products.

`y = A^T [(G g) * (B^T d)]` for inputs d [n], taps g [r], outputs y [m], n = m + r - 1; in two
dimensions each transform is applied along both axes. (S. Winograd, "Arithmetic Complexity of
Computations", 1980; A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015,
whose matrices belong to the points 0, +-1, +-2.) The matrices follow from n - 1 points and
infinity: with M(t) the product of (t - p), row p of B^T holds the coefficients of M(t) / (t - p),
row p of G the powers of p over M'(p), column p of A^T the powers of p.

Points 0, +-sqrt(1/2), +-sqrt(2) round about half as badly as 0, +-1, +-2 (`docs/decisions`). As
points come in pairs p, -p, rows do too: both are a sum of even and odd terms, made once.

With a stride s the inputs fall into s phases, and each phase of the taps filters its own with a
stride of 1: y is the sum of F(m, taps of the phase), whose products are rows of the same form.

Filters can be transformed while they are multiplied: with the taps scaled by powers of the least
point, and M'(p) in the rows of B^T instead, G holds powers of whole numbers, and its rows are a few
additions of taps each (`expands`).

A smaller transform can do with some rows of a larger one's G, those of some of its points (`host`):
its rows of B^T then hold the quotient of both divisors M'(p).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.kernels.cost import places
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Value

F64 = NDArray[np.float64]
# Points above zero by products; each stands for its negative too, and infinity joins, and 0 where
# their number is even.
_POINTS = {
    2: (),
    3: (1.0,),
    4: (1.0,),
    5: (0.5**0.5, 2.0**0.5),
    6: (0.5**0.5, 2.0**0.5),
    8: (0.5, 1.0, 2.0),
}
_ADDED = (1.0, 2.0, -2.0)  # factors that stand for additions
_NOT_PLAIN = len(_ADDED)


@dataclass(frozen=True)
class CookToom:
    """F(m, r) in one dimension, of some stride; with one tap it is the identity.

    Attributes:
        outputs: m.
        taps: r.
        stride: inputs from one output to the next.
        expands: whether the machine makes the rows of G from scaled taps.
        host: outputs of a larger transform, some of whose points and rows of G are those of this
            one; 0 if it has its own.
    """

    outputs: int
    taps: int
    stride: int = 1
    expands: bool = False
    host: int = 0

    @property
    def inputs(self) -> int:
        """Neighbouring inputs that a tile reads, (m - 1) s + r."""
        return (self.outputs - 1) * self.stride + self.taps

    @cached_property
    def products(self) -> int:
        """Multiplications of a tile, n."""
        if self.stride == 1:
            return self.outputs + self.taps - 1
        return sum(phase.products for phase in self.phases)

    @cached_property
    def phases(self) -> tuple[CookToom, ...]:
        """The filter of every stride-th tap, from each of the first taps on."""
        if self.stride == 1:
            return (self,)
        counts = (-(-(self.taps - k) // self.stride) for k in range(min(self.stride, self.taps)))
        return tuple(CookToom(self.outputs, count, 1, self.expands) for count in counts)

    def smaller(self, outputs: int) -> CookToom:
        """F(outputs, r) with filters of this one."""
        return CookToom(outputs, self.taps, host=self.outputs)

    def lacks(self, outputs: int) -> range:
        """Rows that the smaller transform has not."""
        return range(self.smaller(outputs).products - 1, self.products - 1)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The number of each row among those of the host."""
        if not self.host:
            return tuple(range(self.products))
        return (*range(self.products - 1), self._whole.products - 1)

    @cached_property
    def _whole(self) -> CookToom:
        """The host."""
        return CookToom(self.host or self.outputs, self.taps)

    @property
    def _pairs(self) -> tuple[float, ...]:
        """The points above zero."""
        return _POINTS[self._whole.products][: (self.products - 1) // 2]

    @cached_property
    def points(self) -> tuple[float, ...]:
        """The finite points of stride 1, in the order of the rows: 0 if it is one, p, -p, ..."""
        if self.products not in _POINTS or self.stride != 1:
            raise InternalError(f"no points for F({self.outputs}, {self.taps})")
        zero = (0.0,) if self.products % 2 == 0 else ()
        return (*zero, *(s * p for p in self._pairs for s in (1, -1)))

    @cached_property
    def input_matrix(self) -> F64:
        """B^T [n,inputs]."""
        rows = np.zeros((self.products, self.inputs))
        if self.stride > 1:
            for offset, start, phase in self._placed():
                end, last = start + phase.products, offset + self.stride * phase.inputs
                rows[start:end, offset : last : self.stride] = phase.input_matrix
            return rows
        if self.taps == 1:
            return np.eye(self.outputs)
        for number, point in enumerate(self.points):
            others = [q for q in self.points if q != point]
            scale = 1 / self._divisor(abs(point)) if self.expands else 1.0
            if self.host:  # the rows of G are divided by the host's M'(p)
                scale = self._whole._divisor(point) / self._divisor(point)
            rows[number, : self.inputs - 1] = np.poly(others)[::-1] * scale
        rows[-1] = np.poly(self.points)[::-1]
        if self.expands:
            rows[-1] /= self.tap_scales[-1]
        return rows

    def _divisor(self, point: float) -> float:
        """M'(p)."""
        return float(np.prod([point - q for q in self.points if q != point]))

    @cached_property
    def filter_matrix(self) -> F64:
        """G [n,r]."""
        rows = np.zeros((self.products, self.taps))
        if self.stride > 1:
            for offset, start, phase in self._placed():
                end = start + phase.products
                rows[start:end, offset :: self.stride] = phase.filter_matrix
            return rows
        if self.taps == 1:
            return np.ones((self.outputs, 1))
        for number, point in enumerate(self.points):
            divisor = self._divisor(point)
            if self.expands:  # both rows of a pair of points stay a sum and a difference
                divisor /= self._divisor(abs(point))
            rows[number] = point ** np.arange(self.taps) / divisor
        rows[-1, -1] = self.tap_scales[-1] if self.expands else 1.0
        return rows

    @cached_property
    def tap_scales(self) -> F64:
        """What the taps [r] are multiplied with before the machine expands them."""
        if self.stride > 1:
            scales = np.ones(self.taps)
            for offset, _, phase in self._placed():
                scales[offset :: self.stride] = phase.tap_scales
            return scales
        unit = min(_POINTS[self.products], default=1.0) if self.taps > 1 else 1.0
        return np.array([unit**power for power in range(self.taps)])

    @cached_property
    def expansion(self) -> F64:
        """Whole numbers [n,r]: G is this times the scaled taps."""
        return np.round(self.filter_matrix / self.tap_scales)

    @cached_property
    def output_matrix(self) -> F64:
        """A^T [m,n]."""
        if self.stride > 1:
            return np.hstack([phase.output_matrix for phase in self.phases])
        if self.taps == 1:
            return np.eye(self.outputs)
        powers = np.arange(self.outputs)[:, None]
        columns = np.array(self.points)[None, :] ** powers
        last = np.zeros((self.outputs, 1))
        last[-1] = 1.0
        return np.hstack([columns, last])

    def _placed(self) -> Iterator[tuple[int, int, CookToom]]:
        """Each phase with its first input and its first row."""
        start = 0
        for offset, phase in enumerate(self.phases):
            yield offset, start, phase
            start += phase.products

    def _phase_of(self, group: list[int]) -> tuple[int, CookToom, list[int]]:
        """The phase that rows belong to, its first input, and their numbers in it."""
        for offset, start, phase in self._placed():
            if start <= group[0] < start + phase.products:
                return offset, phase, [row - start for row in group]
        raise InternalError(f"there is no row {group[0]}")

    def groups(self) -> list[list[int]]:
        """Rows of B^T that are made together: those of a point and its negative."""
        if self.stride > 1:
            return [
                [start + row for row in group]
                for _, start, phase in self._placed()
                for group in phase.groups()
            ]
        if self.taps == 1:
            return [[row] for row in range(self.outputs)]
        zero = self.products % 2 == 0
        pairs = [[k, k + 1] for k in range(int(zero), self.products - 1, 2)]
        return [*([[0]] if zero else []), *pairs, [self.products - 1]]

    def transform_inputs(
        self, b: Builder, group: list[int], values: dict[int, Value]
    ) -> list[Value]:
        """Rows `group` of B^T times the vectors `values`, by place; see `reads`."""
        if self.stride > 1:
            first, phase, rows = self._phase_of(group)
            own = {k: values[first + self.stride * k] for k in phase.reads(rows)}
            return phase.transform_inputs(b, rows, own)
        matrix = self.input_matrix
        if len(group) == 1:
            return [combine(b, [(matrix[group[0], k], values[k]) for k in self.reads(group)])]
        point = self.points[group[0]]
        row = matrix[group[0]]
        # The odd part has the point as a factor.
        whole = [k for k in self.reads(group) if (self.inputs - 2 - k) % 2 == 0]
        part = [k for k in self.reads(group) if k not in whole]
        return _sum_and_difference(
            b,
            combine(b, [(row[k], values[k]) for k in whole]),
            combine(b, [(row[k] / point, values[k]) for k in part]),
            point,
        )

    def expand(self, b: Builder, rows: list[int], taps: Mapping[int, Value]) -> list[Value]:
        """Rows of G, in order, of scaled taps by place; see `expansion`."""
        made = []
        for group in self.groups():
            if not set(group) & set(rows):
                continue
            first, last = self.expansion[group[0]], self.expansion[group[-1]]
            seen = [k for k in range(self.taps) if first[k] != 0.0]
            parts = {k: _multiple(b, int(first[k]), taps[k]) for k in seen}
            even = [(1.0, parts[k]) for k in seen if first[k] == last[k]]
            odd = [(1.0, parts[k]) for k in seen if first[k] != last[k]]
            for row in [row for row in group if row in rows]:
                value = combine(b, even)
                if odd:
                    op = "add" if row == group[0] else "sub"
                    value = b.binary(op, value, combine(b, odd))
                made.append(value)
        return made

    def reads(self, group: list[int]) -> list[int]:
        """The places that rows of a group read."""
        if self.stride > 1:
            first, phase, rows = self._phase_of(group)
            return [first + self.stride * k for k in phase.reads(rows)]
        row = self.input_matrix[group[0]]
        return [k for k in range(self.inputs) if row[k] != 0.0]

    def transform_outputs(self, b: Builder, values: list[Value]) -> list[Value]:
        """A^T times n vectors: m vectors."""
        if self.stride > 1:
            parts = [
                phase.transform_outputs(b, values[start : start + phase.products])
                for _, start, phase in self._placed()
            ]
            return [combine(b, [(1.0, v) for v in terms]) for terms in zip(*parts, strict=True)]
        if self.taps == 1:
            return values
        zero = self.products % 2 == 0
        sums, differences = [], []
        for k in range(int(zero), self.products - 1, 2):
            sums.append(b.binary("add", values[k], values[k + 1]))
            differences.append(b.binary("sub", values[k], values[k + 1]))
        made = []
        for power in range(self.outputs):
            halves = differences if power % 2 else sums
            terms = [(point**power, h) for point, h in zip(self._pairs, halves, strict=True)]
            if power == 0 and zero:
                terms.insert(0, (1.0, values[0]))
            if power == self.outputs - 1:
                terms.append((1.0, values[-1]))
            made.append(combine(b, terms))
        return made


@cache
def transform_places(vertical: CookToom, horizontal: CookToom) -> tuple[int, int]:
    """What a tile's transforms take of the units of the multiply-adds, for inputs and results."""

    def one(transform: CookToom) -> tuple[int, int]:
        probe = Builder("probe")
        number = max(transform.inputs, transform.products)
        values = [probe.const(0.0, vector(4)) for _ in range(number)]
        for group in transform.groups():
            transform.transform_inputs(probe, group, dict(enumerate(values)))
        inputs = places(probe.func.body)
        transform.transform_outputs(probe, values[: transform.products])
        return inputs, places(probe.func.body) - inputs

    tall, wide = one(vertical), one(horizontal)
    return (
        horizontal.inputs * tall[0] + vertical.products * wide[0],
        horizontal.products * tall[1] + vertical.outputs * wide[1],
    )


def transform_tile_outputs(
    b: Builder, vertical: CookToom, horizontal: CookToom, product: Callable[[int], Value]
) -> list[list[Value]]:
    """The results of a tile, row by row, from its products; `product` gives one by its plane."""
    columns = []
    for k in range(horizontal.products):
        planes = [i * horizontal.products + k for i in range(vertical.products)]
        columns.append(vertical.transform_outputs(b, [product(plane) for plane in planes]))
    return [
        horizontal.transform_outputs(b, [column[row] for column in columns])
        for row in range(vertical.outputs)
    ]


def _effort(term: tuple[float, Value]) -> int:
    """The place of a factor among those that need no multiplication, or behind them."""
    return _ADDED.index(term[0]) if term[0] in _ADDED else _NOT_PLAIN


def combine(b: Builder, terms: list[tuple[float, Value]]) -> Value:
    """The sum of factor times vector, in few multiply-adds.

    Factors of 1 and 2 are added first: additions have units of their own on many machines.
    """
    terms = sorted(((float(np.float32(f)), value) for f, value in terms), key=_effort)
    plain = [term for term in terms if _effort(term) < _NOT_PLAIN]
    rest = terms[len(plain) :]
    if plain and plain[0][0] > 0:
        total = _multiple(b, int(plain[0][0]), plain[0][1])
        for factor, value in plain[1:]:
            operation = "add" if factor > 0 else "sub"
            total = b.binary(operation, total, _multiple(b, int(abs(factor)), value))
    else:
        rest = terms
        factor, value = rest.pop(0)
        total = b.binary("mul", value, _like(b, factor, value))
    for factor, value in rest:
        total = b.fma(value, _like(b, factor, value), total)
    return total


def _multiple(b: Builder, factor: int, value: Value) -> Value:
    """A power of two times a vector, by additions: they have units beside the multiply-adds'."""
    while factor > 1:
        value, factor = b.binary("add", value, value), factor // 2
    return value


def _sum_and_difference(b: Builder, even: Value, odd: Value, point: float) -> list[Value]:
    """`even + point * odd` and `even - point * odd`."""
    if point == 1.0:
        return [b.binary("add", even, odd), b.binary("sub", even, odd)]
    return [b.fma(odd, _like(b, sign * point, odd), even) for sign in (1, -1)]


def _like(b: Builder, number: float, vector: Value) -> Value:
    return b.splat(b.const(number), vector.type.lanes)  # type: ignore[union-attr]
