"""Functions of scalar rules against float64, on bits of every kind and on all ways to run."""

from __future__ import annotations

import math
import multiprocessing

import numpy as np
import pytest

from cnncc.ir.op import FLT_MIN, lookup, ulp
from cnncc.kernels.scalars.elementary_wide import quarter_turns
from cnncc.kernels.scalars.scalar_math import SHORT, NumpyScalars, VectorScalars, count_operations
from cnncc.llvm.elf import undefined_symbols
from cnncc.llvm.emit import emit_program
from cnncc.llvm.host import missing
from cnncc.llvm.optimize import emit_object
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Program
from cnncc.ops.fused import Step
from cnncc.targets import TARGETS, find

# Those that are computed in f64 are all but correctly rounded.
WIDE = 0.51
ULPS = {"exp": 1.2, "decay": 1.2, "log": 2.0, "tanh": 2.5, "sigmoid": 2.5, "silu": 3.5, "erf": 2.9}
# With 0 in place of results below these, as their operators may; silu's are 88 times larger there.
FLUSHED = {"decay": FLT_MIN, "sigmoid": FLT_MIN, "silu": 90 * FLT_MIN}
FUNCTIONS = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "erf": lambda x: np.array([math.erf(v) for v in x.tolist()]),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1.4e-45, -1.4e-45),
        *(1.1754944e-38, 1.1754942e-38, 3.4028235e38, -3.4028235e38),
        *(88.72283, 88.72284, -87.33654, -103.97207, -103.97208, -104.0),
        *(0.625, 0.62499994, 0.99999994, 1.0000001, -0.99999994, 0.0625, 3.95, 3.9192059),
        # Angles next to multiples of a quarter turn; the last is the nearest of all f32.
        *(1.5707964, 3.1415927, 6.2831855, 12345.678, 1048576.0, 1e10, 16367173 * 2.0**72),
    ],
    np.float32,
)


class TwiceRounded(NumpyScalars):
    """Targets without a fused multiply-add."""

    def fma(self, a, b, c):
        return self.add(self.mul(a, b), c)


class LookingUp(NumpyScalars):
    """Targets with lookups in one instruction; all of them have a fused multiply-add."""

    looks_up = True


