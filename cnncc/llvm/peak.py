"""The multiply-add peak of this machine, which is what kernels are measured against."""

from __future__ import annotations

import ctypes
import time
from functools import cache

from cnncc.llvm.emit import emit_program
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import emit_object
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Func, Program
from cnncc.targets import Target

_NAME = "fma_peak"
_RUN_SECONDS = 3e-3
_RUNS = 14
_FIRST_TURNS = 20_000
_SPARE_REGISTERS = 4


def peak_gflops(target: Target, runs: int = _RUNS) -> float:
    """Multiply-adds of f32 that one thread can do, in 10**9 FLOP a second (two each).

    The best of so many runs of 3 ms; on a target without a multiply-add instruction it is the rate
    of pairs of a multiply and an add.

    Raises:
        TargetError: this machine cannot run the target's code.
    """
    accumulators = target.vector_registers - _SPARE_REGISTERS
    return 2.0 * accumulators * target.lanes() / _turn_seconds(target, accumulators, runs) / 1e9


def chain_seconds(target: Target, runs: int = _RUNS) -> float:
    """How long a multiply-add takes whose addend is the result of the one before.

    Raises:
        TargetError: this machine cannot run the target's code.
    """
    return _turn_seconds(target, 1, runs)


@cache
def _code(target: Target, accumulators: int) -> Library:
    program = Program([_chains(accumulators, target.lanes())])
    return load([emit_object(emit_program(program, target), target)], [_NAME], target)


def _turn_seconds(target: Target, accumulators: int, runs: int) -> float:
    """The shortest time of one multiply-add in each of so many chains."""
    library = _code(target, accumulators)
    call = library.function(_NAME, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    factors = (ctypes.c_float * 2)(0.5, 1.0)
    sink = (ctypes.c_float * target.lanes())()

    def seconds(turns: int) -> float:
        start = time.thread_time()
        call(ctypes.addressof(factors), ctypes.addressof(sink), turns)
        return time.thread_time() - start

    turns = max(1000, int(_FIRST_TURNS * _RUN_SECONDS / min(seconds(_FIRST_TURNS) for _ in "ab")))
    return min(seconds(turns) for _ in range(runs)) / turns


def _chains(accumulators: int, lanes: int) -> Func:
    """Independent chains `x = x*a + b`, as many as registers, so that latency never shows."""
    b = Builder(_NAME)
    factors, sink = b.buffer("factors", extent=2), b.buffer("sink", extent=lanes, writable=True)
    turns = b.index_param("turns")
    factor = b.load_splat(factors, 0, lanes)
    term = b.load_splat(factors, 1, lanes)
    start = [b.const(float(number), vector(lanes)) for number in range(accumulators)]
    with b.loop(0, turns, carry=start) as loop:
        loop.yields([b.fma(chain, factor, term) for chain in loop.carried])
    total = loop.results[0]
    for chain in loop.results[1:]:
        total = b.binary("add", total, chain)
    b.store(sink, 0, total)
    return b.func
