"""exp, log, tanh and sigmoid against float64, on bits of every kind and on all ways to run."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from cnncc.ir.op import ulp
from cnncc.kernels.scalar_math import NumpyScalars, VectorScalars
from cnncc.llvm.host import missing
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func
from cnncc.targets import find

ULPS = {"exp": 1.1, "log": 2.0, "tanh": 2.5, "sigmoid": 2.5}
FUNCTIONS = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
}
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1.4e-45, -1.4e-45),
        *(1.1754944e-38, 1.1754942e-38, 3.4028235e38, -3.4028235e38),
        *(88.72283, 88.72284, -87.33654, -103.97207, -103.97208, -104.0),
        *(0.625, 0.62499994, 0.99999994),
    ],
    np.float32,
)


class TwiceRounded(NumpyScalars):
    """Targets without a fused multiply-add."""

    def fma(self, a, b, c):
        return self.add(self.mul(a, b), c)


def samples(step: int) -> np.ndarray:
    """Every `step`-th bit pattern, and many numbers where the functions are not constant."""
    rng = np.random.default_rng(0)
    bits = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = [rng.uniform(a, b, 2**31 // step) for a, b in ((-110, 95), (0.5, 2), (-1, 1))]
    return np.concatenate([SPECIAL, bits, *(n.astype(np.float32) for n in near)])


def judge(name: str, x: np.ndarray, y: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        special = ~np.isfinite(rounded) | ~np.isfinite(y)
        same = (rounded == y) | (np.isnan(rounded) & np.isnan(y))
        error = np.where(special, 0.0, np.abs(y - exact) / ulp(exact))
    wrong = special & ~same
    assert not wrong.any(), f"{name}({x[wrong][0]!r}) gave {y[wrong][0]!r}"
    worst = int(error.argmax())
    assert error[worst] <= ULPS[name], f"{name}({x[worst]!r}): {error[worst]:.2f} ulp"


@pytest.mark.parametrize("scalars", [NumpyScalars(), TwiceRounded()], ids=["fma", "twice"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy(name, scalars):
    x = samples(4001)
    with np.errstate(invalid="ignore"):
        judge(name, x, np.asarray(getattr(scalars, name)(x)))


def applied(name: str, lanes: int, count: int) -> Func:
    """A function that applies the expression to `count` elements."""
    b = Builder(name)
    x, y = b.buffer("x", extent=count), b.buffer("y", extent=count, writable=True)
    with b.loop(0, count, lanes) as loop:
        value = b.load(x, loop.iv, lanes)
        b.store(y, loop.iv, getattr(VectorScalars(b, lanes), name)(value))
    return b.func


def padded(step: int, lanes: int) -> np.ndarray:
    x = samples(step)
    return np.resize(x, -(-x.size // lanes) * lanes)


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_loopir_gives_the_bits_of_numpy(name, lanes):
    x = padded(2**24 + 1, lanes)
    y = np.zeros_like(x)
    interp.run(applied(name, lanes, x.size), [x, y])
    with np.errstate(invalid="ignore"):
        expected = np.asarray(getattr(NumpyScalars(), name)(x))
    np.testing.assert_array_equal(y, expected)


def run_native(target_name: str) -> None:
    """All functions on machine code; runs in a child process."""
    from tests.kernels.native import Native

    target = find(target_name)
    for name in FUNCTIONS:
        for lanes in (1, target.lanes()):
            x = padded(2003, lanes)
            y = np.zeros_like(x)
            Native(target)(applied(name, lanes, x.size), [x, y])
            judge(name, x, y)


@pytest.mark.native
@pytest.mark.parametrize("name", ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_native(name):
    lacking = missing(find(name))
    if lacking:
        pytest.skip(f"this machine lacks {', '.join(lacking)}")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(run_native, (name,))


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
