"""What a stage and a barrier cost, measured with the thread pool that networks run on."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

from cnncc.llvm.parallel import PREFIX
from cnncc.llvm.pool_turns import LINE
from cnncc.llvm.program import compile_program, load_program
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Program
from cnncc.targets import Target

_STAGES = 16  # few: a run must fit between two turns of other processes on a busy machine
_ASLEEP = 2e-6  # a meeting that takes so long was one with a sleeping thread
_SECONDS = 0.02  # how long runs are repeated
_IDLE_SPINS = 1 << 13  # then a worker sleeps
# So many that a stage whose worker is late and whose share the other takes counts as asleep.
_WAIT_SPINS = 1 << 16


def barrier_seconds(target: Target) -> float | None:
    """How long two threads take to meet; None where two cores are not to be had.

    Raises:
        TargetError: this machine cannot run the target's code.
    """
    if len(os.sched_getaffinity(0)) < 2:
        return None
    library = load_program(compile_program(_program(), target, None), target)

    def pool(name: str, result: type | None, *arguments: type) -> Callable[..., int]:
        address = library[f"{PREFIX}_pool_{name}"]
        made: Callable[..., int] = ctypes.CFUNCTYPE(result, *arguments)(address)
        return made

    words = [ctypes.c_int64] * 3
    memory = ctypes.create_string_buffer(pool("bytes", ctypes.c_int64, words[0])(2) + LINE)
    place = -(-ctypes.addressof(memory) // LINE) * LINE
    sink = (ctypes.c_float * 64)()
    buffers = (ctypes.c_void_p * 1)(ctypes.addressof(sink))
    run = library.function("main_run", ctypes.c_void_p, ctypes.c_void_p)

    def seconds(using: int | None) -> float:
        best, end = float("inf"), time.perf_counter() + _SECONDS
        while (start := time.perf_counter()) < end:
            run(buffers, using)
            best = min(best, time.perf_counter() - start)
        return best

    started = pool("start", ctypes.c_int64, ctypes.c_void_p, *words)(
        place, 2, _IDLE_SPINS, _WAIT_SPINS
    )
    try:
        if started < 2:
            return None
        alone, both = seconds(None), seconds(place)
    finally:
        pool("stop", None, ctypes.c_void_p)(place)
    found = (both - alone) / _STAGES
    return found if 0 < found < _ASLEEP else None


def _program() -> Program:
    """Stages of next to no work, with a barrier behind each."""
    touch = _touch()
    b = Builder("main")
    sink = b.buffer("sink", extent=64, writable=True)
    thread, _ = b.index_param("thread"), b.index_param("threads")
    for _ in range(_STAGES):
        b.call(touch.name, [sink, thread])
        b.barrier()
    b.call(touch.name, [sink, thread])
    return Program([touch, b.func])


def _touch() -> Func:
    b = Builder("touch")
    sink = b.buffer("sink", extent=64, writable=True)
    b.store(sink, b.imul(b.index_param("thread"), 32), b.const(1.0))
    return b.func
