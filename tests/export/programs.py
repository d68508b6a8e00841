"""A second program for export: two inputs and two outputs of different types."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cnncc.abi import Interface, Port
from cnncc.ir.types import DType
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Kind, Program
from tests.runtime.programs import weights

SIZE = 40
PAIR = Interface(
    name="pair",
    inputs=(Port("a", DType.F32, (SIZE,)), Port("b", DType.U8, (4, 5, 2), "hwc", "rgb")),
    outputs=(
        Port("sum", DType.F32, (SIZE,)),
        Port("twice", DType.F32, (SIZE,), labels=tuple(f'l"{n}\n' for n in range(SIZE))),
    ),
    weights_bytes=4 * SIZE,
    workspace_bytes=0,
    parameters=SIZE,
    macs=SIZE,
    target="host",
)


def pair_program() -> Program:
    """`sum = a + b + w` and `twice = 2 * b`."""
    f = Builder("both")
    a, b = f.buffer("a", extent=SIZE), f.buffer("b", Kind.U8, SIZE)
    total = f.buffer("sum", extent=SIZE, writable=True)
    twice = f.buffer("twice", extent=SIZE, writable=True)
    w = f.buffer("w", extent=SIZE)
    lo, hi = f.index_param("lo"), f.index_param("hi")
    with f.loop(lo, hi) as i:
        value = f.convert(f.load(b, i.iv), Kind.F32)
        f.store(twice, i.iv, f.binary("add", value, value))
        plus = f.binary("add", f.load(a, i.iv), value)
        f.store(total, i.iv, f.binary("add", plus, f.load(w, i.iv)))
    m = Builder("main")
    a, b = m.buffer("a", extent=SIZE), m.buffer("b", Kind.U8, SIZE)
    total = m.buffer("sum", extent=SIZE, writable=True)
    twice = m.buffer("twice", extent=SIZE, writable=True)
    w = m.buffer("w", extent=SIZE)
    m.buffer("arena", extent=0, writable=True)
    thread, threads = m.index_param("thread"), m.index_param("threads")
    lo = m.idiv(m.imul(thread, SIZE), threads)
    hi = m.idiv(m.imul(m.iadd(thread, 1), SIZE), threads)
    m.call("both", [a, b, total, twice, w, lo, hi])
    return Program([f.func, m.func])


def pair_expected(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of `pair_program`, in the same float32 steps."""
    wide = b.reshape(-1).astype(np.float32)
    return (a + wide) + weights(SIZE), wide + wide


def compiler(name: str) -> str:
    """A compiler of the system; the test is skipped where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here")
    return found


def run(command: list[str | Path], folder: Path) -> str:
    """What a command prints, which must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(text: str) -> np.ndarray:
    """The numbers that `main.c` prints, as float32."""
    return np.array([line.split()[0] for line in text.splitlines()], dtype=np.float32)
