"""What a compiled network looks like from outside: ports, sizes, and the order of its buffers.

Shared by the plan that makes it, the code generator that exports it and the run time that calls it,
so none of them has to know another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.types import DType

ALIGNMENT = 64  # bytes; of weights, workspace and every buffer inside them
PAGES = {"x86_64": 4096, "aarch64": 65536}  # bytes; the largest page that a system there may have
PAGE = max(PAGES.values())
_F32: np.dtype[Any] = np.dtype(np.float32)


def aligned(elems: int, dtype: np.dtype[Any] = _F32) -> NDArray[Any]:
    """Memory for so many elements that starts at a multiple of `ALIGNMENT`; not cleared."""
    room = np.empty(elems * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + elems * dtype.itemsize].view(dtype)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network, one sample of it.

    Attributes:
        name: the declared name.
        dtype: element type of the caller's array.
        shape: the caller's array, without the batch axis if the network is batched, in the order of
            its memory: `(H, W, C)` for `memory == "hwc"`, `(C, H, W)` for `"chw"`.
        memory: `hwc`, `chw`, or empty for vectors and general arrays.
        format: `rgb`, `bgr`, `gray`, or empty: the meaning of the channels.
        labels: names of the classes, if the model gives them.
        top: how many of them an answer usually lists.
        rows: name of an output whose only number says how many rows of this one are filled; empty
            where all are.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    memory: str = ""
    format: str = ""
    labels: tuple[str, ...] = ()
    top: int = 0
    rows: str = ""

    @property
    def elems(self) -> int:
        """Elements of one sample."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of one sample."""
        return self.elems * self.dtype.size_bytes


@dataclass(frozen=True, slots=True)
class Interface:
    """Everything a caller has to know.

    The buffers of the program's `main` are, in this order: inputs, outputs, weights, arena. Behind
    the arena each thread has scratch memory of its own; both together are the workspace.

    Attributes:
        name: the model's name.
        inputs: in declared order.
        outputs: in declared order.
        weights_bytes: size of the packed weights.
        workspace_bytes: the arena, which the threads of a call share; exact.
        parameters: trained numbers of the model (running statistics of batch norm not counted).
        macs: multiply-adds of one sample, as the model is written.
        target: name of the target the code was made for.
        requires: CPU features that the code executes.
        most_threads: threads beyond which one sample is not computed sooner, by the plan's
            estimate; 0 where every core of a usual machine helps.
        batched: whether arrays carry a leading batch axis of any size; without it they have exactly
            the shapes of the ports.
        scratch_bytes: what each thread of a call needs for itself; a multiple of `ALIGNMENT`.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights_bytes: int
    workspace_bytes: int
    parameters: int
    macs: int
    target: str
    requires: tuple[str, ...] = field(default_factory=tuple)
    most_threads: int = 0
    batched: bool = True
    scratch_bytes: int = 0

    def workspace_for(self, threads: int) -> int:
        """Bytes of workspace for one call in flight on at most so many threads; exact."""
        return self.workspace_bytes + threads * self.scratch_bytes


@dataclass(frozen=True, slots=True)
class Image:
    """Linked machine code, which runs wherever it is placed.

    It starts with code and ends with constants; the two meet at the end of a page, so that one
    part becomes executable and the other does not. What depends on the place are the pointers
    listed in `rebases`, and the slots of the C functions that it calls.

    Attributes:
        code: the bytes.
        constants: where executable code ends and constants begin; a multiple of the machine's
            entry in `PAGES`.
        exports: offset of each function that may be called.
        imports: offset of the pointer slot of each C function that the code calls.
        rebases: offsets of pointers into the image, stored as offsets.
        machine: architecture as LLVM names it, such as `x86_64`.
    """

    code: bytes
    constants: int
    exports: Mapping[str, int]
    imports: Mapping[str, int]
    rebases: tuple[int, ...]
    machine: str
