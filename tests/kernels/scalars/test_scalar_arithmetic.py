"""Arithmetic of scalar rules on every element type: NumPy by definition, generated code by NumPy.

The numbers are those of the tests of LoopIR's kinds: limits, neighbours of powers of two, halves,
infinities and NaN in all pairs, and random ones of every magnitude.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.ir.types import DType
from cnncc.kernels.scalars.scalar_math import NumpyScalars, VectorScalars
from cnncc.kernels.scalars.scalar_operations import nearest
from cnncc.llvm.elf import undefined_symbols
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_object
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Kind, Program
from cnncc.loopir.verify import verify
from cnncc.targets import TARGETS
from tests.llvm.kind_values import pairs, singles
from tests.llvm.native import RUNNABLE, NativeChild

TYPES = [dtype for dtype in DType if dtype is not DType.F16]
WHOLE = [dtype for dtype in DType if dtype.is_integer]
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
BITWISE = ("bit_and", "bit_or", "bit_xor")
ON_NUMBERS = ("add", "sub", "mul", "div", "rem", "min", "max", *COMPARISONS)
# NaN has no sign of its own, and of two zeros min and max may give either.
EITHER_ZERO = ("min", "max")
LANES = 8
SCALARS = NumpyScalars()


def of_two(dtype: DType) -> tuple[str, ...]:
    """Operations on two values of a type."""
    if dtype is DType.BOOL:
        return ("add", "mul", "min", "max", "eq", "ne", *BITWISE)
    return (*ON_NUMBERS, *BITWISE, "shl", "shr") if dtype.is_integer else ON_NUMBERS


def of_one(dtype: DType) -> tuple[str, ...]:
    """Operations on one value of a type."""
    if dtype is DType.BOOL:
        return ("bit_not",)
    if dtype.is_integer:
        return ("neg", "abs", "bit_not")
    return ("neg", "abs", "floor", "ceil", "trunc", "round_even", "sqrt")


# -- NumPy by definition -------------------------------------------------------------------------


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


DEFINITIONS: dict[str, Callable[[int, int, int], int | bool]] = {
    "add": lambda a, b, bits: a + b,
    "sub": lambda a, b, bits: a - b,
    "mul": lambda a, b, bits: a * b,
    "div": lambda a, b, bits: truncated(a, b) if b else 0,
    "rem": lambda a, b, bits: a - b * truncated(a, b) if b else 0,
    "min": lambda a, b, bits: min(a, b),
    "max": lambda a, b, bits: max(a, b),
    "bit_and": lambda a, b, bits: a & b,
    "bit_or": lambda a, b, bits: a | b,
    "bit_xor": lambda a, b, bits: a ^ b,
    "shl": lambda a, b, bits: a << b if 0 <= b < bits else 0,
    "shr": lambda a, b, bits: a >> (b if 0 <= b < bits else bits),
    "neg": lambda a, b, bits: -a,
    "abs": lambda a, b, bits: abs(a),
    "bit_not": lambda a, b, bits: ~a,
}


def defined(name: str, a: int, b: int, bits: int) -> int | bool:
    if name in COMPARISONS:
        return bool(getattr(operator, name)(a, b))
    return DEFINITIONS[name](a, b, bits)


def wrapped(value: int | bool, dtype: DType) -> int | bool:
    if isinstance(value, bool):
        return value
    bits = 8 * dtype.size_bytes
    value %= 1 << bits
    signed = np.iinfo(dtype.numpy).min < 0
    return value - (1 << bits) if signed and value >> bits - 1 else value


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_whole_numbers_by_definition(dtype: DType) -> None:
    bits = 8 * dtype.size_bytes
    a, b = pairs(Kind[dtype.name])
    b[::3] %= bits + 2  # so that shifts do something
    for name in (*of_two(dtype), *of_one(dtype)):
        operands = (a, b) if name in of_two(dtype) else (a,)
        got = getattr(SCALARS, name)(*operands)
        assert got.dtype == (np.bool_ if name in COMPARISONS else dtype.numpy)
        for x, y, z in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
            assert z == wrapped(defined(name, x, y, bits), dtype), (name, x, y)


def test_truth_values_by_definition() -> None:
    a, b = np.array([False, False, True, True]), np.array([False, True, False, True])
    for names, expected in (
        (("add", "max", "bit_or"), a | b),
        (("mul", "min", "bit_and"), a & b),
        (("ne", "bit_xor"), a ^ b),
        (("eq",), a == b),
    ):
        for name in names:
            np.testing.assert_array_equal(getattr(SCALARS, name)(a, b), expected)
    np.testing.assert_array_equal(SCALARS.bit_not(a), ~a)
    with pytest.raises(InternalError, match="truth values"):
        SCALARS.sub(a, b)


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
def test_floats_by_definition(dtype: DType) -> None:
    a, b = pairs(Kind[dtype.name])
    with np.errstate(all="ignore"):
        quotient = np.abs(a.astype(np.float64) / b.astype(np.float64))
        exact = np.fmod(a, b)
        rest = SCALARS.rem(a, b)
        inside = np.ones(a.shape, bool)
        if dtype is DType.F64:
            last_place = np.minimum(np.spacing(np.abs(a)), np.spacing(np.abs(b)))
            inside = (quotient < 2.0**50) & (last_place > 2.0**-900)
            inside &= (np.abs(a) < 2.0**900) & (np.abs(b) < 2.0**900)
            assert inside.sum() > 100
        np.testing.assert_array_equal(rest[inside], exact[inside])
        known = inside & ~np.isnan(exact)
        np.testing.assert_array_equal(np.signbit(rest[known]), np.signbit(exact[known]))
        np.testing.assert_array_equal(SCALARS.div(a, b), a / b)
        fused = SCALARS.fma(a, b, a)
    assert rest.dtype == fused.dtype == dtype.numpy
    for value in (SCALARS.min(a, b), SCALARS.max(a, b)):
        np.testing.assert_array_equal(np.isnan(value), np.isnan(a) | np.isnan(b))
    np.testing.assert_array_equal(SCALARS.ne(a, a), np.isnan(a))
    np.testing.assert_array_equal(SCALARS.round_even(dtype.numpy.type(2.5)), 2.0)


def test_remainders_of_any_two_f32() -> None:
    """Of all quotients up to 2^277."""
    rng = np.random.default_rng(3)
    bits = [rng.integers(0, 2**32, 200_000, np.uint64).astype(np.uint32) for _ in range(2)]
    a, b = (x.view(np.float32) for x in bits)
    with np.errstate(invalid="ignore"):
        exact = np.fmod(a, b)
    np.testing.assert_array_equal(SCALARS.rem(a, b), exact)


def nearest_float(value: int, dtype: DType) -> float:
    """The nearest number of a type, the even one of two; Python's own way leads through f64."""
    guess = dtype.numpy.type(float(value))
    around = [np.nextafter(guess, dtype.numpy.type(-np.inf)), guess]
    around.append(np.nextafter(guess, dtype.numpy.type(np.inf)))
    whole = {n: abs(int(n) - value) for n in around}
    least = min(whole.values())
    close = [n for n in around if whole[n] == least]
    return float(next((n for n in close if even(n)), close[0]))


