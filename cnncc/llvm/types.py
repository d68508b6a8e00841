"""LoopIR types and literals as LLVM text."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from functools import cache

from cnncc.errors import EmitError
from cnncc.loopir.nodes import BufferType, Kind, Type, Value

# An f16 is its bits: not every machine knows the type, and none computes with it here.
_FLOATS = {Kind.F64: "double", Kind.F32: "float"}
_REGISTER = {kind: _FLOATS.get(kind, f"i{kind.bits}") for kind in Kind}
BYTES = {kind: kind.size_bytes for kind in Kind}

Number = float | int | bool


@cache
def register_type(type_: Type) -> str:
    """The LLVM type of a value in a register."""
    element = _REGISTER[type_.kind]
    return element if type_.lanes == 1 else f"<{type_.lanes} x {element}>"


@cache
def memory_type(type_: Type) -> str:
    """The LLVM type of a value in memory, where a bool takes a byte."""
    if type_.kind is Kind.BOOL:
        return register_type(Type(Kind.U8, type_.lanes))
    return register_type(type_)


@cache
def suffix(type_: Type) -> str:
    """The part of an intrinsic's name that tells its overload, such as `v16f32`."""
    element = type_.kind.value if type_.kind.is_float else _REGISTER[type_.kind]
    return element if type_.lanes == 1 else f"v{type_.lanes}{element}"


def scalar_type(value: Value) -> Type:
    """The type of a value that must be a number.

    Raises:
        EmitError: the value is a buffer.
    """
    if not isinstance(value.type, Type):
        raise EmitError(f"buffer `{value.hint}` was used as a number")
    return value.type


def buffer_type(value: Value) -> BufferType:
    """The type of a value that must be a buffer.

    Raises:
        EmitError: the value is a number.
    """
    if not isinstance(value.type, BufferType):
        raise EmitError(f"number `{value.hint}` was used as a buffer")
    return value.type


def literal(kind: Kind, number: Number) -> str:
    """One element as LLVM text; floats as bits of the equal double, integers in two's complement.

    Raises:
        EmitError: an integer that the kind cannot hold.
    """
    if kind.is_float:
        nearest = ctypes.c_float(number).value if kind is Kind.F32 else float(number)
        return "0x" + struct.pack(">d", nearest).hex().upper()
    if kind is Kind.BOOL:
        return "true" if number else "false"
    bits, whole = kind.bits, int(number)
    if whole != number or not -(1 << bits - 1) <= whole < 1 << bits:
        raise EmitError(f"{number} is no {kind.value}")
    return str(whole - (1 << bits) if whole >= 1 << bits - 1 else whole)


def constant(type_: Type, value: Number | Sequence[Number]) -> str:
    """A literal of a scalar or vector type.

    Raises:
        EmitError: the number of lanes does not fit the type.
    """
    if isinstance(value, Sequence) and len(value) != type_.lanes:
        raise EmitError(f"{len(value)} numbers were given for a constant of type {type_}")
    lanes = value if isinstance(value, Sequence) else (value,)
    texts = [literal(type_.kind, lane) for lane in lanes]
    if type_.lanes == 1:
        return texts[0]
    element = _REGISTER[type_.kind]
    if all(text == texts[0] for text in texts):
        return f"splat ({element} {texts[0]})"
    return "<" + ", ".join(f"{element} {text}" for text in texts) + ">"


def symbol(name: str) -> str:
    """A function's name as an LLVM symbol.

    Raises:
        EmitError: the name has other characters than letters, digits, `_`, `.` and `$`.
    """
    if not name or not all(c.isascii() and (c.isalnum() or c in "_.$") for c in name):
        raise EmitError(f"`{name}` cannot be the name of a function")
    return f'@"{name}"'