def samples(step: int) -> np.ndarray:
    """Every `step`-th bit pattern, and many numbers where the functions are not constant."""
    rng = np.random.default_rng(0)
    bits = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = [rng.uniform(a, b, 2**31 // step) for a, b in ((-110, 95), (0.5, 2), (-1, 1))]
    return np.concatenate([SPECIAL, bits, *(n.astype(np.float32) for n in near)])


def judge(name: str, x: np.ndarray, y: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.float64))
    compare(name, exact, y, x)


def compare(name: str, exact: np.ndarray, y: np.ndarray, *operands: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        special = ~np.isfinite(rounded) | ~np.isfinite(y)
        both_nan = np.isnan(rounded) & np.isnan(y)
        same = (rounded == y) | both_nan
        error = np.where(special, 0.0, np.abs(y - exact) / ulp(exact))
        if name in FLUSHED:
            error = np.where((y == 0) & (np.abs(exact) < FLUSHED[name]), 0.0, error)
    wrong = (special & ~same) | ((np.signbit(rounded) != np.signbit(y)) & ~both_nan)
    given = [tuple(o[i] for o in operands) for i in (*np.flatnonzero(wrong)[:1], error.argmax())]
    assert not wrong.any(), f"{name}{given[0]} gave {y[wrong][0]!r}"
    bound = ULPS.get(name, WIDE)
    assert y.dtype == np.float32
    assert error.max() <= bound, f"{name}{given[-1]}: {error.max():.3f} ulp"


@pytest.mark.parametrize("scalars", [NumpyScalars(), TwiceRounded()], ids=["fma", "twice"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy(name, scalars):
    x = samples(4001)
    with np.errstate(invalid="ignore"):
        judge(name, x, np.asarray(getattr(scalars, name)(x)))


@pytest.mark.parametrize("name", ["silu", "tanh", "erf"])
def test_by_lookup(name):
    x = samples(4001)
    with np.errstate(invalid="ignore"):
        judge(name, x, np.asarray(getattr(LookingUp(), name)(x)))


@pytest.mark.parametrize("scalars", [NumpyScalars(), TwiceRounded()], ids=["fma", "twice"])
def test_decay_is_the_exponential_below_zero(scalars):
    x = samples(4001)
    x = x[~(x > 0)]
    with np.errstate(invalid="ignore"):
        compare("decay", np.exp(x.astype(np.float64)), np.asarray(scalars.decay(x)), x)


def test_decay_makes_no_subnormal_numbers():
    low = np.float32(-87.33654)
    x = np.nextafter(low, np.float32([-np.inf, np.inf]))
    y = NumpyScalars().decay(np.concatenate([x, [low, -np.inf]]).astype(np.float32))
    np.testing.assert_array_equal(y > FLT_MIN, [False, True, True, False])
    np.testing.assert_array_equal(y == 0, [True, False, False, True])


def powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of special numbers, any bits, and numbers whose powers are finite."""
    rng = np.random.default_rng(1)
    known = np.float32([0.5, 2, 3, 2.5, 2**23 - 0.5, 2**23 + 1, 2**24 - 1, 2**24, 3e38])
    known = np.concatenate([SPECIAL, known, -known])
    grid = [v.ravel() for v in np.meshgrid(known, known)]
    bits = [rng.integers(0, 2**32, count, np.uint64).astype(np.uint32) for _ in grid]
    exponents = np.ldexp(np.float32(1.5), np.arange(-149, 128)).astype(np.float32)
    base = [rng.uniform(0, 10, count), rng.uniform(0.9, 1.1, count), rng.integers(-20, 20, count)]
    by = [rng.uniform(-35, 35, count), rng.uniform(-1e3, 1e3, count), rng.integers(-20, 20, count)]
    lone = np.full(2 * exponents.size, -1)
    firsts = (grid[0], bits[0].view(np.float32), lone, *base)
    seconds = (grid[1], bits[1].view(np.float32), exponents, -exponents, *by)
    a, b = (np.concatenate([np.float32(p) for p in parts]) for parts in (firsts, seconds))
    size = a.size // 64 * 64
    return a[:size], b[:size]


def judge_pow(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        exact = np.power(a.astype(np.float64), b.astype(np.float64))
    compare("pow", exact, y, a, b)


@pytest.mark.parametrize("scalars", [NumpyScalars(), TwiceRounded()], ids=["fma", "twice"])
def test_pow(scalars):
    a, b = powers(200_000)
    y = np.asarray(scalars.pow(a, b))
    judge_pow(y, a, b)
    with np.errstate(all="ignore"):
        exact = np.power(a.astype(np.float64), b.astype(np.float64))
        representable = exact == exact.astype(np.float32)
    np.testing.assert_array_equal(y[representable], exact[representable])


def test_pow_of_every_odd_exponent():
    """Minus one to the odd numbers around those where f32 has none any more."""
    whole = np.arange(2**24 - 2000, 2**24 + 2000).astype(np.float32)
    whole = np.concatenate([whole, np.arange(-2000, 2000).astype(np.float32)])
    minus_one = np.full(whole.shape, -1, np.float32)
    signs = np.where(np.fmod(whole, 2) == 0, 1, -1)
    np.testing.assert_array_equal(NumpyScalars().pow(minus_one, whole), signs)


def test_quarter_turns_count_modulo_4():
    """2/π times 2^27 less whole turns of 4, in three parts that sum to more than one f64."""
    first, second, third = quarter_turns(0)
    assert first + second + third == 2 / math.pi
    assert second < 2.0**-27
    assert third < 2.0**-56
    assert sum(quarter_turns(27)) == pytest.approx(math.fmod(2.0**27 * 2 / math.pi, 4), abs=1e-8)


def applied(name: str, lanes: int, count: int) -> Func:
    """A function that applies the expression to `count` elements."""
    b = Builder(name)
    operands = [b.buffer(hint, extent=count) for hint in ("xy" if name == "pow" else "x")]
    out = b.buffer("out", extent=count, writable=True)
    with b.loop(0, count, lanes) as loop:
        values = [b.load(operand, loop.iv, lanes) for operand in operands]
        b.store(out, loop.iv, getattr(VectorScalars(b, lanes), name)(*values))
    return b.func


def padded(step: int, lanes: int) -> np.ndarray:
    x = samples(step)
    return np.resize(x, -(-x.size // lanes) * lanes)


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("name", [*FUNCTIONS, "pow"])
def test_loopir_gives_the_bits_of_numpy(name, lanes):
    operands = powers(100) if name == "pow" else (padded(2**24 + 1, lanes),)
    y = np.zeros_like(operands[0])
    interp.run(applied(name, lanes, y.size), [*operands, y])
    with np.errstate(invalid="ignore"):
        expected = np.asarray(getattr(NumpyScalars(), name)(*operands))
    np.testing.assert_array_equal(y, expected)


def run_native(target_name: str) -> None:
    """All functions on machine code; runs in a child process."""
    from tests.kernels.native import Native

    target = find(target_name)
    native = Native(target)
    for lanes, step in ((1, 16001), (target.lanes(), 8003)):
        x = padded(step, lanes)
        for name in FUNCTIONS:
            y = np.zeros_like(x)
            native(applied(name, lanes, x.size), [x, y])
            judge(name, x, y)
        a, b = powers(20_000)
        y = np.zeros_like(a)
        native(applied("pow", lanes, a.size), [a, b, y])
        judge_pow(y, a, b)


@pytest.mark.native
@pytest.mark.parametrize("name", ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_native(name):
    lacking = missing(find(name))
    if lacking:
        pytest.skip(f"this machine lacks {', '.join(lacking)}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(run_native, (name,))


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_no_function_calls_a_library(target):
    funcs = [applied(name, lanes, 32) for name in (*FUNCTIONS, "pow") for lanes in (1, 8)]
    for number, func in enumerate(funcs):
        func.name += str(number)
    image = emit_object(emit_program(Program(funcs), target), target)
    assert undefined_symbols(image) == set()


def test_pointwise_arithmetic():
    """`min` and `max` hand on NaN, comparisons are false on it."""
    scalars = NumpyScalars()
    a, b = np.float32([1, np.nan, 2, np.nan]), np.float32([2, 1, np.nan, np.nan])
    assert np.isnan(scalars.min(a, b))[1:].all()
    assert np.isnan(scalars.max(a, b))[1:].all()
    assert not scalars.lt(a, b)[1:].any()
    assert not scalars.gt(a, b)[1:].any()
    assert scalars.const(0.1) == np.float32(0.1)
    np.testing.assert_array_equal(scalars.sqrt(np.float32([4.0])), [2.0])


def test_operations_of_steps_are_counted_without_loads_and_constants():
    relu, gelu = (Step(n, lookup(n).Attrs(), (~0,)) for n in ("relu", "gelu"))
    add = Step("add", lookup("add").Attrs(), (~0, 1))
    assert count_operations((), 16) == 0
    assert count_operations((add,), 4) == 1
    assert count_operations((add, relu), 16) <= SHORT < count_operations((gelu,), 16)
