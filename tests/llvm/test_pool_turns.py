"""Threads that come late, or never: others do their shares, once each, in the order of phases.

Workers of these pools are started by the tests, when they want; what could hang runs in a child.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

import pytest

from cnncc.llvm.emit import module_text
from cnncc.llvm.host import host_target
from cnncc.llvm.jit import load
from cnncc.llvm.optimize import emit_object
from cnncc.llvm.pool import POOL_EXPORTS
from cnncc.llvm.pool_code import pool_functions
from cnncc.llvm.pool_turns import AT, HEAD, LIMITS, LINE, THREAD
from tests.llvm.native import run_python

_I64 = ctypes.c_int64
BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _I64, _I64, _I64)
Did = tuple[int, int, int]  # phase, share, thread that did it


class Bench:
    """A pool of which only the calling thread runs until `start` is called.

    Args:
        threads: how many the pool believes in.
        body: is called with phase and share before they are noted in `did`.
    """

    def __init__(self, threads: int, body: Callable[[int, int], None] = lambda phase, share: None):
        code = "\n".join(pool_functions(host_target()))
        worker = 'define internal ptr @"cnncc_worker"'
        assert worker in code
        text = module_text([code.replace(worker, worker.replace("internal ", ""))], host_target())
        names = [*POOL_EXPORTS, "cnncc_worker"]
        self._library = load([emit_object(text, host_target())], names, host_target())
        self._memory = ctypes.create_string_buffer(HEAD + LINE * (threads + 1))
        self._pool = -(-ctypes.addressof(self._memory) // LINE) * LINE
        self._call("cnncc_pool_start", self._pool, 1, 100, 640)
        for number in range(threads):
            line = self._thread(number)
            self._word(line + THREAD["pool"]).value = self._pool
            self._word(line + THREAD["number"]).value = number
        self._word(self._pool + AT["limits"] + LIMITS["threads"]).value = threads
        self._body = BODY(self._note)
        self._before = body
        self.did: list[Did] = []
        self._workers: list[threading.Thread] = []

    def run(self, phases: int) -> list[Did]:
        """What was done for a job, in the order in which it ended."""
        self.did = []
        self._call("cnncc_pool_run", self._pool, self._body, phases, None)
        return self.did

    def start(self, number: int) -> None:
        """A worker comes to its core."""
        self._workers.append(
            threading.Thread(target=self._call, args=("cnncc_worker", self._thread(number)))
        )
        self._workers[-1].start()

    def stop(self) -> None:
        """Workers end; the system knows nothing of threads for the pool to join."""
        self._word(self._pool + AT["limits"] + LIMITS["threads"]).value = 1
        self._call("cnncc_pool_stop", self._pool)
        for worker in self._workers:
            worker.join(10)
            assert not worker.is_alive()

    def _note(self, context: int, share: int, shares: int, phase: int) -> None:
        self._before(phase, share)
        self.did.append((phase, share, threading.get_native_id()))

    def _thread(self, number: int) -> int:
        return self._pool + HEAD + LINE * number

    def _word(self, address: int) -> ctypes.c_int64:
        return _I64.from_address(address)

    def _call(self, name: str, *args: object) -> None:
        kinds = [BODY if isinstance(a, BODY) else ctypes.c_void_p for a in args]
        ctypes.CFUNCTYPE(None, *kinds)(self._library[name])(*args)


def _assert_each_once(did: list[Did], phases: int, shares: int) -> None:
    assert [phase for phase, _, _ in did] == sorted(phase for phase, _, _ in did)
    wanted = [(phase, share) for phase in range(phases) for share in range(shares)]
    assert sorted((phase, share) for phase, share, _ in did) == wanted


def nobody_comes() -> None:
    """The caller does all shares of all jobs, its own first."""
    bench = Bench(4)
    for phases in (3, 1, 0, 5):
        did = bench.run(phases)
        _assert_each_once(did, phases, 4)
        assert {thread for _, _, thread in did} <= {threading.get_native_id()}
        assert [share for _, share, _ in did] == [0, 1, 2, 3] * phases
    bench.stop()


def one_comes_late() -> None:
    """A worker that starts in phase 2 of 6 gets its share there, and is waited for."""
    came, done = threading.Event(), threading.Event()

    def body(phase: int, share: int) -> None:
        if (phase, share) == (2, 0):
            bench.start(1)
            assert came.wait(10)  # the caller is busy while the worker takes its share
        if (phase, share) == (2, 1):
            came.set()
            assert not done.wait(0.05)  # the caller has nothing else to do, and must not go on
        if phase == 3:
            done.set()

    bench = Bench(2, body)
    did = bench.run(6)
    _assert_each_once(did, 6, 2)
    late = {thread for phase, share, thread in did if (phase, share) == (2, 1)}
    assert late != {threading.get_native_id()}
    assert {t for phase, _, t in did if phase < 2} == {threading.get_native_id()}
    bench.stop()


def one_comes_between_jobs() -> None:
    """A worker that finds no phase open does nothing until the next job."""
    bench = Bench(3)
    _assert_each_once(bench.run(4), 4, 3)
    bench.start(2)
    threading.Event().wait(0.05)
    assert len(bench.did) == 12
    for _ in range(200):
        _assert_each_once(bench.run(4), 4, 3)
    bench.stop()
    assert len(bench.did) == 12


def the_caller_is_held() -> None:
    """Workers do what is left of a phase, and the next, while the caller is in its first share."""
    first, held = threading.Event(), threading.Event()

    def body(phase: int, share: int) -> None:
        if threading.get_native_id() == caller:
            if not first.is_set():
                first.set()
                assert held.wait(10)
        else:
            assert first.wait(10)  # the first share is the caller's
            if sum(1 for did in bench.did if did[0] == 0) == 2:
                held.set()

    caller = threading.get_native_id()
    bench = Bench(4, body)
    bench.start(1)  # of three workers; this one does the shares of the others
    did = bench.run(3)
    _assert_each_once(did, 3, 4)
    assert sum(1 for phase, _, thread in did if phase == 0 and thread != caller) == 3
    bench.stop()


def many_short_jobs() -> None:
    """Pools of all sizes in turn; memory that a job used must not be used after it."""
    for shares in (2, 3, 5, 8):
        bench = Bench(shares)
        for number in range(1, shares):
            bench.start(number)
        for job in range(60):
            phases = 1 + job % 7
            did = bench.run(phases)
            bench.did = []
            _assert_each_once(did, phases, shares)
            assert not bench.did
        bench.stop()


CASES = (
    nobody_comes,
    one_comes_late,
    one_comes_between_jobs,
    the_caller_is_held,
    many_short_jobs,
)


@pytest.mark.native
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_shares_are_done_once_each_in_order(case: Callable[[], None]) -> None:
    name = case.__name__
    done = run_python(
        f"import sys; sys.setswitchinterval(1e-5)\n"
        f"from tests.llvm.test_pool_turns import {name}; {name}()",
        timeout=60,
    )
    # Exceptions in a body are printed, not raised.
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.native
def test_networks_give_the_same_bits_on_threads_that_come_and_go() -> None:
    done = run_python(
        "from tests.llvm.test_parallel import *\n"
        "library = load_program(compile_program(program(), HOST, None), HOST)\n"
        "run = library.function('main_run', ctypes.c_void_p, ctypes.c_void_p)\n"
        "pools = [make_pool(library, n) for n in (2, 3, 5, 8)]\n"
        "wanted = expected()\n"
        "for job in range(4000):\n"
        "    arrays, buffers = start()\n"
        "    run(buffers, pools[job * 7 % 4].address())\n"
        "    ctypes.memset(buffers, 0, ctypes.sizeof(buffers))  # who comes late must not read it\n"
        "    assert all((a == b).all() for a, b in zip(arrays, wanted)), job\n"
        "for pool in pools: pool.close()\n",
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
