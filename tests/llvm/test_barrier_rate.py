from __future__ import annotations

import os

import pytest

from cnncc.llvm import barrier_rate
from cnncc.llvm.barrier_rate import barrier_seconds
from cnncc.loopir.nodes import Barrier, Call
from cnncc.loopir.verify import verify
from tests.llvm.native import RUNNABLE


@pytest.mark.native
def test_threads_meet_quickly_where_there_are_two_cores() -> None:
    found = barrier_seconds(RUNNABLE[0])
    # On a busy machine there may be only one, whatever the process is allowed to use.
    assert found is None or 0 < found < barrier_rate._ASLEEP
    assert found is None or len(os.sched_getaffinity(0)) > 1


def test_one_core_has_no_barriers(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert barrier_seconds(RUNNABLE[0]) is None


def test_the_program_has_a_barrier_a_stage() -> None:
    program = barrier_rate._program()
    main = program.funcs[-1].body
    assert sum(isinstance(s, Barrier) for s in main) == barrier_rate._STAGES
    assert sum(isinstance(s, Call) for s in main) == barrier_rate._STAGES + 1
    verify(program)
