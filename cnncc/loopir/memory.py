"""Buffers at run time, and the steps that touch them: every element is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np

from cnncc.loopir.arith import DTYPES, FROM_ELEMENT, Array, InterpError
from cnncc.loopir.nodes import BufferType, Index, Kind, Load, Store, Type, Value, View

Registers = list[Any]
Step = Callable[[Registers], None]
Slots = Callable[[Index], int]


@dataclass(slots=True)
class Memory:
    """A buffer at run time; `written` marks the bytes of scratch that hold something.

    Its shape is [elements, bytes of an element], so that parts of another kind can share it.
    """

    data: Array
    size: int
    written: Array | None = None

    def part(self, start: int, extent: int | None) -> Memory:
        """`extent` elements from `start` on, or all that are left."""
        stop = self.size if extent is None else start + extent
        written = None if self.written is None else self.written[start:stop]
        return Memory(self.data[start:stop], stop - start, written)

    def part_as(self, dtype: np.dtype[Any], start: int, extent: int) -> Memory:
        """`extent` elements of another type, from element `start` on."""
        size, stop = dtype.itemsize, start + self.spanned(dtype, extent)
        data = self.data[start:stop].view(np.uint8)[: extent * size].view(dtype)
        if self.written is None:
            return Memory(data, extent)
        marks = self.written[start:stop].reshape(-1)[: extent * size]
        return Memory(data, extent, marks.reshape(extent, size))

    def spanned(self, dtype: np.dtype[Any], extent: int) -> int:
        """How many elements of this buffer `extent` elements of that type cover, wholly or not."""
        return -(-extent * dtype.itemsize // self.data.itemsize)


def _fault(func: str, stmt: Load | Store, memory: Memory, start: int, lanes: int) -> NoReturn:
    name, what = stmt.buffer.hint, "load from" if isinstance(stmt, Load) else "store to"
    span = f"[{start}]" if lanes == 1 else f"[{start}..{start + lanes - 1}]"
    place = f"{func}: {what} {name!r} {span}"
    if start < 0 or start + lanes > memory.size:
        raise InterpError(f"{place} is out of bounds: it has {memory.size} elements")
    if isinstance(stmt, Store):
        raise InterpError(f"{place}: the array is read-only")
    raise InterpError(f"{place} reads scratch that was never written")


def load_step(func: str, stmt: Load, slot: Slots) -> Step:
    """Read elements, all of them or those that a mask leaves."""
    if stmt.mask is not None:
        return _masked_load(func, stmt, stmt.mask, slot)
    target, buffer, index = (
        slot(stmt.out),
        slot(stmt.buffer),
        slot(stmt.index),
    )
    type_, offset = register_type(stmt.out), stmt.offset
    lanes, scalar, fault = type_.lanes, FROM_ELEMENT[type_.kind], partial(_fault, func, stmt)
    copied = _as_truth if type_.kind is Kind.BOOL else _copied

    def load_element(r: Registers) -> None:
        memory, start = r[buffer], r[index] + offset
        if not 0 <= start < memory.size or not (
            memory.written is None or memory.written[start].all()
        ):
            fault(memory, start, 1)
        r[target] = scalar(memory.data[start])

    def load_vector(r: Registers) -> None:
        memory, start = r[buffer], r[index] + offset
        stop = start + lanes
        if (
            start < 0
            or stop > memory.size
            or not (memory.written is None or memory.written[start:stop].all())
        ):
            fault(memory, start, lanes)
        r[target] = copied(memory.data[start:stop])

    return load_element if lanes == 1 else load_vector


def _copied(data: Array) -> Array:
    return data.copy()


def _as_truth(data: Array) -> Array:
    """Bytes as bools, whatever they hold: NumPy takes only 0 and 1 for one."""
    return np.not_equal(data.view(np.uint8), 0)


def store_step(func: str, stmt: Store, slot: Slots) -> Step:
    """Write elements, all of them or those that a mask leaves."""
    if stmt.mask is not None:
        return _masked_store(func, stmt, stmt.mask, slot)
    buffer, index, value = (slot(v) for v in (stmt.buffer, stmt.index, stmt.value))
    lanes, offset, fault = register_type(stmt.value).lanes, stmt.offset, partial(_fault, func, stmt)

    def store(r: Registers) -> None:
        memory, start = r[buffer], r[index] + offset
        stop = start + lanes
        if start < 0 or stop > memory.size or not memory.data.flags.writeable:
            fault(memory, start, lanes)
        memory.data[start:stop] = r[value]
        if memory.written is not None:
            memory.written[start:stop] = True

    return store


def _active(
    func: str, stmt: Load | Store, mask: Value, slot: Slots
) -> Callable[[Registers], tuple[Any, Any]]:
    """The numbers of the lanes that the mask leaves, and their checked elements."""
    index, lanes_of, offset = slot(stmt.index), slot(mask), stmt.offset
    buffer, fault = slot(stmt.buffer), partial(_fault, func, stmt)
    loads = isinstance(stmt, Load)

    def active(r: Registers) -> tuple[Any, Any]:
        memory = r[buffer]
        lanes = np.flatnonzero(r[lanes_of])
        elements = lanes + (r[index] + offset)
        for element in elements:
            if not 0 <= element < memory.size or not (
                memory.written is None or not loads or memory.written[element].all()
            ):
                fault(memory, int(element), 1)
        if not loads and lanes.size and not memory.data.flags.writeable:
            fault(memory, int(elements[0]), 1)
        return lanes, elements

    return active


def _masked_load(func: str, stmt: Load, mask: Value, slot: Slots) -> Step:
    target, buffer = slot(stmt.out), slot(stmt.buffer)
    type_ = register_type(stmt.out)
    dtype, scalar = DTYPES[type_.kind], FROM_ELEMENT[type_.kind]
    active = _active(func, stmt, mask, slot)
    copied = _as_truth if type_.kind is Kind.BOOL else _copied

    def load(r: Registers) -> None:
        lanes, elements = active(r)
        value = np.zeros(type_.lanes, dtype)
        value[lanes] = copied(r[buffer].data[elements])
        r[target] = value if type_.lanes > 1 else scalar(value[0])

    return load


def _masked_store(func: str, stmt: Store, mask: Value, slot: Slots) -> Step:
    buffer, value = slot(stmt.buffer), slot(stmt.value)
    active = _active(func, stmt, mask, slot)

    def store(r: Registers) -> None:
        lanes, elements = active(r)
        memory = r[buffer]
        memory.data[elements] = np.atleast_1d(r[value])[lanes]
        if memory.written is not None:
            memory.written[elements] = True

    return store


def alloc_step(func: str, out: Value, slot: Slots) -> Step:
    """Fresh scratch, of which nothing is written yet."""
    type_ = buffer_type(out)
    if type_.extent is None:
        raise InterpError(f"{func}: scratch {out.hint!r} without an extent")
    target, extent, dtype = slot(out), type_.extent, DTYPES[type_.kind]

    def alloc(r: Registers) -> None:
        marks = np.zeros((extent, dtype.itemsize), np.bool_)
        r[target] = Memory(np.zeros(extent, dtype), extent, marks)

    return alloc


def view_step(func: str, stmt: View, slot: Slots) -> Step:
    """A part of a buffer, perhaps with elements of another kind."""
    target, buffer, index = (
        slot(stmt.out),
        slot(stmt.buffer),
        slot(stmt.index),
    )
    base, out, hint = buffer_type(stmt.buffer), buffer_type(stmt.out), stmt.buffer.hint
    dtype, extent = DTYPES[out.kind], out.extent
    if base.kind is not out.kind and extent is None:
        raise InterpError(f"{func}: view of {hint!r} as {out} without an extent")

    def view(r: Registers) -> None:
        memory, start = r[buffer], r[index]
        if start < 0 or start + memory.spanned(dtype, extent or 0) > memory.size:
            raise InterpError(
                f"{func}: view of {hint!r} from {start} on ({extent} elements) is out of "
                f"bounds: it has {memory.size} elements"
            )
        if base.kind is out.kind or extent is None:
            r[target] = memory.part(start, extent)
            return
        part = r[target] = memory.part_as(dtype, start, extent)
        if not part.data.flags.aligned:
            raise InterpError(f"{func}: view of {hint!r} from {start} on as {out} is not aligned")

    return view


def register_type(value: Value) -> Type:
    """The type of a number."""
    if not isinstance(value.type, Type):
        raise InterpError(f"the buffer {value.hint!r} is used as a number")
    return value.type


def buffer_type(value: Value) -> BufferType:
    """The type of a buffer."""
    if not isinstance(value.type, BufferType):
        raise InterpError(f"the number {value.hint!r} is used as a buffer")
    return value.type
