"""Linear forms against all values of their symbols."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.loopir.linear import EVERYTHING, INFINITY, Linear, Symbols, quotient, times

RANGES = [(0, 5), (-3, 2), (4, 4)]
factors = st.integers(-4, 4)


@st.composite
def forms(draw: st.DrawFn) -> Linear:
    terms = {s: f for s in range(3) if (f := draw(factors))}
    return Linear(draw(st.integers(-20, 20)), terms)


def values(form: Linear) -> list[int]:
    """The form at every point, in a fixed order."""
    points = itertools.product(*[range(low, high + 1) for low, high in RANGES])
    return [form.const + sum(f * point[s] for s, f in form.terms.items()) for point in points]


def symbols() -> Symbols:
    made = Symbols()
    for range_ in RANGES:
        made.fresh(range_)
    return made


@given(forms(), forms(), factors)
def test_sums_and_multiples_are_exact(a: Linear, b: Linear, factor: int) -> None:
    pairs = list(zip(values(a), values(b), strict=True))
    assert values(a.plus(b)) == [x + y for x, y in pairs]
    assert values(a.minus(b)) == [x - y for x, y in pairs]
    assert values(a.scaled(factor)) == [x * factor for x, _ in pairs]
    assert a.minus(a) == Linear(0, {})


@given(forms())
def test_ranges_are_attained(a: Linear) -> None:
    assert a.range(RANGES) == (min(values(a)), max(values(a)))


@given(forms(), st.integers(1, 9))
def test_split(a: Linear, divisor: int) -> None:
    whole, rest = a.split(divisor)
    assert whole.scaled(divisor).plus(rest) == a
    assert all(factor % divisor for factor in rest.terms.values())


EXACT = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b if a >= 0 and b > 0 else None,
    "rem": lambda a, b: a % b if a >= 0 and b > 0 else None,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b if 0 <= b < 64 else None,
    "shr": lambda a, b: a >> b if a >= 0 and 0 <= b < 64 else None,
}


@pytest.mark.parametrize("op", EXACT)
@given(a=forms(), b=st.one_of(forms(), st.builds(Linear, st.integers(-2, 9), st.just({}))))
def test_operations_hold_every_defined_result(op: str, a: Linear, b: Linear) -> None:
    table = symbols()
    low, high = table.range(table.binary(op, a, b))
    results = [EXACT[op](x, y) for x, y in zip(values(a), values(b), strict=True)]
    assert all(low <= r <= high for r in results if r is not None)


def test_unknown_symbols_have_no_bounds() -> None:
    table = Symbols()
    n = table.fresh(EVERYTHING)
    assert table.range(n.scaled(-2)) == (-INFINITY, INFINITY)
    assert table.range(table.binary("div", n, Linear(4, {}))) == (0, INFINITY)
    assert table.range(table.binary("rem", n, Linear(4, {}))) == (0, 3)
    assert table.range(table.product(n, n)) == (-INFINITY, INFINITY)


def test_infinite_bounds() -> None:
    assert times(0, INFINITY) == 0
    assert quotient(-INFINITY, 3) == -INFINITY
    assert (quotient(7, INFINITY), quotient(-7, INFINITY), quotient(-7, 2)) == (0, -1, -4)