def even(value: Any) -> bool:
    """Whether the last bit of a float's mantissa is 0."""
    return bool(value.view(f"i{value.itemsize}") % 2 == 0)


def converted(value: Any, dtype: DType) -> Any:
    """By definition, of a Python number."""
    if dtype is DType.BOOL:
        return value != 0
    if dtype.is_float:
        return nearest_float(value, dtype) if type(value) is int else value
    if isinstance(value, float):
        limits = np.iinfo(dtype.numpy)
        if value != value:
            return 0
        return int(min(max(value, limits.min), limits.max))
    return wrapped(int(value), dtype)


@pytest.mark.parametrize("source", TYPES, ids=str)
def test_casts_by_definition(source: DType) -> None:
    numbers = singles(Kind[source.name])
    for dtype in TYPES:
        got = SCALARS.cast(numbers, dtype)
        assert got.dtype == dtype.numpy
        wanted = [converted(value, dtype) for value in numbers.tolist()]
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(got, np.array(wanted, dtype.numpy), f"to {dtype}")


@pytest.mark.parametrize("source", TYPES, ids=str)
def test_casts_to_half_and_back(source: DType) -> None:
    """All halves become themselves; what is not f32 goes through it."""
    numbers = singles(Kind[source.name])
    with np.errstate(over="ignore"):
        wanted = numbers.astype(np.float32).astype(np.float16)
    got = SCALARS.cast(numbers, DType.F16)
    np.testing.assert_array_equal(got, wanted)
    halves = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    back = SCALARS.cast(halves, source)
    known = ~np.isnan(halves)
    if source.is_float:
        np.testing.assert_array_equal(back, halves.astype(source.numpy))
        again = SCALARS.cast(back, DType.F16)
        assert (again.view(np.uint16) == halves.view(np.uint16))[known].all()
        assert np.isnan(again[~known]).all()
    else:
        np.testing.assert_array_equal(back, SCALARS.cast(halves.astype(np.float32), source))


