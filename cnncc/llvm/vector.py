"""Arithmetic nodes: which LLVM instruction each becomes, for scalars and vectors alike."""

from __future__ import annotations

from cnncc.errors import EmitError
from cnncc.llvm.types import constant, literal, register_type, scalar_type, suffix
from cnncc.llvm.writer import FunctionWriter
from cnncc.loopir.nodes import (
    Binary,
    Bitcast,
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
    Value,
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

_INDEX = Type(Kind.INDEX)
_PERMUTED = Type(Kind.F32, 16)  # what AVX-512 looks up in two registers
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "shl": "shl"}
_LOGIC = ("and", "or", "xor")
# Index operands of these are non-negative, so that the shorter unsigned forms serve.
_BY_SIGN = {"div": ("udiv", "sdiv"), "rem": ("urem", "srem"), "shr": ("lshr", "ashr")}
_ORDERED = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_ROUNDINGS = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven"}
# From here on every number of the kind is whole.
_ALL_WHOLE = {Kind.F32: 2.0**23, Kind.F64: 2.0**52}


def emit_arithmetic(w: FunctionWriter, stmt: Arithmetic) -> None:
    """Write the instructions of a node and name its result."""
    w.names[stmt.out] = _result(w, stmt, scalar_type(stmt.out))


def _result(w: FunctionWriter, stmt: Arithmetic, out: Type) -> str:
    match stmt:
        case Const(value=value):
            return constant(out, value)
        case Unary(op=op, a=a):
            return _unary(w, op, w.name(a), out)
        case Binary(op=op, a=a, b=b):
            return _binary(w, op, w.operand(a, out), w.operand(b, out), out)
        case Fma(a=a, b=b, c=c):
            text = register_type(out)
            product = w.let(f"fmul contract {text} {w.name(a)}, {w.name(b)}")
            return w.let(f"fadd contract {text} {product}, {w.name(c)}")
        case Compare(op=op, a=a, b=b):
            return _compare(w, op, a, b)
        case Select(cond=cond, a=a, b=b):
            text = register_type(out)
            chosen = f"{text} {w.operand(a, out)}, {text} {w.operand(b, out)}"
            return w.let(f"select {w.typed(cond)}, {chosen}")
        case Convert(a=a):
            source = scalar_type(a) if isinstance(a, Value) else _INDEX
            return _convert(w, w.operand(a, source), source, out)
        case Bitcast(a=a):
            return w.let(f"bitcast {w.typed(a)} to {register_type(out)}")
        case Splat(a=a):
            return splat(w, w.operand(a, Type(out.kind)), out)
        case Shuffle():
            return _shuffle(w, stmt, out)
        case Lookup():
            return _lookup(w, stmt, out)
        case Extract(a=a, lane=lane):
            if scalar_type(a).lanes == 1:
                return w.name(a)
            return w.let(f"extractelement {w.typed(a)}, i64 {lane}")


def splat(w: FunctionWriter, scalar: str, out: Type) -> str:
    """The scalar in every lane of `out`."""
    if out.lanes == 1:
        return scalar
    element, text = register_type(Type(out.kind)), register_type(out)
    if not scalar.startswith("%"):
        return f"splat ({element} {scalar})"
    first = w.let(f"insertelement {text} poison, {element} {scalar}, i64 0")
    zeros = f"<{out.lanes} x i32> zeroinitializer"
    return w.let(f"shufflevector {text} {first}, {text} poison, {zeros}")


def as_vector(w: FunctionWriter, value: Value) -> tuple[str, str]:
    """The type and operand of a value as a vector, also where it has a single lane."""
    type_ = scalar_type(value)
    text = register_type(type_)
    if type_.lanes > 1:
        return text, w.name(value)
    return f"<1 x {text}>", w.let(
        f"insertelement <1 x {text}> poison, {text} {w.name(value)}, i64 0"
    )


def _unary(w: FunctionWriter, op: str, a: str, type_: Type) -> str:
    text, real = register_type(type_), type_.kind.is_float
    name = f"{text} @llvm.{{}}.{suffix(type_)}({text} {a}"
    match op:
        case "neg":
            return w.let(f"fneg {text} {a}" if real else f"sub {text} {constant(type_, 0)}, {a}")
        case "abs" if real:
            return w.let(f"call {name.format('fabs')})")
        case "abs":
            return a if type_.kind.is_unsigned else w.let(f"call {name.format('abs')}, i1 false)")
        case "sqrt" if real:
            return w.let(f"call {name.format('sqrt')})")
        case "floor" | "ceil" | "trunc" | "round" if real and w.rounds:
            return w.let(f"call {name.format(_ROUNDINGS[op])})")
        case "floor" | "ceil" | "trunc" | "round" if real:
            return _rounded(w, op, a, type_)
        case "not" if not real:
            ones = True if type_.kind is Kind.BOOL else (1 << type_.kind.bits) - 1
            return w.let(f"xor {text} {a}, {constant(type_, ones)}")
        case _:
            raise EmitError(f"`{op}` has no meaning on {type_}")


