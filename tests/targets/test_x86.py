"""The four x86-64 levels: each executes what the one below does, and more."""

from __future__ import annotations

import itertools

import pytest

from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from cnncc.targets.x86 import TARGETS

NEWEST_FIRST = [t.name for t in TARGETS]


def multiply_add(lanes):
    b = Builder("axpy")
    x, y = b.buffer("x"), b.buffer("y", writable=True)
    factor = b.load_splat(x, 0, lanes)
    b.store(y, 0, b.fma(factor, b.load(x, 16, lanes), b.load(y, 0, lanes)))
    return Program([b.func])


def test_levels_grow():
    assert NEWEST_FIRST == ["x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64"]
    for newer, older in itertools.pairwise(TARGETS):
        assert newer.vector_bits >= older.vector_bits
        assert newer.vector_registers >= older.vector_registers
        assert newer.fma >= older.fma
        assert newer.triple == older.triple
        assert set(newer.requires) > set(older.requires)
    assert TARGETS[-1].requires == ()


@pytest.mark.parametrize(
    ("target", "register", "fused"),
    list(zip(TARGETS, ("%zmm", "%ymm", "%xmm", "%xmm"), (True, True, False, False), strict=True)),
    ids=NEWEST_FIRST,
)
def test_code_uses_the_registers_of_the_level_and_no_wider(target, register, fused):
    text = emit_assembly(emit_program(multiply_add(target.lanes()), target), target)
    assert register in text
    assert ("vfmadd" in text) is fused is target.fma
    wider = {"%xmm": ("%ymm", "%zmm"), "%ymm": ("%zmm",), "%zmm": ()}[register]
    assert not any(r in text for r in wider)
