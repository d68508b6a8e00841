from __future__ import annotations

import time

import pytest

from cnncc.llvm.asm_stats import functions
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly
from cnncc.llvm.peak import _chains, peak_gflops
from cnncc.loopir.nodes import Program
from cnncc.targets import find
from tests.llvm.native import RUNNABLE


@pytest.mark.native
def test_the_peak_is_plausible_and_quick() -> None:
    target = RUNNABLE[0]
    start = time.perf_counter()
    peak = peak_gflops(target)
    assert 1 < peak < 1000
    assert time.perf_counter() - start < 5


def test_the_loop_is_nothing_but_multiply_adds() -> None:
    target = find("x86-64-v4")
    text = emit_assembly(emit_program(Program([_chains(28, 16)]), target), target)
    (loop,) = functions(text)["fma_peak"].loops
    assert loop.counts.fmas == 28
    assert loop.counts.instructions <= 31
    assert loop.counts.spills + loop.counts.reloads == 0
