"""A whole program in this process: objects function by function, from the cache or from LLVM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from cnncc.llvm.cache import ObjectCache, full_key
from cnncc.llvm.emit import emit_unit
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import CODEGEN_LEVEL, QUICK_LEVEL, emit_object
from cnncc.llvm.parallel import emit_main_unit
from cnncc.llvm.pool import POOL_EXPORTS, pool_object
from cnncc.llvm.processes import Assembly
from cnncc.loopir.nodes import Func, Program
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

    Args:
        program: kernels, then `main`.
        target: the machine.
        cache: where finished objects are kept, or None.
        texts: the canonical text of functions by name, where the caller knows it already.
        jobs: processes that may generate code at the same time.

    Raises:
        EmitError: the program breaks LoopIR's rules, or LLVM refuses it.
    """
    known = texts or {}
    with ProgramCode(target, cache, jobs) as code:
        for func in program.funcs[:-1]:
            code.add(func, known.get(func.name), program)
        return code.finish(program)


class ProgramCode:
    """The objects of a program whose functions come one by one; a context, for its processes.

    The key of an object in the cache is LoopIR, from which the emitter (its version is part of the
    key) makes the LLVM text; on a hit that text is never made. Code of what the cache lacks is
    generated beside the caller's own work.
    """

    def __init__(self, target: Target, cache: ObjectCache | None, jobs: int = 1) -> None:
        self._target = target
        self._cache = None if cache is None or cache.reason else cache
        self._found: dict[str, bytes] = {}
        self._missing: dict[str, bytes] = {}  # names and keys, in order
        self._assembly = Assembly(target, CODEGEN_LEVEL, jobs)

    def __enter__(self) -> Self:
        self._assembly.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self._assembly.__exit__(*reason)

    def add(self, func: Func, text: str | None = None, program: Program | None = None) -> None:
        """One more function, but none that is here already.

        Args:
            func: a kernel.
            text: its canonical text, where the caller knows it already.
            program: holds the functions that it calls, if it calls any.

        Raises:
            EmitError: the function breaks LoopIR's rules.
        """
        if func.name in self._found or func.name in self._missing:
            return
        key = b""
        if self._cache:
            source = f"{func.name}\n{text or canonical_text(func)}"
            key = full_key(source, self._target, _LEVEL)
            found = self._cache.get(key)
            if found is not None:
                self._found[func.name] = found
                return
        self._missing[func.name] = key
        self._assembly.add(emit_unit(program or Program([func]), func, self._target))

    def finish(self, program: Program) -> list[bytes]:
        """The objects of a program whose kernels are all here, in its order, that of `main` last.

        Raises:
            EmitError: the program breaks LoopIR's rules, or LLVM refuses it.
        """
        main = _main(program, self._target, self._cache)
        for (name, key), made in zip(self._missing.items(), self._assembly.finish(), strict=True):
            self._found[name] = made
            if self._cache:
                self._cache.put(key, made)
        return [*(self._found[func.name] for func in program.funcs[:-1]), main]


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
