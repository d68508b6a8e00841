"""AArch64: code for it can be made anywhere."""

from __future__ import annotations

from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly, emit_object
from cnncc.targets.aarch64 import AARCH64
from tests.targets.test_x86 import multiply_add


def test_code_is_made_without_the_machine():
    program = multiply_add(AARCH64.lanes())
    text = emit_program(program, AARCH64)
    assert "fmla" in emit_assembly(text, AARCH64)
    assert emit_object(text, AARCH64)[:4] == b"\x7fELF"
    assert AARCH64.fma
    assert AARCH64.vector_registers == 32
