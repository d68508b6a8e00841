"""`python -m cnncc.bench.functions`: cycles a vector and accuracy of elementary functions.

A vector takes the time that a loop over it takes, with its load and its store (the row `relu`),
divided by the time of a cycle; the clock is taken from the multiply-add peak of the same minute.
Accuracy is the largest error against float64 over every range of f32: in units in the last place,
and as a share of the operator's bound, which is absolute where a function cancels. Results beside
the subnormal numbers are left out of the first.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from typing import Any

import numpy as np

from cnncc import driver
from cnncc.abi import aligned
from cnncc.bench import machine
from cnncc.bench.peak import beside_peak
from cnncc.ir.op import Array, Op, lookup, ulp
from cnncc.kernels.cost import fma_per_cycle
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.llvm.asm_stats import functions
from cnncc.llvm.emit import emit_program
from cnncc.llvm.jit import load
from cnncc.llvm.optimize import emit_assembly, emit_object
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Program
from cnncc.runtime.report import table
from cnncc.targets import Target

NAMES = (
    *("relu", "hard_swish", "exp", "sigmoid", "silu", "tanh"),
    *("erf", "gelu", "elu", "mish", "softplus", "log"),
)
_ELEMENTS = 2048  # both arrays stay in the level-1 cache
_TURNS = 50
_SMALLEST = 2.0**-118  # below it a product may have had a subnormal factor


def applied(op: type[Op], lanes: int) -> Func:
    """The operator on an array, so many times over."""
    b = Builder(op.name)
    x, out = b.buffer("x", extent=_ELEMENTS), b.buffer("out", extent=_ELEMENTS, writable=True)
    turns = b.index_param("turns")
    with b.loop(0, turns), b.loop(0, _ELEMENTS, lanes) as loop:
        value = b.load(x, loop.iv, lanes)
        b.store(out, loop.iv, op.scalar(VectorScalars(b, lanes), [value], op.Attrs()))
    return b.func


class Bench:
    """One function in memory with its arrays.

    Attributes:
        op: the operator.
        instructions: in the loop over vectors.
        worst: the largest error, in units in the last place and as a share of the bound.
        call: `_TURNS` times over the array.
    """

    def __init__(self, name: str, target: Target) -> None:
        self.op = lookup(name)
        text = emit_program(Program([applied(self.op, target.lanes())]), target)
        counted = functions(emit_assembly(text, target))[name]
        self.instructions = next(s.counts.instructions for s in counted.loops if s.inner)
        self._library = load([emit_object(text, target)], [name], target)
        self._x, self._y = aligned(_ELEMENTS), aligned(_ELEMENTS)
        self.worst = np.max([self._error(x) for x in _ranges()], axis=0)
        self._x[:] = np.random.default_rng(0).normal(0, 3, _ELEMENTS)

    def call(self, turns: int = _TURNS) -> None:
        """Run it."""
        types = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        entry = self._library.function(self.op.name, *types)
        entry(self._x.ctypes.data, self._y.ctypes.data, turns)

    def _error(self, x: Array) -> tuple[float, float]:
        self._x[:] = x
        self.call(1)
        attrs = self.op.Attrs()
        with np.errstate(all="ignore"):
            exact = np.asarray(self.op.reference([x], attrs), np.float64)
            finite = np.isfinite(exact.astype(np.float32))
            error = np.abs(self._y - exact)
            normal = finite & (np.abs(exact) >= _SMALLEST)
            units = error[normal] / ulp(exact[normal])
            share = error[finite & (error > 0)]
            share = share / self.op.rounding([x], exact, attrs)[finite & (error > 0)]
        return float(units.max(initial=0.0)), float(share.max(initial=0.0))


def _ranges() -> list[Array]:
    """Numbers of every size, and more of them where functions bend."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, (32, _ELEMENTS), np.uint64).astype(np.uint32).view(np.float32)
    sizes = np.geomspace(0.01, 100, 64)
    near = [rng.uniform(-size, size, _ELEMENTS).astype(np.float32) for size in sizes]
    return [*np.where(np.isfinite(bits), bits, 0), *near]


def measure(
    target: Target, names: tuple[str, ...] = NAMES, seconds: float = 0.1
) -> list[dict[str, Any]]:
    """One row a function: cycles, instructions and the largest error."""
    benches = [Bench(name, target) for name in names]
    calls = {bench.op.name: bench.call for bench in benches}
    timings, peak = beside_peak(calls, target, seconds)
    clock = peak * 1e9 / (2 * target.lanes() * fma_per_cycle(target))
    vectors = _TURNS * _ELEMENTS / target.lanes()
    return [
        {
            "function": bench.op.name,
            "cycles": round(timings[bench.op.name].best * clock / vectors, 1),
            "instructions": bench.instructions,
            "worst_ulp": round(float(bench.worst[0]), 2),
            "of_bound": round(float(bench.worst[1]), 3),
        }
        for bench in benches
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure on this machine's best target and on forced AVX2, or on those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", default=["host", "x86-64-v3"])
    parser.add_argument("--seconds", type=float, default=0.1, help="for each function")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    facts = machine.facts()
    targets = {name: driver.target_named(name) for name in given.targets}
    measured = {name: measure(t, seconds=given.seconds) for name, t in targets.items()}
    if given.json:
        answer = {"schema": "cnncc.bench-functions/1", "machine": facts, "targets": measured}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    sys.stdout.write(f"{machine.headline(facts)}\n1 thread, minima, a vector at a time\n")
    for name, rows in measured.items():
        cpu, lanes = targets[name].cpu, targets[name].lanes()
        sys.stdout.write(f"\n{name} ({cpu}, {lanes} lanes)\n{table(rows)}\n")


if __name__ == "__main__":
    main()
