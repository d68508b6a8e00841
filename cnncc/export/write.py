"""Which files an exported network consists of, and writing them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnncc import __version__
from cnncc.abi import Interface
from cnncc.errors import ArtifactError, InputError, UnsupportedError
from cnncc.export.archive import archive
from cnncc.export.example import MARK, cmake_text, main_text
from cnncc.export.header import header_text
from cnncc.export.names import checked_prefix, prefix_of, printable
from cnncc.export.shared import link_shared
from cnncc.llvm.aot import emit_library, library_text
from cnncc.llvm.c_api import NAME_CHARS, Identity
from cnncc.llvm.stack import stack_bytes
from cnncc.loopir.nodes import Program
from cnncc.runtime.atomic import Chunk, write_file
from cnncc.targets import Target

KINDS = ("obj", "lib", "shared", "header", "main", "cmake")
_BINARY = frozenset(("obj", "lib", "shared"))
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")
# Code reaches its weights with 32-bit distances.
_MAX_WEIGHTS = (1 << 31) - (64 << 20)


def export(
    folder: Path,
    stem: str,
    program: Program,
    target: Target,
    interface: Interface,
    weights: npt.NDArray[np.generic],
    *,
    kinds: Collection[str] = KINDS,
    prefix: str | None = None,
) -> dict[str, Path]:
    """Write the files of a network; all of them, or none where an error is found before writing.

    Args:
        folder: where; made when it does not exist.
        stem: the `NAME` of `NAME.o`, `libNAME.a`, `libNAME.so` and `NAME.h`.
        program: functions and `main`, whose buffers are inputs, outputs, weights, arena.
        target: what the code is made for.
        interface: ports and sizes.
        weights: the packed weights.
        kinds: which files, of `KINDS`.
        prefix: what the C names begin with; made from the model's name when it is None.

    Returns:
        The path of each kind.

    Raises:
        InputError: a kind, the stem or the prefix is none.
        UnsupportedError: the weights are too large for one object.
        TargetError: a shared library is wanted, and there is no C compiler to link it.
        ArtifactError: the system refuses, or a place is taken by something else.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise InputError(
            f"nothing can be written as `{printable(unknown[0])}`",
            hint=f"choose from {', '.join(KINDS)}",
        )
    if not _STEM.match(stem):
        raise InputError(
            f"`{printable(stem)}` cannot be a file's name here",
            hint="use letters, digits, `_`, `-`, `+` and `.`",
        )
    chosen = prefix_of(interface.name) if prefix is None else checked_prefix(prefix)
    files = _contents(stem, program, target, interface, weights, kinds, chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot make {folder}: {error.strerror or error}") from error
    paths = {kind: folder / name for kind, (name, _) in files.items()}
    if "main" in paths:
        _keep_foreign(paths["main"])
    for kind, (_, pieces) in files.items():
        write_file(paths[kind], pieces)
    return paths


def _contents(
    stem: str,
    program: Program,
    target: Target,
    interface: Interface,
    weights: npt.NDArray[np.generic],
    kinds: Collection[str],
    prefix: str,
) -> dict[str, tuple[str, list[Chunk]]]:
    """Name and bytes of each file, in the order of `KINDS`."""
    image = b""
    if _BINARY & set(kinds):
        image = _object(program, target, interface, weights, prefix)
    stack = stack_bytes(program, len(interface.inputs) + len(interface.outputs))
    makers: dict[str, tuple[str, Callable[[], list[Chunk]]]] = {
        "obj": (f"{stem}.o", lambda: [image]),
        "lib": (f"lib{stem}.a", lambda: list(archive(f"{prefix[:12]}.o", image))),
        "shared": (f"lib{stem}.so", lambda: [link_shared(image, f"lib{stem}.so", target)]),
        "header": (f"{stem}.h", lambda: [header_text(prefix, interface, target, stack).encode()]),
        "main": ("main.c", lambda: [main_text(prefix, stem, interface).encode()]),
        "cmake": ("CMakeLists.txt", lambda: [cmake_text(prefix, stem).encode()]),
    }
    return {k: (name, make()) for k, (name, make) in makers.items() if k in kinds}


def _object(
    program: Program,
    target: Target,
    interface: Interface,
    weights: npt.NDArray[np.generic],
    prefix: str,
) -> bytes:
    if weights.nbytes > _MAX_WEIGHTS:
        raise UnsupportedError(
            f"the weights have {weights.nbytes:,} bytes; an object can hold {_MAX_WEIGHTS:,}",
            hint="use `Network.save`, which has no such limit",
        )
    blob = weights.tobytes()
    bare = Identity(printable(interface.name, NAME_CHARS - 4), __version__, "")
    text = library_text(program, target, interface, prefix=prefix, identity=bare)
    digest = hashlib.sha256(text.encode())
    digest.update(blob)
    identity = Identity(bare.model, bare.version, digest.hexdigest())
    return emit_library(program, target, interface, blob, prefix=prefix, identity=identity)


def _keep_foreign(path: Path) -> None:
    """Refuse to replace a `main.c` that somebody else wrote.

    Raises:
        ArtifactError: it is not one of ours.
    """
    try:
        with open(path, "rb") as file:
            ours = file.read(len(MARK)) == MARK.encode()
    except OSError:
        return
    if not ours:
        raise ArtifactError(
            f"{path} is not an example that cnncc wrote, and is left alone",
            hint="choose another folder, or leave out `main`",
        )
