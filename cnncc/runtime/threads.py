"""How many threads a network uses, and the worker threads themselves.

The workers run generated code (`cnncc_pool_*` in the network's image); Python only starts and stops
them. A pool belongs to the process that started it: after a fork the child makes its own.
"""

from __future__ import annotations

import ctypes
import operator
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

from cnncc.errors import InputError
from cnncc.runtime.image import Loaded

VARIABLE = "CNNCC_NUM_THREADS"
POOL_EXPORTS = tuple(f"cnncc_pool_{name}" for name in ("bytes", "start", "stop", "pause"))
MAX_THREADS = 1024
_LINE = 128  # alignment of a pool, which keeps each flag on a line of its own
_IDLE_SECONDS = 40e-6  # how long a worker spins for the next inference
# And for the others within one: who sleeps soon leaves the core to a thread that lost its own.
_WAIT_SECONDS = 60e-6
_CROWDED_SPINS = 50  # when there are more threads than cores, spinning steals from the others
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def default_threads(most: int = 0) -> int:
    """`CNNCC_NUM_THREADS`, else the cores that this process may use (affinity and cgroup quota).

    Args:
        most: a number beyond which more cores do not help; 0 for none.

    Raises:
        InputError: the variable is no number of threads.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return min(usable_cores(), most or usable_cores())
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InputError(
            f"{VARIABLE} is `{text[:40]}`, which is no number of threads", hint=f"unset {VARIABLE}"
        )
    try:
        return checked_threads(int(text))
    except InputError as error:
        raise InputError(f"{VARIABLE}: {error.message}", hint=f"unset {VARIABLE}") from None


def checked_threads(threads: SupportsIndex) -> int:
    """The number itself, when it is one that a network can use.

    Raises:
        InputError: it is not.
    """
    try:
        count = 0 if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        count = 0
    if not 1 <= count <= MAX_THREADS:
        raise InputError(
            f"`threads` is {threads!r}; it must be a whole number from 1 to {MAX_THREADS}"
        )
    return count


def usable_cores() -> int:
    """Cores that this process may run on at one time, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cgroup_cores()
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def cgroup_cores(groups: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> float | None:
    """The tightest CPU quota of this process's cgroup and its parents, in cores; None: none."""
    limits = []
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            roots = [groups, groups / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [groups / controllers, groups / "cpu"]
        else:
            continue
        for root in roots:
            limits += [q for f in _upwards(root, path) if (q := _quota(f)) is not None]
    return min(limits, default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    """The folder of a cgroup and of all its parents; inside a container only the root may exist."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [root.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


class Pool:
    """The worker threads of a network: started by the first call, stopped with this object.

    Attributes:
        threads: how many threads share an inference, the calling one included.
    """

    def __init__(self, code: Loaded, threads: int) -> None:
        self.threads = threads
        self._code = code
        self._lock = threading.Lock()
        self._pid = 0
        self._address = 0
        # Freed with this object and not by `close`: a call may be about to use the address.
        self._memory: ctypes.Array[ctypes.c_char] | None = None
        self._finalizer: weakref.finalize[..., Pool] | None = None

    def address(self) -> int:
        """What `main_run` takes as its pool; 0 means the calling thread alone."""
        if self.threads == 1:
            return 0
        if self._pid != os.getpid():
            self._start()
        return self._address

    def close(self) -> None:
        """Stop the workers; later calls run on the calling thread alone."""
        self.threads = 1
        if self._finalizer is not None:
            self._finalizer()

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            count = _function(self._code, "bytes", ctypes.c_int64, ctypes.c_int64)
            start = _function(
                self._code, "start", ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 3
            )
            memory = ctypes.create_string_buffer(count(self.threads) + _LINE)
            address = -(-ctypes.addressof(memory) // _LINE) * _LINE
            started = start(address, self.threads, *_spins(self._code, self.threads))
            pid = os.getpid()
            if self._finalizer is not None:
                self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _stop, self._code, memory, address, pid)
            self._memory, self._address, self._pid = memory, address, pid
        if started < self.threads:
            warnings.warn(
                f"the system allows {started} of {self.threads} threads; "
                "the network runs on those, with the same results",
                RuntimeWarning,
                stacklevel=4,
            )


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def make_pool(code: Loaded, threads: int) -> Pool:
    """A pool that survives forks: a child starts workers of its own."""
    pool = Pool(code, threads)
    _pools.add(pool)
    return pool


def _forked() -> None:
    for pool in list(_pools):
        pool.after_fork()


os.register_at_fork(after_in_child=_forked)


def _stop(code: Loaded, memory: ctypes.Array[ctypes.c_char], address: int, pid: int) -> None:
    """Join the workers; the arguments keep their code and their memory until then."""
    if pid == os.getpid():
        _function(code, "stop", None, ctypes.c_void_p)(address)
    del memory


def _function(code: Loaded, name: str, result: type | None, *params: type) -> Callable[..., Any]:
    return ctypes.CFUNCTYPE(result, *params)(code[f"cnncc_pool_{name}"])


def _spins(code: Loaded, threads: int) -> tuple[int, int]:
    if threads > usable_cores():
        return _CROWDED_SPINS, _CROWDED_SPINS
    rate = _spins_per_second(code)
    return int(_IDLE_SECONDS * rate), int(_WAIT_SECONDS * rate)


_rates: list[float] = []  # the one rate of this machine, once it was measured


def _spins_per_second(code: Loaded) -> float:
    """Pauses that this machine executes in a second; measured once a process, the best of five."""
    if not _rates:
        pause = _function(code, "pause", None, ctypes.c_int64)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            pause(1000)
            best = min(best, time.perf_counter() - start)
        _rates.append(1000 / max(best, 1e-9))
    return _rates[0]
