"""The shortest way through a call: one sample of one input, exactly as declared, to one output.

A network of a few microseconds would spend a quarter of them in Python on checks and conversions
that such an array does not need. All else is left to the general way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cnncc.abi import Interface, Port
from cnncc.runtime.buffers import Array
from cnncc.runtime.module import Executable, address_of, byte_of

Direct = Callable[[object], Array | None]


def direct_call(executable: Executable, interface: Interface) -> Direct | None:
    """What answers an array `[1, *shape]` (`shape` where the network mixes samples).

    The answer is None, and nothing was computed, where the array has another shape, element type,
    memory order or alignment, or is read-only; the way itself is None for a network of several
    inputs or outputs.
    """
    if len(interface.inputs) != 1 or len(interface.outputs) != 1:
        return None
    taken, dtype = _array_of(interface.inputs[0], interface.batched)
    made, made_dtype = _array_of(interface.outputs[0], interface.batched)
    alignment, ndarray, empty = dtype.alignment, np.ndarray, np.empty
    # All names are local to the closure, which is what makes it quick; `executable` among them
    # keeps the code in memory.
    run, pool, free = executable.function, executable.pool, executable.free

    def direct(array: object) -> Array | None:
        if type(array) is not ndarray or array.dtype is not dtype or array.shape != taken:
            return None
        result = empty(made, made_dtype)
        try:
            source, target = address_of(byte_of(array)), address_of(byte_of(result))
        except (TypeError, ValueError):  # read-only, in other memory order, or empty
            return None
        if source % alignment:
            return None
        workers = pool.address()
        try:
            workspace = free.pop()
        except IndexError:
            workspace = executable.new_workspace()
        try:
            pointers = workspace.pointers
            pointers[0] = source
            pointers[1] = target
            run(workspace.address, workers)
        finally:
            free.append(workspace)
        return result

    return direct


def _array_of(port: Port, batched: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return ((1, *port.shape) if batched else port.shape), port.dtype.numpy
