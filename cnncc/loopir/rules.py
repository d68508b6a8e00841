"""The type rule of each arithmetic node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from cnncc.loopir.nodes import (
    BINARY_OPS,
    COMPARE_OPS,
    UNARY_OPS,
    Binary,
    Bitcast,
    BufferType,
    Compare,
    Const,
    Convert,
    Extract,
    Fma,
    Index,
    Kind,
    Lookup,
    Select,
    Shuffle,
    Splat,
    Type,
    Unary,
)

Arithmetic = (
    Const
    | Unary
    | Binary
    | Fma
    | Compare
    | Select
    | Convert
    | Bitcast
    | Splat
    | Shuffle
    | Lookup
    | Extract
)
INDEX = Type(Kind.INDEX)
_FLOAT_ONLY = ("sqrt", "floor", "ceil", "trunc", "round")
_FLOAT_BINARY = ("add", "sub", "mul", "div", "min", "max")
# What may be done with elements of a kind of storage.
_MOVES = (Convert, Bitcast, Select, Splat, Shuffle, Lookup, Extract)
_LOGIC = ("and", "or", "xor")
_SAME_BITS = ({Kind.F32, Kind.I32}, {Kind.F64, Kind.I64}, {Kind.F16, Kind.I16})


def type_of(operand: Index) -> Type | BufferType:
    """The type of an operand; an integer is an index."""
    return INDEX if isinstance(operand, int) else operand.type


def integer_range(kind: Kind) -> tuple[int, int]:
    """The least and the greatest number of an integer kind."""
    if kind.is_unsigned:
        return 0, (1 << kind.bits) - 1
    return -(1 << kind.bits - 1), (1 << kind.bits - 1) - 1


def arithmetic_rule(stmt: Arithmetic) -> tuple[Sequence[Index], str]:
    """The operands of a node, and what is wrong with their types (nothing: an empty text)."""
    operands = _operands(stmt)
    types = [type_of(operand) for operand in (stmt.out, *operands)]
    registers = [type_ for type_ in types if isinstance(type_, Type)]
    if len(registers) != len(types):
        return operands, "a buffer is used as a number"
    shown = ", ".join(map(str, registers[1:]))
    fine = _fits(stmt, registers[0], registers[1:])
    return operands, "" if fine else f"cannot give {registers[0]} from ({shown})"


def _operands(stmt: Arithmetic) -> Sequence[Index]:
    match stmt:
        case Const():
            return ()
        case Unary(_, _, a) | Convert(_, a) | Bitcast(_, a) | Splat(_, a) | Extract(_, a):
            return (a,)
        case Binary(_, _, a, b) | Compare(_, _, a, b) | Shuffle(_, a, b):
            return a, b
        case Fma(_, a, b, c) | Lookup(_, a, b, c):
            return a, b, c
        case Select(_, cond, a, b):
            return cond, a, b
        case _:
            assert_never(stmt)


def _fits(stmt: Arithmetic, out: Type, operands: Sequence[Type]) -> bool:
    if Kind.F16 in {t.kind for t in (out, *operands)} and not isinstance(stmt, _MOVES):
        return False
    same = all(operand == out for operand in operands)
    match stmt:
        case Const(value=value):
            lanes = value if isinstance(value, tuple) else (value,) * out.lanes
            return len(lanes) == out.lanes and all(_is_literal(lane, out.kind) for lane in lanes)
        case Unary(op=op):
            return same and _unary_allowed(op, out.kind)
        case Binary(op=op):
            return same and _binary_allowed(op, out.kind)
        case Fma():
            return same and out.kind.is_float
        case Compare(op=op):
            a, b = operands
            return op in COMPARE_OPS and a == b and out == Type(Kind.BOOL, a.lanes)
        case Select():
            cond, a, b = operands
            chosen = cond in (Type(Kind.BOOL), Type(Kind.BOOL, out.lanes))
            return chosen and a == out and b == out
        case Convert():
            half = Kind.F16 in (operands[0].kind, out.kind)
            widened = operands[0].kind is Kind.F16 and out.kind is Kind.F32
            return operands[0].lanes == out.lanes and (widened or not half)
        case Bitcast():
            kinds = {operands[0].kind, out.kind}
            return operands[0].lanes == out.lanes and any(kinds <= pair for pair in _SAME_BITS)
        case Splat():
            return operands[0] == Type(out.kind)
        case Shuffle(lanes=lanes):
            a, b = operands
            inside = all(0 <= lane < 2 * a.lanes for lane in lanes)
            return a == b and inside and out == Type(a.kind, len(lanes))
        case Lookup():
            index = Type(Kind.I32, out.lanes)
            return list(operands) == [out, out, index] and out.lanes.bit_count() == 1 < out.lanes
        case Extract(lane=lane):
            return out == Type(operands[0].kind) and 0 <= lane < operands[0].lanes
        case _:
            assert_never(stmt)


def _unary_allowed(op: str, kind: Kind) -> bool:
    if op in _FLOAT_ONLY:
        return kind.is_float
    if op == "not":
        return not kind.is_float
    return op in UNARY_OPS and kind is not Kind.BOOL


def _binary_allowed(op: str, kind: Kind) -> bool:
    if kind.is_float:
        return op in _FLOAT_BINARY
    return op in (_LOGIC if kind is Kind.BOOL else BINARY_OPS)


def _is_literal(value: object, kind: Kind) -> bool:
    if kind is Kind.BOOL:
        return isinstance(value, bool)
    if kind.is_float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    low, high = integer_range(kind)
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
