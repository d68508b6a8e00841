"""One compiled program, ready to be called: code, weights, and a workspace for each call in flight.

Generated code takes an array of pointers: inputs, outputs, weights, workspace. The last two are
written into that array once; a call fills in the rest, and moves them on by a sample for each of a
batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.abi import ALIGNMENT, Image, Interface, aligned
from cnncc.errors import ArtifactError, InternalError
from cnncc.runtime.image import Loaded
from cnncc.runtime.threads import make_pool

RUN = "main_run"
ALONE = "main_serial"
Array = npt.NDArray[Any]
_RunType = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_AloneType = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
byte_of: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer
address_of = ctypes.addressof


class Workspace:
    """What one call in flight needs: memory for values and scratch, and the array of pointers.

    Attributes:
        pointers: the array; the caller fills in its first entries.
        address: where it is, as the code takes it.
        answer: an array that the output's pointer shows, kept from one call to the next.
        source: what the input's pointer shows, where it was written by the shortest way.
    """

    __slots__ = ("_memory", "address", "answer", "pointers", "source")

    def __init__(self, ports: int, weights: int, size: int) -> None:
        self._memory = aligned(size, np.dtype(np.uint8))
        self.pointers = (ctypes.c_void_p * (ports + 2))()
        self.pointers[ports] = weights
        self.pointers[ports + 1] = self._memory.ctypes.data
        self.answer: Array | None = None
        self.source = 0
        self.address = ctypes.c_void_p(ctypes.addressof(self.pointers))


class Executable:
    """A program that any number of threads may run at one time.

    Args:
        image: the linked code, with `main_run`, `main_serial` and the functions of its pool.
        interface: ports and sizes.
        weights: the packed weights, `interface.weights_bytes` bytes at a multiple of `ALIGNMENT`.
        threads: how many threads share one inference.

    Attributes:
        function: `main_run` of the code, to be called while this object lives.
        alone: `main_serial` of it: the same without a pool, for one thread, in a shorter call;
            None for code saved without it.
        pool: the worker threads.
        free: workspaces that no call uses; a call takes one and gives it back.

    Raises:
        ArtifactError: the weights do not have the declared size, or the code cannot be loaded.
    """

    def __init__(self, image: Image, interface: Interface, weights: Array, threads: int) -> None:
        if weights.nbytes != interface.weights_bytes:
            raise ArtifactError(
                f"the network needs {interface.weights_bytes} bytes of weights, "
                f"got {weights.nbytes}"
            )
        if not weights.flags.c_contiguous or (weights.size and weights.ctypes.data % ALIGNMENT):
            raise InternalError("packed weights must be contiguous and aligned")
        # The pool never has more threads than it was made for.
        self._workspace_bytes = interface.workspace_for(threads)
        self._weights = weights
        self._code = Loaded(image)
        self.function = _RunType(self._code[RUN])
        self.alone = _AloneType(self._code[ALONE]) if ALONE in self._code else None
        self.pool = make_pool(self._code, threads)
        self._steps = tuple(p.size_bytes for p in (*interface.inputs, *interface.outputs))
        self.free: list[Workspace] = []

    @property
    def threads(self) -> int:
        """How many threads share one inference."""
        return self.pool.threads

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Fill `outputs` from `inputs`, all contiguous `[N, *shape]` and of the ports' types.

        Ctrl-C takes effect after the sample that is being computed.
        """
        batch = len(outputs[0])
        if batch == 0:
            return
        try:
            workspace = self.free.pop()
        except IndexError:
            workspace = self.new_workspace()
        try:
            pointers, address, pool = workspace.pointers, workspace.address, self.pool.address()
            workspace.answer, workspace.source = None, 0  # their pointers are written over
            places = [_address(array) for array in (*inputs, *outputs)]
            for slot, place in enumerate(places):
                pointers[slot] = place
            self.function(address, pool)
            for sample in range(1, batch):
                for slot, place in enumerate(places):
                    pointers[slot] = place + sample * self._steps[slot]
                self.function(address, pool)
        finally:
            self.free.append(workspace)

    def close(self) -> None:
        """Stop the worker threads and free the workspaces; a later call makes a new workspace."""
        self.pool.close()
        self.free.clear()

    def new_workspace(self) -> Workspace:
        """A workspace beside those in use."""
        ports = len(self._steps)
        weights = self._weights.ctypes.data
        return Workspace(ports, weights, self._workspace_bytes)


def _address(array: Array) -> int:
    """Where an array starts; five times as quick as `ctypes.data` where the buffer is writable."""
    try:
        return address_of(byte_of(array))
    except (TypeError, ValueError):  # read-only, or empty
        return int(array.ctypes.data)