def _rounded(w: FunctionWriter, op: str, a: str, type_: Type) -> str:
    """A rounding by additions, for targets where LLVM would call the C library.

    With 2**23 added (in f64 2**52) no bits are left for a fraction, so that the sum is rounded to
    the nearest whole number, the even one of two; a step to the side makes the others of it. From
    there on every number is whole: it passes through unchanged, and NaN does as it compares false.
    """
    text, name = register_type(type_), suffix(type_)
    whole, one = constant(type_, _ALL_WHOLE[type_.kind]), constant(type_, 1.0)
    size = w.let(f"call {text} @llvm.fabs.{name}({text} {a})")
    near = w.let(f"fsub {text} {w.let(f'fadd {text} {size}, {whole}')}, {whole}")
    if op in ("floor", "ceil"):
        near = w.let(f"call {text} @llvm.copysign.{name}({text} {near}, {text} {a})")
    if op != "round":
        against = size if op == "trunc" else a
        passed = w.let(f"fcmp {'olt' if op == 'ceil' else 'ogt'} {text} {near}, {against}")
        back = w.let(f"{'fadd' if op == 'ceil' else 'fsub'} {text} {near}, {one}")
        near = w.let(_select(type_, passed, back, near))
    signed = w.let(f"call {text} @llvm.copysign.{name}({text} {near}, {text} {a})")
    small = w.let(f"fcmp olt {text} {size}, {whole}")
    return w.let(_select(type_, small, signed, a))


def _select(type_: Type, cond: str, a: str, b: str) -> str:
    text = register_type(type_)
    return f"select {register_type(Type(Kind.BOOL, type_.lanes))} {cond}, {text} {a}, {text} {b}"


def _binary(w: FunctionWriter, op: str, a: str, b: str, type_: Type) -> str:
    text, kind = register_type(type_), type_.kind
    if kind.is_float and op in _FLOAT:
        return w.let(f"{_FLOAT[op]} {text} {a}, {b}")
    if op in ("min", "max"):
        return w.let(f"call {_extremum(op, type_)}({text} {a}, {text} {b})")
    if kind.is_float or (kind is Kind.BOOL and op not in _LOGIC):
        raise EmitError(f"`{op}` has no meaning on {type_}")
    if op in _BY_SIGN:
        unsigned = kind.is_unsigned or kind is Kind.INDEX
        return w.let(f"{_BY_SIGN[op][0 if unsigned else 1]} {text} {a}, {b}")
    if op in _LOGIC:
        return w.let(f"{op} {text} {a}, {b}")
    if op not in _INTEGER:
        raise EmitError(f"there is no operation `{op}`")
    flags = " nsw" if type_ == _INDEX and op != "shl" else ""
    return w.let(f"{_INTEGER[op]}{flags} {text} {a}, {b}")


def _extremum(op: str, type_: Type) -> str:
    text, name = register_type(type_), suffix(type_)
    if type_.kind.is_float:
        return f"nsz {text} @llvm.{op}imum.{name}"
    return f"{text} @llvm.{'u' if type_.kind.is_unsigned else 's'}{op}.{name}"


def _compare(w: FunctionWriter, op: str, a: Index, b: Index) -> str:
    typed = a if isinstance(a, Value) else b
    type_ = scalar_type(typed) if isinstance(typed, Value) else _INDEX
    operands = f"{register_type(type_)} {w.operand(a, type_)}, {w.operand(b, type_)}"
    if op not in _ORDERED:
        raise EmitError(f"there is no comparison `{op}`")
    if type_.kind.is_float:
        return w.let(f"fcmp {_ORDERED[op]} {operands}")
    sign = "" if op in ("eq", "ne") else "u" if type_.kind.is_unsigned else "s"
    return w.let(f"icmp {sign}{op} {operands}")


