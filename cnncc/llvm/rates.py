"""The rates of this machine's cores, measured by generated code and remembered.

Measured rates are rounded to a coarse grid (a quarter of an octave), so that two runs on machines
of one kind mostly give the same record, and noise does not change plans.
"""

from __future__ import annotations

import ctypes
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache

import numpy as np

from cnncc.llvm.barrier_rate import barrier_seconds
from cnncc.llvm.cache import ObjectCache, emitter_version
from cnncc.llvm.emit import emit_program
from cnncc.llvm.host import cache_bytes
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import LLVM_VERSION, emit_object
from cnncc.llvm.peak import chain_seconds, peak_gflops
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Func, Program
from cnncc.targets import Target
from cnncc.targets.machine import Machine

_VECTORS = 8  # in a turn of the loops
_ROUNDS = 3
_PAUSE = 0.02  # seconds between rounds, in which others may come to an end
_RUNS = 3
_RUN_SECONDS = 1e-3
_STEPS_PER_OCTAVE = 4
_STARTS = (0.5, 1.0, 2.0, 3.0, 4.0)  # instructions of a kind that CPUs start in a cycle
_MOST_BYTES = 128 << 20


def remembered(target: Target, cache: ObjectCache) -> Machine:
    """The rates of this machine for a target: from the cache, or measured and put there.

    Where nothing can be remembered the nominal rates stay: plans that changed from call to call
    would be worse than those of another machine.
    """
    if cache.reason:
        return target.machine
    key = _key(target)
    found = _read(cache.get(key))
    if found is None:
        found = measure(target)
        cache.put(key, json.dumps(asdict(found)).encode())
    return target.machine if cache.reason else found


def _key(target: Target) -> bytes:
    """What the rates depend on."""
    sizes = [target.l1_bytes, target.l2_bytes, cache_bytes(3)]
    record = ["rates", LLVM_VERSION, emitter_version(), target.cpu, target.vector_bits, sizes]
    return json.dumps(record).encode()


def _read(data: bytes | None) -> Machine | None:
    """The record of an entry; None where there is none that makes sense."""
    if data is None:
        return None
    try:
        found = Machine(**json.loads(data))
    except (ValueError, TypeError):
        return None
    sound = all(
        type(value) in (int, float) and math.isfinite(value) and value > 0
        for value in asdict(found).values()
    )
    return found if sound else None


def measure(target: Target) -> Machine:
    """Measure this machine, in less than a second.

    What else runs on it makes rates lower and never higher: the best of some rounds counts.

    Raises:
        TargetError: this machine cannot run the target's code.
    """
    nominal = target.machine
    l3_bytes = cache_bytes(3) or nominal.l3_bytes
    far = min(_MOST_BYTES, max(2 * l3_bytes, 8 * target.l2_bytes))
    buffer = np.empty(far // 4 + 16, np.float32)
    place = buffer.ctypes.data + -buffer.ctypes.data % 64
    vector_bytes = target.vector_bits / 8
    wanted = {
        "store": ("writing", far),  # first of all: it gives the pages memory of their own
        "near": ("reading", target.l1_bytes // 2),
        "l2": ("reading", target.l2_bytes // 2),
        "l3": ("reading", min(l3_bytes // 2, 4 * target.l2_bytes)),
        "memory": ("reading", far),
    }
    a_second, latency = 0.0, math.inf
    bytes_a_second = dict.fromkeys(wanted, 0.0)
    for number in range(_ROUNDS):
        time.sleep(_PAUSE if number else 0.0)
        a_second = max(a_second, peak_gflops(target, _RUNS) * 1e9 / 2 / target.lanes())
        latency = min(latency, chain_seconds(target, _RUNS))
        for rate, (name, size) in wanted.items():
            took = _seconds(_calls(target, name), place, size, target)
            bytes_a_second[rate] = max(bytes_a_second[rate], size / took)
    fmas = _nearest(a_second * latency / nominal.fma_latency)
    hertz = a_second / fmas
    pace = {rate: best / hertz for rate, best in bytes_a_second.items()}
    # No processor starts fewer loads of a vector than multiply-adds that want them.
    loads = max(fmas, _nearest(pace["near"] / vector_bytes))
    barrier = barrier_seconds(target)
    return replace(
        nominal,
        hertz=float(f"{hertz:.3g}"),
        fmas=fmas,
        loads=loads,
        l2_bytes_per_cycle=_rounded(min(pace["l2"], loads * vector_bytes)),
        l3_bytes_per_cycle=_rounded(min(pace["l2"], pace["l3"])),
        memory_bytes_per_cycle=_rounded(min(pace["l3"], pace["memory"])),
        store_bytes_per_cycle=_rounded(min(pace["memory"], pace["store"])),
        l3_bytes=l3_bytes,
        barrier_cycles=_rounded(barrier * hertz) if barrier else nominal.barrier_cycles,
    )


def _nearest(starts: float) -> float:
    return min(_STARTS, key=lambda usual: abs(math.log(usual / starts)))


def _rounded(rate: float) -> float:
    """On the grid, to three digits."""
    octaves = round(math.log2(rate) * _STEPS_PER_OCTAVE) / _STEPS_PER_OCTAVE
    return float(f"{2.0**octaves:.3g}")


def _seconds(call: Callable[[int, int, int], None], place: int, size: int, target: Target) -> float:
    """The shortest time of one pass over so many bytes.

    In time of this thread: on a busy machine others would have their part in that of the clock.
    """
    runs = size // (_VECTORS * target.vector_bits // 8)

    def passes(turns: int) -> float:
        start = time.thread_time()
        call(place, runs, turns)
        return (time.thread_time() - start) / turns

    turns = max(1, int(_RUN_SECONDS / max(min(passes(1) for _ in "ab"), 1e-9)))
    return min(passes(turns) for _ in range(_RUNS))


def _calls(target: Target, name: str) -> Callable[[int, int, int], None]:
    return _loops(target).function(name, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def _loops(target: Target) -> Library:
    program = Program([_reading(target.lanes()), _writing(target.lanes())])
    names = [func.name for func in program.funcs]
    return load([emit_object(emit_program(program, target), target)], names, target)


def _reading(lanes: int) -> Func:
    """`turns` times: sums of `runs` groups of vectors, left at the start so that they count."""
    b = Builder("reading")
    x = b.buffer("x", writable=True)
    runs, turns = b.index_param("runs"), b.index_param("turns")
    zeros = [b.const(0.0, vector(lanes)) for _ in range(_VECTORS)]
    with b.loop(0, turns):
        with b.loop(0, runs, carry=zeros) as loop:
            at = b.imul(loop.iv, _VECTORS * lanes)
            read = [b.load(x, at, lanes, offset=k * lanes) for k in range(_VECTORS)]
            sums = zip(loop.carried, read, strict=True)
            loop.yields([b.binary("add", total, value) for total, value in sums])
        total = loop.results[0]
        for other in loop.results[1:]:
            total = b.binary("add", total, other)
        b.store(x, 0, total)
    return b.func


def _writing(lanes: int) -> Func:
    """`turns` times: zeros to `runs` groups of vectors."""
    b = Builder("writing")
    x = b.buffer("x", writable=True)
    runs, turns = b.index_param("runs"), b.index_param("turns")
    zero = b.const(0.0, vector(lanes))
    with b.loop(0, turns), b.loop(0, runs) as loop:
        at = b.imul(loop.iv, _VECTORS * lanes)
        for k in range(_VECTORS):
            b.store(x, at, zero, offset=k * lanes)
    return b.func