def test_halves_are_the_nearest() -> None:
    """Around all ties between neighbouring halves, and beyond the largest."""
    halves = np.arange(0x7C00).astype(np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / 2
    near = [np.nextafter(ties, np.float32(end)) for end in (0, 1e9)]
    edge = np.float32([65519.996, 65520, 65536, 1e30, np.inf, 1e-45, 2.0**-25, -(2.0**-25)])
    numbers = np.concatenate([ties, *near, -ties, edge])
    with np.errstate(over="ignore"):
        wanted = numbers.astype(np.float16)
    got = SCALARS.cast(numbers, DType.F16)
    np.testing.assert_array_equal(got.view(np.uint16), wanted.view(np.uint16))


def test_constants_are_the_nearest_numbers() -> None:
    assert nearest(0.1, DType.F32) == float(np.float32(0.1))
    assert nearest(1e300, DType.F32) == float("inf")
    assert nearest(-3, DType.U8) == 0
    assert nearest(2**63 - 1, DType.I64) == 2**63 - 1
    assert nearest(float("-inf"), DType.I16) == -(2**15)
    assert nearest(2.5, DType.I32) == 2
    assert nearest(0.5, DType.BOOL) is True
    with pytest.raises(InternalError, match="NaN"):
        nearest(float("nan"), DType.I32)


def test_operands_of_two_types_are_refused() -> None:
    with pytest.raises(InternalError, match="f32 and f64"):
        SCALARS.add(np.float32(1), np.float64(1))


# -- generated code by NumPy ---------------------------------------------------------------------


def arrays(dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    a, b = pairs(Kind[dtype.name])
    if dtype.is_integer:
        b[::3] %= 8 * dtype.size_bytes + 2
    return a, b


def function(dtype: DType, size: int, lanes: int) -> Func:
    """All operations and casts of a type, each into a buffer of its own."""
    b = Builder(f"all_{dtype}_{lanes}")
    kind = Kind[dtype.name]
    first, second = b.buffer("a", kind, size), b.buffer("b", kind, size)
    scalars = VectorScalars(b, lanes)
    with b.loop(0, size, lanes) as loop:
        operands = [b.load(buffer, loop.iv, lanes) for buffer in (first, second)]
        for hint, value in results(scalars, dtype, *operands).items():
            out = b.buffer(hint, value.type.kind, size, writable=True)
            b.store(out, loop.iv, value)
    return b.func


def results(scalars: Any, dtype: DType, a: Any, b: Any) -> dict[str, Any]:
    made = {name: getattr(scalars, name)(a, b) for name in of_two(dtype)}
    made |= {name: getattr(scalars, name)(a) for name in of_one(dtype)}
    made |= {f"to_{to}": scalars.cast(a, to) for to in DType if to is not dtype}
    made["chosen"] = scalars.select(scalars.eq(a, b), scalars.const(1, dtype), b)
    if dtype.is_float:
        made["signed"] = scalars.copysign(b, a)
    if dtype.is_integer:
        made["fused"] = scalars.fma(a, b, a)
    return made


def compare(dtype: DType, got: list[np.ndarray], place: str) -> None:
    a, b = arrays(dtype)
    wanted = results(SCALARS, dtype, a, b)
    assert len(got) == len(wanted)
    for (hint, value), found in zip(wanted.items(), got, strict=True):
        same = found == value
        if value.dtype.kind == "f":
            either = hint in EITHER_ZERO
            same = (same & ((np.signbit(found) == np.signbit(value)) | either)) | (
                np.isnan(found) & np.isnan(value)
            )
        assert found.dtype == value.dtype
        wrong = [(a[i], b[i], found[i], value[i]) for i in np.flatnonzero(~same)[:4]]
        assert not wrong, f"{hint} on {place}: operands, got, wanted: {wrong}"


def arguments(dtype: DType) -> list[np.ndarray]:
    operands = arrays(dtype)
    outs = results(SCALARS, dtype, *operands).values()
    return [*operands, *(np.zeros(operands[0].size, out.dtype) for out in outs)]


@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_interpreter_gives_the_bits_of_numpy(dtype: DType, lanes: int) -> None:
    given = arguments(dtype)
    func = function(dtype, given[0].size, lanes)
    assert verify(func) == []
    interp.run(func, given)
    compare(dtype, given[2:], f"interpreter, {lanes} lanes")


@pytest.fixture(scope="module")
def native() -> Iterator[NativeChild]:
    child = NativeChild()
    yield child
    child.close()


@pytest.mark.native
@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_native_code_gives_the_bits_of_numpy(native: NativeChild, dtype: DType, lanes: int) -> None:
    given = arguments(dtype)
    func = function(dtype, given[0].size, lanes)
    for target in RUNNABLE:
        compare(dtype, native.run(func, given, target)[2:], target.name)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_no_operation_calls_a_library(target: Any) -> None:
    funcs = [function(dtype, LANES, LANES) for dtype in TYPES]
    image = emit_object(emit_program(Program(funcs), target), target)
    assert undefined_symbols(image) == set()
