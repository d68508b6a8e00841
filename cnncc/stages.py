"""Stages below the graph as texts in files, and programs read back from them.

A dumped program is two files: `NAME.loops`, its LoopIR, and `NAME.npz`, the packed weights with
the interface that says what the program's buffers are. The text alone can be compiled to LLVM text
and assembly; both together are a network.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.abi import Interface, Port, aligned
from cnncc.errors import ArtifactError, InputError, TargetError, VerifyError
from cnncc.ir.values import Reader, format_value
from cnncc.llvm.emit import module_text
from cnncc.llvm.optimize import emit_assembly
from cnncc.llvm.parallel import kernel_functions, main_functions
from cnncc.loopir import interp
from cnncc.loopir.nodes import Program
from cnncc.loopir.parse import parse_program
from cnncc.loopir.text import print_program
from cnncc.loopir.verify import verify
from cnncc.targets import Target

Array = NDArray[Any]
_RECORDS = {"Interface": Interface, "Port": Port}


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """A program that was read from a file.

    Attributes:
        program: LoopIR; verified.
        weights: the packed constants f32[n], or `None` where only the text was found.
        interface: ports and sizes, or `None` likewise.
    """

    program: Program
    weights: NDArray[np.float32] | None
    interface: Interface | None

    def complete(self, target: Target | None = None) -> tuple[NDArray[np.float32], Interface]:
        """Weights and interface, for code that is made for `target`.

        Raises:
            ArtifactError: only the text of the program is there.
            TargetError: the program was made for another machine.
        """
        if self.weights is None or self.interface is None:
            raise ArtifactError(
                "the program came without weights",
                hint="keep the `.npz` file of the dump beside the `.loops` file",
            )
        if target is not None and self.interface.target != target.name:
            raise TargetError(
                f"this program was made for `{self.interface.target}`, not for `{target.name}`",
                hint=f"use --target {self.interface.target}",
            )
        return self.weights, self.interface


def llvm_text(program: Program, target: Target) -> str:
    """The LLVM text of a program: kernels, segments of `main`, and `main_serial`."""
    main = main_functions(program.funcs[-1], target, pool=False)
    return module_text([*kernel_functions(program, target, linkage=""), *main], target)


def assembly_text(program: Program, target: Target) -> str:
    """The assembly that LLVM makes of `llvm_text`."""
    return emit_assembly(llvm_text(program, target), target)


def write(
    folder: Path,
    number: int,
    program: Program,
    weights: NDArray[np.float32],
    interface: Interface,
    target: Target,
) -> None:
    """Write the program, its LLVM text and its assembly, numbered from `number` on.

    Raises:
        ArtifactError: the system refuses.
    """
    loops = folder / f"{number:02}-program.loops"
    below = {
        f"{number + 1:02}-module.ll": llvm_text(program, target),
        f"{number + 2:02}-module.s": assembly_text(program, target),
    }
    try:
        texts = {loops.name: save_program(loops, program, weights, interface), **below}
        for name, text in below.items():
            (folder / name).write_text(text, encoding="utf-8")
        with (folder / "stages.txt").open("a", encoding="utf-8") as list_:
            list_.writelines(
                f"{name}: {text.count(chr(10))} lines\n" for name, text in texts.items()
            )
    except OSError as error:
        raise ArtifactError(
            f"{folder}: the dump cannot be written: {error.strerror}",
            hint="name a folder that can be written, or compile without dumps",
        ) from error


def save_program(
    path: Path, program: Program, weights: NDArray[np.float32], interface: Interface
) -> str:
    """Write what `load_program` reads: `path` and the `.npz` beside it; gives the text.

    Raises:
        OSError: the system refuses.
    """
    text = print_program(program)
    path.write_text(text, encoding="utf-8")
    with path.with_suffix(".npz").open("wb") as file:
        np.savez(file, weights=weights, interface=np.array(format_value(interface)))
    return text


def load_program(path: str | Path) -> Lowered:
    """Read a `.loops` file, and the `.npz` beside it where there is one.

    Raises:
        LoopTextError: a line of the text has no meaning.
        ArtifactError: a file cannot be read, or the program breaks a rule of LoopIR.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error
    program = parse_program(text, str(path))
    try:
        verify(program)
    except VerifyError as error:
        raise ArtifactError(f"{path}: {error}") from error
    arrays = path.with_suffix(".npz")
    if not arrays.exists():
        return Lowered(program, None, None)
    return Lowered(program, *_read_arrays(arrays))


def _read_arrays(path: Path) -> tuple[NDArray[np.float32], Interface]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            stored = archive["weights"]
            text = str(archive["interface"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error
    interface = Reader(text, path.name, _RECORDS).value()
    if not isinstance(interface, Interface) or stored.nbytes != interface.weights_bytes:
        raise ArtifactError(f"{path}: weights and interface do not belong together")
    weights = aligned(stored.size)
    weights[:] = stored
    return weights, interface


def interpret(
    lowered: Lowered, inputs: Mapping[str, Array], *, threads: int = 1
) -> dict[str, Array]:
    """Run a program in LoopIR's interpreter: no LLVM, every access checked.

    Args:
        lowered: a program with its weights.
        inputs: one sample for each input, of the port's shape and element type.
        threads: how many threads the program is told to have.

    Returns:
        One sample for each output, by name.

    Raises:
        InputError: an input is missing or does not fit.
        InterpError: the program reads or writes where it may not.
    """
    weights, interface = lowered.complete()
    buffers: list[Array] = []
    for port in interface.inputs:
        given = np.asarray(inputs.get(port.name))
        if given.shape != port.shape or given.dtype != port.dtype.numpy:
            raise InputError(
                f"input `{port.name}`: expected {port.dtype}{list(port.shape)},"
                f" got {given.dtype}{list(given.shape)}"
            )
        buffers.append(np.ascontiguousarray(given).reshape(-1))
    results = {p.name: np.zeros(p.shape, p.dtype.numpy) for p in interface.outputs}
    buffers += [result.reshape(-1) for result in results.values()]
    workspace = np.full(interface.workspace_for(threads) // 4, np.nan, np.float32)
    interp.run(lowered.program, [*buffers, weights, workspace], threads=threads)
    return results
