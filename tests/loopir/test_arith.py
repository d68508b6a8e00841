"""Arithmetic against plain Python: exact integers that wrap, and float64 rounded to f32."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from cnncc.loopir.arith import DTYPES, InterpError
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.interp import run
from cnncc.loopir.nodes import Kind, Type, Value

INTEGERS = (Kind.I8, Kind.U8, Kind.I32)
NAN, INF = math.nan, math.inf
REALS = [0.0, -0.0, 1.0, -1.5, 3.25, 1e-42, 3e38, -3e38, INF, -INF, NAN]


def evaluate(
    make: Callable[..., Value], operands: list[np.ndarray], out: Type, lanes: int
) -> np.ndarray:
    """`make(b, *operands)` on all elements of the operands, `lanes` at a time."""
    kinds = {dtype: kind for kind, dtype in DTYPES.items()}
    b = Builder("f")
    sources = [b.buffer(f"x{i}", kinds[x.dtype]) for i, x in enumerate(operands)]
    dst = b.buffer("dst", out.kind, writable=True)
    size = operands[0].size
    with b.loop(0, size, lanes) as loop:
        b.store(dst, loop.iv, make(b, *[b.load(s, loop.iv, lanes) for s in sources]))
    result = np.zeros(size, DTYPES[out.kind])
    run(b.func, [*operands, result])
    return result


def pairs(kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of nasty values, padded to a multiple of four."""
    if kind is Kind.F32:
        values: list[float] = REALS
    else:
        limits = np.iinfo(DTYPES[kind])
        values = sorted({int(limits.min), int(limits.max), 0, 1, 7, 100, max(-3, int(limits.min))})
    both = list(itertools.product(values, repeat=2))
    both += [both[-1]] * (-len(both) % 4)
    a, b = zip(*both, strict=True)
    return np.array(a, DTYPES[kind]), np.array(b, DTYPES[kind])


def wrapped(value: int, kind: Kind) -> int:
    bits = 8 * DTYPES[kind].itemsize
    value %= 1 << bits
    return value - (1 << bits) if kind is not Kind.U8 and value >= 1 << (bits - 1) else value


