from __future__ import annotations

import numpy as np
import pytest

from cnncc.abi import aligned
from cnncc.llvm.program import compile_program, load_program
from cnncc.llvm.stopwatch import Stopwatch
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Program
from tests.llvm.native import RUNNABLE

TARGET = RUNNABLE[0]


def _adding():
    """`turns` dependent additions of 1 to what lies in the buffer."""
    b = Builder("adding")
    x = b.buffer("x", extent=64, writable=True)
    turns = b.index_param("turns")
    one = b.const(1.0, vector(TARGET.lanes()))
    with b.loop(0, turns, carry=[b.load(x, 0, TARGET.lanes())]) as loop:
        loop.yields([b.binary("add", loop.carried[0], one)])
    b.store(x, 0, loop.results[0])
    return b.func


@pytest.mark.native
def test_each_segment_has_its_own_time():
    adding = _adding()
    b = Builder("main")
    x = b.buffer("x", extent=64, writable=True)
    b.index_param("thread")
    b.index_param("threads")
    for number, turns in enumerate((10, 1_000_000, 10)):
        if number:
            b.barrier()
        b.call(adding.name, [x, turns])
    library = load_program(compile_program(Program([adding, b.func]), TARGET, None), TARGET)
    watch = Stopwatch(library, 3, TARGET)
    memory = aligned(64)
    memory[:] = 0
    times = np.min([watch.run([memory]) for _ in range(5)], axis=0)
    assert watch.segments == len(times) == 3
    assert np.all(times >= 0)
    # A million dependent additions take longer than ten, on any machine.
    assert times[1] > 100e-6 > max(times[0], times[2])
    assert memory[0] == 5 * 1_000_020
