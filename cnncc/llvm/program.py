"""A whole program in this process: objects function by function, from the cache or from LLVM."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.llvm.cache import ObjectCache, full_key
from cnncc.llvm.emit import emit_unit
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import CODEGEN_LEVEL, QUICK_LEVEL, emit_object
from cnncc.llvm.parallel import emit_main_unit
from cnncc.llvm.pool import POOL_EXPORTS, pool_object
from cnncc.llvm.processes import emit_objects
from cnncc.loopir.nodes import Program
from cnncc.loopir.text import canonical_text
from cnncc.targets import Target

_LEVEL = {"level": CODEGEN_LEVEL}  # of kernels, in their keys


def compile_program(
    program: Program,
    target: Target,
    cache: ObjectCache | None,
    texts: Mapping[str, str] | None = None,
    jobs: int = 1,
) -> list[bytes]:
    """The objects of a program, one a function, so that an edit recompiles what it touches.

    The key of an object in the cache is LoopIR, from which the emitter (its version is part of the
    key) makes the LLVM text; on a hit that text is never made.

    Args:
        program: kernels, then `main`.
        target: the machine.
        cache: where finished objects are kept, or None.
        texts: the canonical text of functions by name, where the caller knows it already.
        jobs: processes that may generate code at the same time.

    Raises:
        EmitError: the program breaks LoopIR's rules, or LLVM refuses it.
    """
    known, kernels = texts or {}, program.funcs[:-1]
    usable = None if cache is None or cache.reason else cache
    keys = [
        full_key(f"{func.name}\n{known.get(func.name) or canonical_text(func)}", target, _LEVEL)
        for func in (kernels if usable else ())
    ]
    found: list[bytes | None] = (
        [usable.get(key) for key in keys] if usable else [None] * len(kernels)
    )
    missing = [n for n, stored in enumerate(found) if stored is None]
    made = [emit_unit(program, kernels[n], target) for n in missing]
    for n, fresh in zip(missing, emit_objects(made, target, CODEGEN_LEVEL, jobs), strict=True):
        found[n] = fresh
        if usable:
            usable.put(keys[n], fresh)
    return [*(one for one in found if one is not None), _main(program, target, usable)]


def _main(program: Program, target: Target, cache: ObjectCache | None) -> bytes:
    """The object of the last function, which calls the others."""
    *kernels, main = program.funcs
    # A function's name stands for its parameters: it is made from its text.
    signatures = "\n".join(f"{f.name} {[str(p.type) for p in f.params]}" for f in kernels)
    source = f"{main.name}\n{signatures}\n{canonical_text(main)}"
    key = full_key(source, target, {"level": QUICK_LEVEL})
    found = cache.get(key) if cache else None
    if found is None:
        found = emit_object(emit_main_unit(program, target), target, QUICK_LEVEL)
        if cache:
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
