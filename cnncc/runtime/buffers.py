"""From a caller's array to memory that generated code may read or write: rules and refusals.

Taken as it is: an array in native byte order, C order and the declared element type. Converted: any
other memory order, byte order and alignment, and element types whose every value fits (`bool` or
`uint8` to `f32`; integers whose values are all exact). All else is refused, never misread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.abi import Port
from cnncc.errors import InputError

Array = npt.NDArray[Any]
_EXACT_F32 = 1 << 24  # all integers up to this have a float32 of their own
_TO_HWC, _TO_CHW = (0, 2, 3, 1), (0, 3, 1, 2)


class InputSlot:
    """An input of a network: takes callers' arrays.

    Attributes:
        port: what the input wants.
        batched: whether a leading batch axis is taken.
    """

    __slots__ = ("_dtype", "_shape", "batched", "port")

    def __init__(self, port: Port, *, batched: bool = True) -> None:
        self.port = port
        self.batched = batched
        self._dtype = port.dtype.numpy
        self._shape = port.shape

    def take(self, given: object) -> tuple[Array, bool]:
        """An array as contiguous `[N, *shape]`, and whether it came with the batch axis.

        Raises:
            InputError: the array does not fit; the message shows expected and got.
        """
        if type(given) is np.ndarray and given.dtype == self._dtype and given.ndim and self.batched:
            flags = given.flags
            if given.shape[1:] == self._shape and flags.c_contiguous and flags.aligned:
                return given, True
        return self._convert(given)

    def _convert(self, given: object) -> tuple[Array, bool]:
        port = self.port
        array = _as_array(port, given, self.batched)
        batched = self.batched and array.ndim == len(port.shape) + 1
        if array.shape[batched:] != port.shape:
            raise _wrong_shape(port, array.shape, self.batched)
        array = _with_dtype(port, array)
        if not batched:
            array = array[np.newaxis]
        if array.flags.c_contiguous and array.flags.aligned:
            return array, batched
        return array.copy(order="C"), batched


def common_batch(
    slots: Sequence[InputSlot], taken: Sequence[tuple[Array, bool]]
) -> tuple[int, bool]:
    """The batch size of all inputs, and whether they came with the batch axis.

    Raises:
        InputError: the inputs disagree.
    """
    if not taken:
        return 1, False
    if len(taken) == 1:
        return len(taken[0][0]), taken[0][1]
    sizes = {(len(array), batched) for array, batched in taken}
    if len(sizes) == 1:
        return sizes.pop()
    got = ", ".join(
        f"`{slot.port.name}` {_shape(array.shape if batched else array.shape[1:])}"
        for slot, (array, batched) in zip(slots, taken, strict=True)
    )
    raise InputError(
        f"the inputs disagree on the batch: {got}",
        hint="give all inputs the same first axis N, or leave it away from all of them",
    )


class OutputSlot:
    """An output of a network: makes arrays, and takes those of callers.

    Attributes:
        port: what the output gives.
    """

    __slots__ = ("_dtype", "_shape", "port")

    def __init__(self, port: Port) -> None:
        self.port = port
        self._dtype = port.dtype.numpy
        self._shape = port.shape

    def new(self, batch: int) -> Array:
        """Memory for `[N, *shape]`, not cleared."""
        return np.empty((batch, *self._shape), self._dtype)

    def take(
        self, given: object, batch: int, *, batched: bool, used: Sequence[Array]
    ) -> tuple[Array, Array | None]:
        """Where the code writes, `[N, *shape]`, and the caller's array if it needs a copy of that.

        A caller's array in other order, or one that shares memory with an array in `used`, gets its
        values from a copy.

        Raises:
            InputError: the array has another shape or element type, or cannot be written.
        """
        port = self.port
        if not isinstance(given, np.ndarray):
            raise InputError(f"output `{port.name}` must be a NumPy array, got {_kind(given)}")
        shape = (batch, *self._shape) if batched else self._shape
        if given.shape != shape or given.dtype.newbyteorder("=") != self._dtype:
            raise InputError(
                f"output `{port.name}` needs an array {port.dtype}{_shape(shape)}, "
                f"got {given.dtype}{_shape(given.shape)}"
            )
        if not given.flags.writeable:
            raise InputError(f"the array for output `{port.name}` is read-only")
        flags = given.flags
        direct = given.dtype == self._dtype and flags.c_contiguous and flags.aligned
        if direct and not any(np.may_share_memory(given, other) for other in used):
            return (given if batched else given[np.newaxis]), None
        return self.new(batch), given


def _as_array(port: Port, given: object, batched: bool) -> Array:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(
            f"input `{port.name}` is a masked array, whose missing values the network cannot see",
            hint="fill them first: x.filled(value)",
        )
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"input `{port.name}` cannot be read as an array: {error}",
            hint=f"pass a NumPy array {port.dtype}{_expected(port, batched)}",
        ) from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"input `{port.name}` wants {port.dtype}{_expected(port, batched)}, "
            f"got {_kind(given)} of element type {array.dtype}"
        )
    return array


def _with_dtype(port: Port, array: Array) -> Array:
    """The same values in the declared element type.

    Raises:
        InputError: some of them may not fit.
    """
    wanted = port.dtype.numpy
    if array.dtype == wanted:
        return array
    if np.can_cast(array.dtype, wanted, "safe"):
        return array.astype(wanted)
    if array.dtype.kind in "iu" and wanted.kind in "iuf":
        low, high = _exact_range(wanted)
        if array.size == 0 or (int(array.min()) >= low and int(array.max()) <= high):
            return array.astype(wanted)
        why = f"not all of its values fit: they go from {array.min()} to {array.max()}"
    else:
        why = "the conversion could lose information"
    raise InputError(
        f"input `{port.name}` wants {port.dtype}, got {array.dtype}; {why}",
        hint=_conversion(array, wanted),
    )


def _conversion(array: Array, wanted: np.dtype[Any]) -> str:
    """What makes numbers fit; never a cast that would turn them into others unseen."""
    cast = f"convert it yourself: x.astype(np.{wanted})"
    if wanted.kind == "f":
        return cast
    limits = np.iinfo(wanted)
    if array.dtype.kind == "f" and array.size:
        low, high = array.min(), array.max()
        if limits.min <= low and high <= limits.max and (array == np.rint(array)).all():
            return cast
        if wanted == np.uint8 and low >= 0 and high <= 1:
            return "if 1 is white: (x * 255).round().astype(np.uint8)"
    return f"pass whole numbers from {limits.min} to {limits.max}"


def _exact_range(wanted: np.dtype[Any]) -> tuple[int, int]:
    if wanted.kind == "f":
        exact = _EXACT_F32 if wanted.itemsize == 4 else 1 << 11
        return -exact, exact
    limits = np.iinfo(wanted)
    return int(limits.min), int(limits.max)


def _wrong_shape(port: Port, shape: tuple[int, ...], batched: bool) -> InputError:
    order = f" ({port.memory})" if port.memory else ""
    fixed = "the model mixes samples: compile it again for another shape, with shapes= or --shape"
    return InputError(
        f"the array for input `{port.name}` is {_shape(shape)} "
        f"but the input wants {_expected(port, batched)}{order}",
        hint=shape_repair(port, shape) if batched else fixed,
    )


def shape_repair(port: Port, shape: tuple[int, ...]) -> str:
    """The call that would make the array fit, when there is an obvious one."""
    wanted = port.shape
    for axes in (_TO_HWC, _TO_CHW):
        if len(shape) == 4 and tuple(shape[a] for a in axes[1:]) == wanted:
            return f"pass x.transpose({', '.join(map(str, axes))})"
        if len(shape) == 3 and tuple(shape[a - 1] for a in axes[1:]) == wanted:
            return f"pass x.transpose({', '.join(str(a - 1) for a in axes[1:])})"
    tail = ", ".join(map(str, wanted))
    elems = int(np.prod(shape, dtype=object))
    squeezed = tuple(size for size in shape if size != 1)
    essential = tuple(size for size in wanted if size != 1)
    if port.elems and (squeezed == essential or squeezed[1:] == essential) and shape:
        whole = elems == port.elems and len(shape) <= len(wanted)
        return f"pass x.reshape({tail})" if whole else f"pass x.reshape(-1, {tail})"
    return f"one sample is [{', '.join(map(str, wanted))}]; a batch has one more axis, N, in front"


def _expected(port: Port, batched: bool) -> str:
    return f"[{','.join([*(['N'] if batched else []), *map(str, port.shape)])}]"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _kind(given: object) -> str:
    return "an array" if isinstance(given, np.ndarray) else f"a `{type(given).__name__}`"
