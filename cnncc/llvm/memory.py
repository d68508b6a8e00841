"""Memory nodes: addresses, loads, stores, masks, scratch buffers, views and prefetches.

An address is `gep(gep(buffer, index), offset)`: the first is shared by all accesses with the same
index, the second ends up in the instruction's displacement. The flag is `nusw` and not `inbounds`,
because `index` alone may lie outside of the buffer while `index + offset` lies inside.
"""

from __future__ import annotations

from functools import cache

from cnncc.errors import EmitError
from cnncc.llvm.types import (
    BYTES,
    buffer_type,
    constant,
    memory_type,
    register_type,
    scalar_type,
    suffix,
)
from cnncc.llvm.vector import as_vector
from cnncc.llvm.writer import FunctionWriter
from cnncc.loopir.nodes import Alloc, Index, Kind, Load, Prefetch, Store, Type, Value, View

_INDEX = Type(Kind.INDEX)
Memory = Load | Store | Alloc | View | Prefetch


def emit_memory(w: FunctionWriter, stmt: Memory) -> None:
    """Write the instructions of a node and name its result, if it has one."""
    match stmt:
        case Load():
            w.names[stmt.out] = _load(w, stmt)
        case Store():
            _store(w, stmt)
        case Alloc(out=out):
            w.names[out] = _alloc(w, out)
        case View(out=out, buffer=buffer, index=index):
            w.names[out] = address(w, buffer, index, 0)
        case Prefetch(buffer=buffer, index=index, offset=offset):
            place = address(w, buffer, index, offset)
            w.do(f"call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 2, i32 1)")


@cache
def _element(kind: Kind) -> str:
    return memory_type(Type(kind))


def address(w: FunctionWriter, buffer: Value, index: Index, offset: int) -> str:
    """The address of element `index + offset`."""
    element = _element(buffer_type(buffer).kind)
    base = w.name(buffer)
    text = w.operand(index, _INDEX)
    if text.startswith("%"):
        base = w.base_address(element, base, text)
    else:
        offset += int(text)
    if offset == 0:
        return base
    return w.let(f"getelementptr nusw {element}, ptr {base}, i64 {offset}")


def _load(w: FunctionWriter, stmt: Load) -> str:
    out = scalar_type(stmt.out)
    place = address(w, stmt.buffer, stmt.index, stmt.offset)
    align, text = BYTES[out.kind], memory_type(out)
    if stmt.mask is None:
        raw = w.let(f"load {text}, ptr {place}, align {align}")
    else:
        kept, mask = as_vector(w, stmt.mask)
        wide = text if out.lanes > 1 else f"<1 x {text}>"
        name = f"llvm.masked.load.{_overload(out)}.p0"
        zeros = f"{wide} zeroinitializer"
        raw = w.let(f"call {wide} @{name}(ptr align {align} {place}, {kept} {mask}, {zeros})")
        if out.lanes == 1:
            raw = w.let(f"extractelement {wide} {raw}, i64 0")
    if out.kind is not Kind.BOOL:
        return raw
    return w.let(f"icmp ne {text} {raw}, {constant(Type(Kind.U8, out.lanes), 0)}")


def _store(w: FunctionWriter, stmt: Store) -> None:
    type_ = scalar_type(stmt.value)
    place = address(w, stmt.buffer, stmt.index, stmt.offset)
    align, text, raw = BYTES[type_.kind], memory_type(type_), w.name(stmt.value)
    if type_.kind is Kind.BOOL:
        raw = w.let(f"zext {register_type(type_)} {raw} to {text}")
    if stmt.mask is None:
        w.do(f"store {text} {raw}, ptr {place}, align {align}")
        return
    kept, mask = as_vector(w, stmt.mask)
    wide = text
    if type_.lanes == 1:
        wide = f"<1 x {text}>"
        raw = w.let(f"insertelement {wide} poison, {text} {raw}, i64 0")
    name = f"llvm.masked.store.{_overload(type_)}.p0"
    w.do(f"call void @{name}({wide} {raw}, ptr align {align} {place}, {kept} {mask})")


def _overload(type_: Type) -> str:
    kind = Kind.U8 if type_.kind is Kind.BOOL else type_.kind
    return f"v{type_.lanes}{suffix(Type(kind))}"


def _alloc(w: FunctionWriter, out: Value) -> str:
    type_ = buffer_type(out)
    if type_.extent is None:
        raise EmitError(f"scratch buffer `{out.hint}` has no extent")
    return w.alloca(f"[{type_.extent} x {memory_type(Type(type_.kind))}], align 64")
