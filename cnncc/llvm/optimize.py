"""From LLVM text to objects and assembly: verification, a few passes, code generation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import llvmlite.binding as llvm  # noqa: TID251 - this room is its place

from cnncc.errors import EmitError

CODEGEN_LEVEL = 2
# For code that only calls: a fifteenth of the time, and a few instructions more at each call.
QUICK_LEVEL = 0
LLVM_VERSION = ".".join(str(part) for part in llvm.llvm_version_info)

# llvmlite serialises single calls only; a module, its context and a target machine are used by one
# thread at a time here.
_compiling = threading.RLock()


class CodeTarget(Protocol):
    """What code generation asks a `Target` for."""

    @property
    def name(self) -> str:
        """What the user types."""

    @property
    def triple(self) -> str:
        """LLVM's target triple."""

    @property
    def cpu(self) -> str:
        """LLVM's name of the CPU."""

    @property
    def features(self) -> str:
        """LLVM's feature string."""

    def __hash__(self) -> int:
        """LLVM's machines are kept by target."""


@cache
def initialize() -> None:
    """Register LLVM's targets once; cheap to call again."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()


@cache
def machine(target: CodeTarget, level: int = CODEGEN_LEVEL) -> llvm.TargetMachine:
    """LLVM's machine for a target: position-independent code, small code model.

    Raises:
        EmitError: LLVM does not know the triple.
    """
    initialize()
    try:
        found = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise EmitError(f"target `{target.name}`: {error}") from error
    return found.create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=level,
        reloc="pic",
        codemodel="small",
    )


@contextmanager
def _without_strength_reduction() -> Iterator[None]:
    """Code generation without LLVM's search for better induction variables.

    It takes three quarters of the time of a kernel with many accesses, and finds nothing: addresses
    are one register and a displacement from the start. The switch belongs to the whole process, so
    it is set back for others who use LLVM.
    """
    llvm.set_option("", "-disable-lsr=true")
    try:
        yield
    finally:
        llvm.set_option("", "-disable-lsr=false")


def emit_object(text: str, target: CodeTarget, level: int = CODEGEN_LEVEL) -> bytes:
    """The relocatable object of a module; at `QUICK_LEVEL` without passes.

    Raises:
        EmitError: LLVM refuses the text.
    """
    with _compiling, _without_strength_reduction():
        module = _parsed(text, target) if level == QUICK_LEVEL else _optimized(text, target)
        return bytes(machine(target, level).emit_object(module))


def emit_assembly(text: str, target: CodeTarget) -> str:
    """The assembly of a module, with LLVM's comments on loops and spills.

    Raises:
        EmitError: LLVM refuses the text.
    """
    with _compiling, _without_strength_reduction():
        tm = machine(target)
        tm.set_asm_verbosity(True)
        return str(tm.emit_assembly(_optimized(text, target)))


def optimized_text(text: str, target: CodeTarget) -> str:
    """The module after the passes, as LLVM text.

    Raises:
        EmitError: LLVM refuses the text.
    """
    with _compiling:
        return str(_optimized(text, target))


def _parsed(text: str, target: CodeTarget) -> llvm.ModuleRef:
    tm = machine(target)
    try:
        module = llvm.parse_assembly(text, llvm.create_context())
        module.triple = target.triple
        module.data_layout = str(tm.target_data)
        module.verify()
    except RuntimeError as error:
        raise EmitError(f"LLVM refuses the module: {error}") from error
    return module


def _optimized(text: str, target: CodeTarget) -> llvm.ModuleRef:
    module = _parsed(text, target)
    options = llvm.create_pipeline_tuning_options(speed_level=CODEGEN_LEVEL)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_interleaving = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine(target), options)
    passes = llvm.create_new_function_pass_manager()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module