EXACT: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("op", EXACT)
def test_integers_wrap(op: str, kind: Kind, lanes: int) -> None:
    a, b = pairs(kind)
    got = evaluate(lambda b_, x, y: b_.binary(op, x, y), [a, b], Type(kind), lanes)
    want = [wrapped(EXACT[op](int(x), int(y)), kind) for x, y in zip(a, b, strict=True)]
    assert got.tolist() == want


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("op", ["div", "rem"])
def test_i32_division_truncates(op: str, lanes: int) -> None:
    a, b = pairs(Kind.I32)
    keep = (b != 0) & ~((a == -(2**31)) & (b == -1))
    a, b = a[keep][:32], b[keep][:32]
    got = evaluate(lambda b_, x, y: b_.binary(op, x, y), [a, b], Type(Kind.I32), lanes)
    quotients = [int(math.copysign(1, x) * math.copysign(1, y)) * (abs(int(x)) // abs(int(y)))
                 for x, y in zip(a, b, strict=True)]  # fmt: skip
    rests = [int(x) - q * int(y) for x, y, q in zip(a, b, quotients, strict=True)]
    assert got.tolist() == (quotients if op == "div" else rests)


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("op", ["shl", "shr"])
def test_i32_shifts(op: str, lanes: int) -> None:
    a = np.array([-(2**31), -5, 5, 2**31 - 1] * 3, np.int32)
    b = np.repeat(np.array([0, 3, 31], np.int32), 4)
    got = evaluate(lambda b_, x, y: b_.binary(op, x, y), [a, b], Type(Kind.I32), lanes)
    want = [
        wrapped(int(x) << int(y) if op == "shl" else int(x) >> int(y), Kind.I32)
        for x, y in zip(a, b, strict=True)
    ]
    assert got.tolist() == want


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "min", "max"])
def test_f32_rounds_once(op: str, lanes: int) -> None:
    a, b = pairs(Kind.F32)
    got = evaluate(lambda b_, x, y: b_.binary(op, x, y), [a, b], Type(Kind.F32), lanes)
    wide = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
        "min": np.minimum, "max": np.maximum,
    }[op]  # fmt: skip
    with np.errstate(all="ignore"):
        want = wide(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("lanes", [1, 4])
def test_fma_keeps_the_product(lanes: int) -> None:
    a = np.full(4, 1 + 2.0**-23, np.float32)
    c = np.full(4, -(1 + 2.0**-22), np.float32)
    got = evaluate(lambda b, x, y, z: b.fma(x, y, z), [a, a, c], Type(Kind.F32), lanes)
    assert got.tolist() == [2.0**-46] * 4


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize(
    ("op", "want"),
    [("lt", [1, 0, 0, 0]), ("le", [1, 1, 0, 0]), ("gt", [0, 0, 0, 0]), ("ge", [0, 1, 0, 0]),
     ("eq", [0, 1, 0, 0]), ("ne", [1, 0, 1, 1])],
)  # fmt: skip
def test_comparisons_are_ordered_but_for_ne(op: str, want: list[int], lanes: int) -> None:
    a, b = np.array([1, 2, NAN, NAN], np.float32), np.array([2, 2, 1, NAN], np.float32)
    got = evaluate(lambda b_, x, y: b_.compare(op, x, y), [a, b], Type(Kind.BOOL), lanes)
    assert got.tolist() == list(map(bool, want))


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize(
    ("op", "kind", "x", "want"),
    [
        ("neg", Kind.F32, [1.0, -0.0, INF, -2.5], [-1.0, 0.0, -INF, 2.5]),
        ("abs", Kind.F32, [1.0, -0.0, -INF, -2.5], [1.0, 0.0, INF, 2.5]),
        ("sqrt", Kind.F32, [4.0, 0.0, INF, 2.25], [2.0, 0.0, INF, 1.5]),
        ("floor", Kind.F32, [1.5, -1.5, INF, -0.25], [1.0, -2.0, INF, -1.0]),
        ("neg", Kind.I32, [1, 0, -(2**31), 5], [-1, 0, -(2**31), -5]),
        ("not", Kind.I32, [1, 0, -1, 5], [-2, -1, 0, -6]),
        ("not", Kind.BOOL, [True, False, True, True], [False, True, False, False]),
        ("neg", Kind.INDEX, [1, 0, -7, 5], [-1, 0, 7, -5]),
    ],
)
def test_unary(op: str, kind: Kind, x: list[float], want: list[float], lanes: int) -> None:
    operand = np.array(x, DTYPES[kind])
    got = evaluate(lambda b, a: b.unary(op, a), [operand], Type(kind), lanes)
    assert got.tolist() == want


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize(
    ("source", "kind", "x", "want"),
    [
        (Kind.F32, Kind.I32, [1.9, -1.9, 3e9, NAN], [1, -1, 2**31 - 1, 0]),
        (Kind.F32, Kind.I8, [1e3, -1e3, -INF, 127.9], [127, -128, -128, 127]),
        (Kind.F32, Kind.U8, [256.0, -0.9, -5.0, 254.9], [255, 0, 0, 254]),
        (Kind.F32, Kind.INDEX, [1e30, -1e30, 2.5, NAN], [2**63 - 1, -(2**63), 2, 0]),
        (Kind.F32, Kind.BOOL, [0.0, -0.0, 0.5, NAN], [False, False, True, True]),
        (Kind.I32, Kind.I8, [300, -1, 128, 5], [44, -1, -128, 5]),
        (Kind.U8, Kind.I32, [255, 0, 1, 128], [255, 0, 1, 128]),
        (Kind.I8, Kind.U8, [-1, 0, 1, -128], [255, 0, 1, 128]),
        (Kind.I32, Kind.F32, [2**24 + 1, -1, 0, 7], [float(2**24), -1.0, 0.0, 7.0]),
        (Kind.BOOL, Kind.I32, [True, False, True, False], [1, 0, 1, 0]),
        (Kind.INDEX, Kind.I32, [2**40 + 3, -1, 0, 7], [3, -1, 0, 7]),
    ],
)
def test_convert(source: Kind, kind: Kind, x: list[float], want: list[float], lanes: int) -> None:
    operand = np.array(x, DTYPES[source])
    got = evaluate(lambda b, a: b.convert(a, kind), [operand], Type(kind), lanes)
    assert got.tolist() == want


@pytest.mark.parametrize("lanes", [1, 4])
def test_bitcast(lanes: int) -> None:
    x = np.array([1.0, -0.0, INF, NAN], np.float32)
    got = evaluate(lambda b, a: b.bitcast(a, Kind.I32), [x], Type(Kind.I32), lanes)
    assert got.tolist() == x.view(np.int32).tolist()


@pytest.mark.parametrize(
    ("op", "kind", "a", "b", "message"),
    [
        ("div", Kind.INDEX, 5, 0, "by zero"),
        ("rem", Kind.INDEX, -5, 3, "negative index"),
        ("div", Kind.I32, 5, 0, "by zero"),
        ("div", Kind.I32, -(2**31), -1, "does not fit"),
        ("shl", Kind.I32, 5, 32, r"a shift by \[?32"),
        ("shr", Kind.INDEX, -5, 1, "negative index"),
    ],
)
@pytest.mark.parametrize("lanes", [1, 4])
def test_undefined_arithmetic_is_an_error(
    op: str, kind: Kind, a: int, b: int, message: str, lanes: int
) -> None:
    operands = [np.full(4, value, DTYPES[kind]) for value in (a, b)]
    with pytest.raises(InterpError, match=message):
        evaluate(lambda b_, x, y: b_.binary(op, x, y), operands, vector(lanes, kind), lanes)


@pytest.mark.parametrize("op", ["add", "mul"])
def test_a_scalar_index_may_not_overflow(op: str) -> None:
    x = np.full(4, 2**62, np.int64)
    with pytest.raises(InterpError, match=f"index overflow in {op}"):
        evaluate(lambda b, y: b.binary(op, y, y), [x], Type(Kind.INDEX), 1)
