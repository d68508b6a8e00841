"""AArch64: code for it can be made anywhere."""

from __future__ import annotations

from dataclasses import replace

from cnncc.llvm.emit import emit_program, module_text
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


def test_code_is_for_the_first_of_these_cpus():
    """Half-precision sums are an extension (Armv8.2-A): without it they are computed in f32."""
    half = (
        "define half @f(half %a, half %b) #0 {\nentry:\n  %c = fadd half %a, %b\n  ret half %c\n}"
    )
    assert "fcvt" in emit_assembly(module_text([half], AARCH64), AARCH64)
    newer = replace(AARCH64, cpu="cortex-a76")
    assert "fcvt" not in emit_assembly(module_text([half], newer), newer)
