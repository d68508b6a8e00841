"""Code generation in several processes: the same objects, whatever becomes of the others."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from cnncc.errors import EmitError
from cnncc.llvm import processes
from cnncc.llvm.optimize import emit_object
from cnncc.llvm.processes import Assembly, emit_objects
from cnncc.targets import find

TARGET = find("x86-64-v3")
TEXTS = [
    f"define i64 @f{n}(i64 %x) {{\n  %y = add i64 %x, {n}\n  ret i64 %y\n}}\n" for n in range(12)
]


@pytest.fixture
def eager(monkeypatch):
    """Every text is worth a process."""
    monkeypatch.setattr(processes, "EARLY", 1)
    monkeypatch.setattr(processes, "WORTH", 1)


def wait_until(holds):
    """Until a condition holds, but no longer than half a minute."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("level", [0, 2])
def test_the_same_objects(eager, level):
    want = [emit_object(text, TARGET, level) for text in TEXTS]
    assert emit_objects(TEXTS, TARGET, level, jobs=3) == want
    assert emit_objects(TEXTS, TARGET, level) == want
    assert emit_objects([], TARGET, level, jobs=3) == []


def test_others_take_their_share(eager, monkeypatch):
    here = []

    def slowly(text, target, level):
        here.append(text)
        threads = [t for t in processes.threading.enumerate() if t.daemon]
        if threads:
            threads[0].join(30)
        return emit_object(text, target, level)

    monkeypatch.setattr(processes, "emit_object", slowly)
    made = emit_objects(TEXTS, TARGET, 2, jobs=2)
    assert len(here) == 1  # while it waited, the other process made all that were left
    assert made == [emit_object(text, TARGET, 2) for text in TEXTS]


def test_others_begin_while_more_is_prepared(eager, monkeypatch):
    want = [emit_object(text, TARGET, 2) for text in TEXTS]
    monkeypatch.setattr(processes, "emit_object", lambda *_: pytest.fail("made here"))
    with Assembly(TARGET, 2, jobs=2) as assembly:
        for text in TEXTS:
            assembly.add(text)
        wait_until(lambda: len(assembly._made) == len(TEXTS))
        assert assembly.finish() == want


def test_processes_end_with_an_error_of_the_caller(eager, caplog):
    assembly = Assembly(TARGET, 2, jobs=3)

    def fail():
        with assembly:
            for text in TEXTS:
                assembly.add(text)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for thread in assembly._threads:
        thread.join(30)
        assert not thread.is_alive()
    assert [p.poll() is None for p in assembly._processes] == [False, False]
    assert not caplog.records


@pytest.mark.parametrize("command", ["raise SystemExit(3)", "import os; os.write(1, b'short')"])
def test_a_process_that_ends_early_costs_nothing(eager, monkeypatch, caplog, command):
    monkeypatch.setattr(processes, "COMMAND", command)
    with caplog.at_level(logging.WARNING):
        made = emit_objects(TEXTS, TARGET, 2, jobs=2)
    assert made == [emit_object(text, TARGET, 2) for text in TEXTS]


@pytest.mark.parametrize("program", ["", "/usr/bin/application", "/nowhere/python3"])
def test_without_another_python_all_is_made_here(eager, monkeypatch, program):
    monkeypatch.setattr(sys, "executable", program)
    assert emit_objects(TEXTS, TARGET, 2, jobs=2) == [emit_object(t, TARGET, 2) for t in TEXTS]


def test_what_llvm_refuses_is_an_error_here(eager):
    with pytest.raises(EmitError, match="LLVM refuses"):
        emit_objects([*TEXTS, "define i64 @bad( {"], TARGET, 2, jobs=2)


def test_little_work_starts_no_process(monkeypatch):
    monkeypatch.setattr(processes, "_started", lambda: pytest.fail("a process was started"))
    assert len(emit_objects(TEXTS, TARGET, 2, jobs=8)) == len(TEXTS)


def test_a_process_starts_without_numpy():
    """It takes longer to start than the rest of the process."""
    code = "import sys, cnncc.llvm.processes; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
