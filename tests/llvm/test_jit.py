from __future__ import annotations

import ctypes
import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from cnncc.errors import EmitError
from cnncc.llvm.emit import emit_program, emit_unit
from cnncc.llvm.host import host_target
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import emit_object
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from tests.llvm.native import run_python

pytestmark = pytest.mark.native
HOST = host_target()


def fill(value: float, name: str = "fill") -> bytes:
    b = Builder(name)
    y = b.buffer("y", writable=True)
    b.store(y, 0, b.const(value))
    return emit_object(emit_program(Program([b.func]), HOST), HOST)


def call(library: Library, name: str = "fill") -> float:
    out = np.zeros(1, "f")
    library.function(name, ctypes.c_void_p)(out.ctypes.data)
    return float(out[0])


def test_libraries_of_equal_names_do_not_meet() -> None:
    libraries = [load([fill(float(n))], ["fill"], HOST) for n in range(4)]
    assert [call(library) for library in libraries] == [0, 1, 2, 3]
    del libraries[1]
    gc.collect()
    assert [call(library) for library in libraries] == [0, 2, 3]


def test_objects_are_linked_with_each_other() -> None:
    outer = Builder("outer")
    y = outer.buffer("y", writable=True)
    outer.call("fill", [y])
    inner = Builder("fill")
    inner.buffer("y", writable=True)
    unit = emit_unit(Program([inner.func, outer.func]), outer.func, HOST)
    library = load([emit_object(unit, HOST), fill(6.0)], ["outer"], HOST)
    assert call(library, "outer") == 6


def test_a_function_keeps_its_library() -> None:
    function = load([fill(4.0)], ["fill"], HOST).function("fill", ctypes.c_void_p)
    gc.collect()
    out = np.zeros(1, "f")
    function(out.ctypes.data)
    assert out[0] == 4


def test_missing_and_double_symbols_and_damaged_objects_are_refused() -> None:
    with pytest.raises(EmitError, match="nowhere"):
        load([fill(1.0)], ["nowhere"], HOST)
    with pytest.raises(EmitError):
        load([fill(1.0), fill(2.0)], ["fill"], HOST)
    with pytest.raises(EmitError):
        load([b"no object at all"], ["fill"], HOST)
    assert call(load([fill(3.0)], ["fill"], HOST)) == 3


def test_no_memory_of_ours_is_writable_and_executable() -> None:
    """libffi makes such a page when llvmlite is imported; loading code must add none."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("no /proc/self/maps here")
    done = run_python(
        "from tests.llvm.test_jit import *\n"
        "def maps(): return [l.split()[:2] for l in open('/proc/self/maps')]\n"
        "def both(): return [m for m in maps() if 'wx' in m[1]]\n"
        "before = both()\n"
        "library = load([fill(2.0)], ['fill'], HOST)\n"
        "call(library)\n"
        "assert both() == before, both()\n"
        "spans = [([int(end, 16) for end in m[0].split('-')], m[1]) for m in maps()]\n"
        "print([r for (lo, hi), r in spans if lo <= library['fill'] < hi])\n"
    )
    assert done.stdout == "['r-xp']\n", done.stderr


def test_many_threads_load_call_and_drop() -> None:
    images = [fill(float(n)) for n in range(4)]
    wrong: list[float] = []

    def work(number: int) -> None:
        for turn in range(20):
            value = (number + turn) % 4
            if call(load([images[value]], ["fill"], HOST)) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_unloading_at_exit_is_quiet() -> None:
    done = run_python(
        "from tests.llvm.test_jit import *\n"
        "keep = [load([fill(1.0)], ['fill'], HOST) for _ in range(3)]\n"
        "cycle = []; cycle.append((cycle, keep))\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