def _convert(w: FunctionWriter, a: str, source: Type, out: Type) -> str:
    have, want = register_type(source), register_type(out)
    if Kind.F16 in (source.kind, out.kind) and out.kind not in (source.kind, Kind.F32):
        raise EmitError(f"{source} cannot become {out}: f16 is stored, and widened to f32")
    if source.kind is out.kind or (have == want and out.kind is not Kind.BOOL):
        return a
    if source.kind is Kind.F16 and out.kind is Kind.F32:
        return _widen_half(w, a, source.lanes)
    if out.kind is Kind.BOOL:
        zero = constant(source, 0)
        return w.let(f"{'fcmp une' if source.kind.is_float else 'icmp ne'} {have} {a}, {zero}")
    if source.kind.is_float and out.kind.is_float:
        return w.let(f"{'fpext' if out.kind is Kind.F64 else 'fptrunc'} {have} {a} to {want}")
    if source.kind.is_float:
        sign = "u" if out.kind.is_unsigned else "s"
        name = f"llvm.fpto{sign}i.sat.{suffix(out)}.{suffix(source)}"
        return w.let(f"call {want} @{name}({have} {a})")
    if out.kind.is_float:
        return w.let(f"{'u' if source.kind.is_unsigned else 's'}itofp {have} {a} to {want}")
    if out.kind.bits < source.kind.bits:
        return w.let(f"trunc {have} {a} to {want}")
    return w.let(f"{'z' if source.kind.is_unsigned else 's'}ext {have} {a} to {want}")


def _widen_half(w: FunctionWriter, bits: str, lanes: int) -> str:
    """The f32 of binary16 bits, exactly; NaN keeps its payload.

    Exponent and fraction, moved to their places in an f32, are the number divided by 2^112, also
    for subnormal ones; infinities and NaN get the largest exponent instead. In integers, because
    not every level of a CPU family has the conversion.
    """
    whole, real = register_type(Type(Kind.I32, lanes)), register_type(Type(Kind.F32, lanes))

    def number(value: int) -> str:
        return constant(Type(Kind.I32, lanes), value)

    wide = w.let(f"zext {register_type(Type(Kind.F16, lanes))} {bits} to {whole}")
    sign = w.let(f"shl {whole} {w.let(f'and {whole} {wide}, {number(0x8000)}')}, {number(16)}")
    size = w.let(f"shl {whole} {w.let(f'and {whole} {wide}, {number(0x7FFF)}')}, {number(13)}")
    scale = constant(Type(Kind.F32, lanes), 2.0**112)
    finite = w.let(f"fmul {real} {w.let(f'bitcast {whole} {size} to {real}')}, {scale}")
    special = w.let(f"or {whole} {size}, {number(0x7F800000)}")
    test = w.let(f"icmp uge {whole} {size}, {number(0x7C00 << 13)}")
    flags = "i1" if lanes == 1 else f"<{lanes} x i1>"
    kept = w.let(f"bitcast {real} {finite} to {whole}")
    chosen = w.let(f"select {flags} {test}, {whole} {special}, {whole} {kept}")
    return w.let(f"bitcast {whole} {w.let(f'or {whole} {chosen}, {sign}')} to {real}")


def _shuffle(w: FunctionWriter, stmt: Shuffle, out: Type) -> str:
    text, first = as_vector(w, stmt.a)
    _, second = as_vector(w, stmt.b)
    limit = scalar_type(stmt.a).lanes + scalar_type(stmt.b).lanes
    if scalar_type(stmt.a) != scalar_type(stmt.b) or not all(0 <= i < limit for i in stmt.lanes):
        raise EmitError(f"a shuffle of {stmt.a.type} and {stmt.b.type} cannot take {stmt.lanes}")
    picks = ", ".join(f"i32 {literal(Kind.INDEX, lane)}" for lane in stmt.lanes)
    mask = f"<{len(stmt.lanes)} x i32> <{picks}>"
    made = w.let(f"shufflevector {text} {first}, {text} {second}, {mask}")
    if out.lanes > 1:
        return made
    return w.let(f"extractelement <1 x {register_type(out)}> {made}, i64 0")


def _lookup(w: FunctionWriter, stmt: Lookup, out: Type) -> str:
    """One instruction where the target has it, else lane by lane."""
    a, b, index = w.typed(stmt.a), w.typed(stmt.b), w.typed(stmt.index)
    text = register_type(out)
    if w.permutes and out == _PERMUTED:
        return w.let(f"call {text} @llvm.x86.avx512.vpermi2var.ps.512({a}, {index}, {b})")
    lanes = out.lanes
    numbers, element = Type(Kind.I32, lanes), register_type(Type(out.kind))
    both = ", ".join(f"i32 {lane}" for lane in range(2 * lanes))
    table = w.let(f"shufflevector {a}, {b}, <{2 * lanes} x i32> <{both}>")
    low = w.let(f"and {index}, {constant(numbers, 2 * lanes - 1)}")
    made = "poison"
    for lane in range(lanes):
        place = w.let(f"extractelement {register_type(numbers)} {low}, i64 {lane}")
        found = w.let(f"extractelement <{2 * lanes} x {element}> {table}, i32 {place}")
        made = w.let(f"insertelement {text} {made}, {element} {found}, i64 {lane}")
    return made
