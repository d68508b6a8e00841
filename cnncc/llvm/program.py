"""A whole program in this process: objects function by function, from the cache or from LLVM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from cnncc.llvm.cache import ObjectCache, full_key
from cnncc.llvm.emit import emit_unit
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import CODEGEN_LEVEL, QUICK_LEVEL, emit_object
from cnncc.llvm.parallel import emit_main_unit
from cnncc.llvm.pool import POOL_EXPORTS, pool_object
from cnncc.loopir.nodes import Program
from cnncc.loopir.text import canonical_text
from cnncc.targets import Target


def compile_program(
    program: Program,
    target: Target,
    cache: ObjectCache | None,
    texts: Mapping[str, str] | None = None,
) -> list[bytes]:
    """The objects of a program, one a function, so that an edit recompiles what it touches.

    Args:
        program: kernels, then `main`.
        target: the machine.
        cache: where finished objects are kept, or None.
        texts: the canonical text of functions by name, where the caller knows it already.

    Raises:
        EmitError: the program breaks LoopIR's rules, or LLVM refuses it.
    """
    known = texts or {}
    *kernels, main = program.funcs
    objects = [
        _object(
            f"{func.name}\n{known.get(func.name) or canonical_text(func)}",
            partial(emit_unit, program, func, target),
            target,
            cache,
            CODEGEN_LEVEL,
        )
        for func in kernels
    ]
    # A function's name stands for its parameters in `main`: it is made from its text.
    signatures = "\n".join(f"{f.name} {[str(p.type) for p in f.params]}" for f in kernels)
    source = f"{main.name}\n{signatures}\n{canonical_text(main)}"
    emit_main = partial(emit_main_unit, program, target)
    return [*objects, _object(source, emit_main, target, cache, QUICK_LEVEL)]


def _object(
    source: str,
    emit: Callable[[], str],
    target: Target,
    cache: ObjectCache | None,
    level: int,
) -> bytes:
    """The object of `emit()`, or the one that the cache has for the same source.

    The source is LoopIR, from which the emitter (its version is part of the key) makes the LLVM
    text; on a hit that text is never made.
    """
    if cache is None or cache.reason:
        return emit_object(emit(), target, level)
    key = full_key(source, target, {"level": level})
    found = cache.get(key)
    if found is None:
        found = emit_object(emit(), target, level)
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
