"""Programs with barriers: alone, on the pool, through a host's loop; the pool under stress."""

from __future__ import annotations

import ctypes
import dataclasses
import threading

import numpy as np
import pytest

from cnncc.errors import EmitError
from cnncc.llvm.elf import symbols, undefined_symbols
from cnncc.llvm.emit import module_text
from cnncc.llvm.host import host_target
from cnncc.llvm.jit import Library
from cnncc.llvm.optimize import emit_object
from cnncc.llvm.parallel import emit_main_unit, emit_pool_unit, main_functions, split_at_barriers
from cnncc.llvm.program import compile_program, load_program
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from cnncc.runtime.threads import make_pool
from cnncc.targets import TARGETS, Target, find
from tests.llvm.native import run_python

HOST = host_target()
N, STEPS = 50, 24


def program(steps: int = STEPS, size: int = N) -> Program:
    """Each step adds to each element one that another thread wrote in the step before."""
    k = Builder("step")
    x, y = k.buffer("x"), k.buffer("y", writable=True)
    lo, hi = k.index_param("lo"), k.index_param("hi")
    with k.loop(lo, hi) as loop:
        total = k.binary("add", k.load(x, loop.iv), k.load(x, k.isub(size - 1, loop.iv)))
        k.store(y, loop.iv, k.binary("mul", total, k.const(0.75)))
    m = Builder("main")
    a, b = m.buffer("a", writable=True), m.buffer("b", writable=True)
    thread, threads = m.index_param("thread"), m.index_param("threads")
    lo, hi = (m.idiv(m.imul(m.iadd(thread, n), size), threads) for n in (0, 1))
    for number in range(steps):
        m.call("step", [a, m.view(b, 0), lo, hi] if number % 2 == 0 else [b, a, lo, hi])
        m.barrier()
    return Program([k.func, m.func])


def start() -> tuple[list[np.ndarray], ctypes.Array[ctypes.c_void_p]]:
    arrays = [np.arange(N, dtype="f"), np.zeros(N, "f")]
    return arrays, (ctypes.c_void_p * 2)(*(a.ctypes.data for a in arrays))


def expected() -> list[np.ndarray]:
    arrays, _ = start()
    interp.run(program(), arrays, threads=3)
    return arrays


@pytest.fixture(scope="module")
def library() -> Library:
    return load_program(compile_program(program(), HOST, None), HOST)


def assert_equal(arrays: list[np.ndarray]) -> None:
    for got, want in zip(arrays, expected(), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.native
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_any_number_of_threads_gives_the_same_bits(library: Library, threads: int) -> None:
    run = library.function("main_run", ctypes.c_void_p, ctypes.c_void_p)
    pool = make_pool(library, threads)
    for _ in range(20):
        arrays, buffers = start()
        run(buffers, pool.address())
        assert_equal(arrays)
    pool.close()
    arrays, buffers = start()
    run(buffers, pool.address())
    assert_equal(arrays)


@pytest.mark.native
def test_serial_and_a_hosts_own_loop(library: Library) -> None:
    arrays, buffers = start()
    library.function("main_serial", ctypes.c_void_p)(buffers)
    assert_equal(arrays)
    loop_type = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p
    )
    seen = []

    def parallel_for(host: int, count: int, task: int, arg: int) -> None:
        seen.append((host, count))
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)(task)
        for i in reversed(range(count)):
            call(arg, i)

    arrays, buffers = start()
    kinds = (ctypes.c_void_p, ctypes.c_int32, loop_type, ctypes.c_void_p)
    library.function("main_forkjoin", *kinds)(buffers, 3, loop_type(parallel_for), 77)
    assert_equal(arrays)
    assert seen == [(77, 3)] * STEPS


@pytest.mark.native
def test_callers_that_share_a_pool_do_not_wait_for_each_other(library: Library) -> None:
    pool = make_pool(library, 2)
    run = library.function("main_run", ctypes.c_void_p, ctypes.c_void_p)
    results: list[list[np.ndarray]] = []

    def work() -> None:
        for _ in range(100):
            arrays, buffers = start()
            run(buffers, pool.address())
        results.append(arrays)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 4
    for arrays in results:
        assert_equal(arrays)
    pool.close()


@pytest.mark.native
def test_a_forked_child_makes_a_pool_of_its_own() -> None:
    done = run_python(
        "import warnings; warnings.simplefilter('ignore')\n"
        "from tests.llvm.test_parallel import *\n"
        "import os\n"
        "library = load_program(compile_program(program(), HOST, None), HOST)\n"
        "pool = make_pool(library, 2)\n"
        "def go():\n"
        "    arrays, buffers = start()\n"
        "    run = library.function('main_run', ctypes.c_void_p, ctypes.c_void_p)\n"
        "    run(buffers, pool.address())\n"
        "    assert_equal(arrays)\n"
        "go()\n"
        "before = pool.address()\n"
        "child = os.fork()\n"
        "go()\n"
        "if child == 0:\n"
        "    assert pool.address() != before\n"
        "    print('child', flush=True)\n"
        "else:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    print('parent', flush=True)\n",
        timeout=30,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["child", "parent"], "")


