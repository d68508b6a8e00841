"""The caller's floating-point mode: set aside while generated code runs, and given back after it.

A program may round upwards or flush tiny numbers to zero, on purpose or because a library that it
loads was built with fast-math flags; the same network must still give the same bits, and the
program must find its mode as it was. x86: MXCSR, Intel SDM vol. 1 section 10.2.3; AArch64: FPCR,
Arm ARM chapter D19.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.targets import Target

_X86_DEFAULT = 0x1F80  # to nearest, tiny numbers kept, no exception traps


def in_default_mode(lines: Sequence[str], target: Target) -> list[str]:
    """The lines of a one-block function, with those around that set and restore the mode."""
    if target.triple.startswith("x86_64"):
        return [
            "  %mode.before = alloca i32, align 4",
            "  %mode.default = alloca i32, align 4",
            "  call void @llvm.x86.sse.stmxcsr(ptr %mode.before)",
            f"  store i32 {_X86_DEFAULT}, ptr %mode.default, align 4",
            "  call void @llvm.x86.sse.ldmxcsr(ptr %mode.default)",
            *lines,
            "  call void @llvm.x86.sse.ldmxcsr(ptr %mode.before)",
        ]
    return [
        "  %mode.before = call i64 @llvm.aarch64.get.fpcr()",
        "  call void @llvm.aarch64.set.fpcr(i64 0)",
        *lines,
        "  call void @llvm.aarch64.set.fpcr(i64 %mode.before)",
    ]
