"""A whole program in this process: objects function by function, from the cache or from LLVM."""

from __future__ import annotations

from cnncc.llvm.cache import ObjectCache, full_key
from cnncc.llvm.emit import emit_unit
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import CODEGEN_LEVEL, QUICK_LEVEL, emit_object
from cnncc.llvm.parallel import emit_main_unit
from cnncc.llvm.pool import POOL_EXPORTS, pool_object
from cnncc.loopir.nodes import Program
from cnncc.targets import Target


def compile_program(program: Program, target: Target, cache: ObjectCache | None) -> list[bytes]:
    """The objects of a program, one a function, so that an edit recompiles what it touches.

    Raises:
        EmitError: the program breaks LoopIR's rules, or LLVM refuses it.
    """
    kernels = [emit_unit(program, func, target) for func in program.funcs[:-1]]
    main = compile_text(emit_main_unit(program, target), target, cache, QUICK_LEVEL)
    return [*(compile_text(text, target, cache) for text in kernels), main]


def compile_text(
    text: str, target: Target, cache: ObjectCache | None, level: int = CODEGEN_LEVEL
) -> bytes:
    """The object of one module of LLVM text.

    Raises:
        EmitError: LLVM refuses the text.
    """
    if cache is None or cache.reason:
        return emit_object(text, target, level)
    key = full_key(text, target, {"level": level})
    found = cache.get(key)
    if found is None:
        found = emit_object(text, target, level)
        cache.put(key, found)
    return found


def load_program(objects: list[bytes], target: Target, main: str = "main") -> Library:
    """A program in memory: `main_run`, `main_serial`, `main_forkjoin`, and the pool's functions.

    Raises:
        TargetError: this machine lacks a feature that the code executes.
        EmitError: the objects do not belong together.
    """
    exports = [f"{main}_{way}" for way in ("run", "serial", "forkjoin")]
    return load([*objects, pool_object(target)], [*exports, *POOL_EXPORTS], target)