@pytest.mark.native
def test_workers_leave_signals_alone_and_end_with_their_pool() -> None:
    done = run_python(
        "from tests.llvm.test_parallel import *\n"
        "import os, gc, time\n"
        "tasks = lambda: sorted(os.listdir('/proc/self/task'))\n"
        "before = tasks()\n"
        "library = load_program(compile_program(program(), HOST, None), HOST)\n"
        "pool = make_pool(library, 3)\n"
        "assert pool.address()\n"
        "workers = set(tasks()) - set(before)\n"
        "blocked = set()\n"
        "for w in workers:\n"
        "    for line in open(f'/proc/self/task/{w}/status'):\n"
        "        if line.startswith('SigBlk'): blocked.add(int(line.split()[1], 16))\n"
        "assert len(workers) == 2 and all(b & 0x4002 == 0x4002 for b in blocked), blocked\n"
        "own = [l for l in open('/proc/self/status') if l.startswith('SigBlk')]\n"
        "assert int(own[0].split()[1], 16) == 0\n"
        "time.sleep(0.05)\n"
        "states = {open(f'/proc/self/task/{w}/stat').read().split(') ')[1][0] for w in workers}\n"
        "assert states == {'S'}, states\n"
        "del pool; gc.collect()\n"
        "time.sleep(0.05)\n"
        "assert tasks() == before, tasks()\n"
        "pool = make_pool(library, 2); pool.address()\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_segments_repeat_index_arithmetic_and_empty_ones_vanish() -> None:
    m = Builder("main")
    a = m.buffer("a", writable=True)
    thread, _ = m.index_param("thread"), m.index_param("threads")
    m.barrier()
    twice = m.binary("add", thread, thread)
    m.call("k", [a, twice])
    m.barrier()
    m.barrier()
    view = m.view(a, m.binary("add", twice, 1))
    m.call("k", [view, thread])
    m.call("k", [a, thread])
    m.barrier()
    m.call("k", [a, thread])
    names = [[type(s).__name__ for s in part] for part in split_at_barriers(m.func)]
    assert names == [["Binary", "Call"], ["Binary", "Binary", "View", "Call", "Call"], ["Call"]]


def _relay(shares: str) -> Program:
    """One `step` a letter, from one array to the other: `s` shared, `f` all of it on the first."""
    made = program(0)
    m = Builder("main")
    a, b = m.buffer("a", writable=True), m.buffer("b", writable=True)
    thread, threads = m.index_param("thread"), m.index_param("threads")
    lo, hi = (m.idiv(m.imul(m.iadd(thread, n), N), threads) for n in (0, 1))
    alone = m.select(m.compare("eq", thread, 0), N, 0)
    for number, share in enumerate(shares):
        items = (lo, hi) if share == "s" else (0, alone)
        m.call("step", [a, m.view(b, 0), *items] if number % 2 == 0 else [b, a, *items])
        m.barrier()
    return Program([made.funcs[0], m.func])


@pytest.mark.parametrize(
    ("shares", "barriers"),
    [("sss", 2), ("ffff", 0), ("sffs", 2), ("fsffff", 2), ("sfsf", 3), ("f", 0)],
)
@pytest.mark.native
def test_threads_do_not_meet_where_the_first_works_alone(shares: str, barriers: int) -> None:
    made = _relay(shares)
    parts = main_functions(made.funcs[-1], HOST)
    assert f'ptr @"main_body", i64 {barriers + 1}, ptr %buffers' in parts[-1]
    wanted, _ = start()
    interp.run(made, wanted, threads=1)
    library = load_program(compile_program(made, HOST, None), HOST)
    for threads in (1, 2, 3):
        pool = make_pool(library, threads)
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library["main_run"])
        for _ in range(50):
            arrays, pointers = start()
            run(ctypes.addressof(pointers), pool.address())
            for got, want in zip(arrays, wanted, strict=True):
                np.testing.assert_array_equal(got, want)
        pool.close()


@pytest.mark.parametrize("other", ["thread 1", "some for all", "a first item", "another test"])
def test_what_is_not_surely_for_the_first_thread_has_its_barrier(other: str) -> None:
    m = Builder("main")
    a = m.buffer("a", writable=True)
    thread, _ = m.index_param("thread"), m.index_param("threads")
    test = {"thread 1": ("eq", thread, 1), "another test": ("ge", thread, 0)}.get(other)
    hi = m.select(m.compare(*(test or ("eq", thread, 0))), N, 1 if other == "some for all" else 0)
    for _ in range(2):
        m.call("step", [a, a, m.iadd(thread, 1) if other == "a first item" else 0, hi])
        m.barrier()
    assert 'ptr @"main_body", i64 2, ptr %buffers' in main_functions(m.func, HOST)[-1]


def test_only_straight_lines_are_taken() -> None:
    m = Builder("main")
    m.buffer("a")
    with pytest.raises(EmitError, match="`thread` and `threads`"):
        main_functions(m.func, HOST)
    m.index_param("thread")
    m.index_param("threads")
    with m.loop(0, 4):
        m.barrier()
    with pytest.raises(EmitError, match="no For"):
        main_functions(m.func, HOST)
    n = Builder("main")
    for hint in ("n", "thread", "threads"):
        n.index_param(hint)
    with pytest.raises(EmitError, match="only buffers"):
        main_functions(n.func, HOST)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_symbols_of_the_pool_and_of_main(target: Target) -> None:
    image = emit_object(emit_pool_unit(target), target)
    assert undefined_symbols(image) == {
        "pthread_create", "pthread_join", "pthread_sigmask", "sched_yield", "syscall",
    }  # fmt: skip
    image = emit_object(emit_main_unit(program(), target), target)
    assert undefined_symbols(image) == {"step", "cnncc_pool_run"}
    visible = {s.name for s in symbols(image) if s.section and not s.local}
    assert visible == {"main_run", "main_serial", "main_forkjoin"}
    alone = main_functions(program().funcs[-1], target, pool=False)
    text = module_text(["declare void @step(ptr, ptr, i64, i64)", *alone], target)
    assert undefined_symbols(emit_object(text, target)) == {"step"}


def test_there_is_no_pool_for_other_systems() -> None:
    strange = dataclasses.replace(find("x86-64"), triple="x86_64-pc-windows-msvc")
    with pytest.raises(EmitError, match="windows"):
        emit_pool_unit(strange)
