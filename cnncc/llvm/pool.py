"""A pool of worker threads for this process, made of the generated code of `pool_code`."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from functools import cache

from cnncc.llvm.host import host_target
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import emit_object
from cnncc.llvm.parallel import PREFIX, emit_pool_unit
from cnncc.llvm.pool_code import LINE

_IDLE_SECONDS = 40e-6
_WAIT_SECONDS = 400e-6
_CROWDED_SPINS = 50
_NAMES = tuple(f"{PREFIX}_{name}" for name in ("barrier", "pool_bytes", "pool_start", "pool_run"))
_EXPORTS = (*_NAMES, f"{PREFIX}_pool_stop", f"{PREFIX}_pool_pause")


@cache
def pool_object() -> bytes:
    """The pool's object for this machine, to be linked with the programs that run on it."""
    target = host_target()
    return emit_object(emit_pool_unit(target), target)


@cache
def _library() -> Library:
    return load([pool_object()], _EXPORTS, host_target())


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def spins_per_second() -> float:
    """Pauses that this machine executes in a second; the best of a few short runs."""
    pause = ctypes.CFUNCTYPE(None, ctypes.c_int64)(_library()[f"{PREFIX}_pool_pause"])
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        pause(1000)
        best = min(best, time.perf_counter() - start)
    return 1000 / best


class ThreadPool:
    """Worker threads that sleep between jobs; made on first use, again after a fork.

    Attributes:
        threads: how many threads run a job, the calling one included.
    """

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._lock = threading.Lock()
        self._pid = 0
        self._address = 0
        self._memory: ctypes.Array[ctypes.c_char] | None = None
        self._stop: weakref.finalize | None = None  # type: ignore[type-arg]

    @property
    def address(self) -> int:
        """What `NAME_run` takes as its pool; 0, which means alone, for a single thread."""
        if self.threads == 1:
            return 0
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._start()
        return self._address

    def close(self) -> None:
        """Stop the workers; jobs that come later run on the calling thread alone."""
        if self._stop is not None:
            self._stop()
        self._address, self._pid, self.threads = 0, 0, 1

    def _start(self) -> None:
        library = _library()
        size = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library[f"{PREFIX}_pool_bytes"])
        start = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 3)(
            library[f"{PREFIX}_pool_start"]
        )
        memory = ctypes.create_string_buffer(size(self.threads) + LINE)
        address = -(-ctypes.addressof(memory) // LINE) * LINE
        idle, wait = _spins(self.threads)
        start(address, self.threads, idle, wait)
        if self._stop is not None:
            self._stop.detach()
        self._memory, self._address, self._pid = memory, address, os.getpid()
        self._stop = weakref.finalize(self, _stop, library, memory, address, self._pid)


def _spins(threads: int) -> tuple[int, int]:
    if threads > usable_cores():
        return _CROWDED_SPINS, _CROWDED_SPINS
    rate = spins_per_second()
    return int(_IDLE_SECONDS * rate), int(_WAIT_SECONDS * rate)


def _stop(library: Library, memory: ctypes.Array[ctypes.c_char], address: int, pid: int) -> None:
    """Join the workers; `memory` is kept by this call's arguments until then."""
    if pid == os.getpid():
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library[f"{PREFIX}_pool_stop"])(address)
    del memory
