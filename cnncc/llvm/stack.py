"""How much of the caller's stack a library needs: small devices give a thread little of it.

Kernels keep what is large in the workspace, so that this is little more than their frames.
"""

from __future__ import annotations

from cnncc.llvm.emit import walk
from cnncc.llvm.types import BYTES
from cnncc.loopir.nodes import Alloc, BufferType, Call, Func, Program

# Registers saved and spilled by all functions of a call together; the tests run on less.
_FRAMES = 8 << 10
_ALIGN = 64


def stack_bytes(program: Program, ports: int) -> int:
    """Bytes of stack below a call into the library of a program, an upper bound.

    The bound is the same for a task that the host runs on another thread.

    Args:
        program: what its functions allocate lies on the stack.
        ports: how many inputs and outputs; a call collects their pointers.
    """
    need = _allocated(program, program.funcs[-1]) + 16 * ports + _FRAMES
    return -(-need // 1024) * 1024


def _allocated(program: Program, func: Func) -> int:
    """What a function allocates, and that which needs most among those that it calls."""
    own, deepest = 0, 0
    for stmt in walk(func.body):
        if isinstance(stmt, Alloc) and isinstance(stmt.out.type, BufferType):
            size = (stmt.out.type.extent or 0) * BYTES[stmt.out.type.kind]
            own += -(-size // _ALIGN) * _ALIGN + _ALIGN
        elif isinstance(stmt, Call):
            deepest = max(deepest, _allocated(program, program.func(stmt.callee)))
    return own + deepest
