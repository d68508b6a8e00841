"""LoopIR as text: one statement a line, bodies indented by two spaces.

    func scale(src: f32[?], dst: f32[?]!, n: index):
      zero: f32x8 = const 0.0
      for i in 0..n step 8 carry sum = zero -> total:
        x: f32x8 = load src[i + 64]
        twice: f32x8 = add x, x
        store dst[i], twice
        sum_1: f32x8 = add sum, x
        yield sum_1
      store dst[n], total

Names come from the hints and are unique in a function. `canonical_text` forgets them, so that two
kernels that do the same have the same text. `parse` reads all of it back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, assert_never

from cnncc.loopir.nodes import (
    Alloc,
    Barrier,
    Binary,
    Bitcast,
    BufferType,
    Call,
    Compare,
    Const,
    Convert,
    Extract,
    Fma,
    For,
    Func,
    If,
    Index,
    Kind,
    Load,
    Lookup,
    Prefetch,
    Program,
    Select,
    Shuffle,
    Splat,
    Stmt,
    Store,
    Type,
    Unary,
    Value,
    View,
)

KEYWORDS = frozenset(
    {"for", "if", "else", "yield", "store", "call", "barrier", "prefetch", "func"}
    | {"in", "step", "carry", "mask"}
)
INDENT = "  "

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NOT_IN_NAMES = re.compile(r"\W", re.ASCII)


def print_program(program: Program) -> str:
    """All functions, in order, with a blank line between two."""
    return "\n".join(print_func(func) for func in program.funcs)


def print_func(func: Func) -> str:
    """One function."""
    return _Printer().func(func, func.name)


def canonical_text(func: Func) -> str:
    """The function without its name, hints or Python identities: equal for equal kernels."""
    return _Printer(canonical=True).func(func, "_")


def print_stmt(func: Func, stmt: Stmt) -> str:
    """One statement as it stands in the function's text, without the bodies it holds."""
    return _Printer(wanted=stmt).find(func)


class _Printer:
    """Lines of one function, and the names given so far."""

    def __init__(self, *, canonical: bool = False, wanted: Stmt | None = None) -> None:
        self._canonical = canonical
        self._wanted = wanted
        self._found = ""
        self._lines: list[str] = []
        self._names: dict[Value, str] = {}
        self._used: dict[str, int] = {}
        # By identity, which is quicker than comparing them; values keep their types alive.
        self._types: dict[int, str] = {}

    def func(self, func: Func, name: str) -> str:
        params = ", ".join([self._define(param) for param in func.params])
        self._lines.append(f"func {name}({params}):")
        self._body(func.body, INDENT)
        return "\n".join(self._lines) + "\n"

    def find(self, func: Func) -> str:
        self.func(func, func.name)
        return self._found

    # -- names -------------------------------------------------------------------------------------

    def _new_name(self, value: Value) -> str:
        if self._canonical:
            name = f"v{len(self._names)}"
        else:
            name = self._unique(_base(value.hint))
        self._names[value] = name
        return name

    def _unique(self, base: str) -> str:
        count = self._used.get(base)
        if count is None:
            self._used[base] = 1
            return base
        while (name := f"{base}_{count}") in self._used:
            count += 1
        self._used[base] = count + 1
        self._used[name] = 1
        return name

    def _type(self, type_: Type | BufferType) -> str:
        text = self._types.get(id(type_))
        if text is None:
            text = self._types[id(type_)] = str(type_)
        return text

    def _define(self, value: Value) -> str:
        """`name: type` where a value comes to be; a value defined twice keeps its name."""
        name = self._names.get(value) or self._new_name(value)
        return f"{name}: {self._types.get(id(value.type)) or self._type(value.type)}"

    def _ref(self, operand: Index) -> str:
        if isinstance(operand, Value):
            return self._names.get(operand) or self._new_name(operand)
        return str(operand)

    def _refs(self, operands: Sequence[Index]) -> str:
        return ", ".join([self._ref(operand) for operand in operands])

    # -- statements --------------------------------------------------------------------------------

    def _body(self, body: Sequence[Stmt], indent: str) -> None:
        for stmt in body:
            if isinstance(stmt, For):
                self._for(stmt, indent)
            elif isinstance(stmt, If):
                self._if(stmt, indent)
            else:
                self._line(stmt, indent, self._simple(stmt))

    def _line(self, stmt: Stmt, indent: str, text: str) -> None:
        if stmt is self._wanted:
            self._found = text
        self._lines.append(indent + text)

    def _for(self, stmt: For, indent: str) -> None:
        bounds = f"{self._ref(stmt.lo)}..{self._ref(stmt.hi)} step {stmt.step}"
        inits = [self._ref(init) for init in stmt.inits]
        iv = self._define(stmt.iv).removesuffix(": index")
        text = f"for {iv} in {bounds}"
        if stmt.carried:
            pairs = zip(stmt.carried, stmt.inits, inits, strict=True)
            carry = [f"{self._typed_unless(v, like)} = {init}" for v, like, init in pairs]
            ends = [
                self._typed_unless(result, like)
                for result, like in zip(stmt.results, stmt.carried, strict=True)
            ]
            text += f" carry {', '.join(carry)} -> {', '.join(ends)}"
        self._line(stmt, indent, text + ":")
        self._body(stmt.body, indent + INDENT)
        if stmt.yields:
            self._lines.append(f"{indent}{INDENT}yield {self._refs(stmt.yields)}")

    def _typed_unless(self, value: Value, like: Value) -> str:
        """A definition without its type, where that of another value says it."""
        text = self._define(value)
        return self._names[value] if value.type == like.type else text

    def _if(self, stmt: If, indent: str) -> None:
        self._line(stmt, indent, f"if {self._ref(stmt.cond)}:")
        self._body(stmt.then, indent + INDENT)
        if stmt.orelse:
            self._lines.append(f"{indent}else:")
            self._body(stmt.orelse, indent + INDENT)

    def _simple(self, stmt: Stmt) -> str:
        ref = self._ref
        match stmt:
            case Fma(out, a, b, c):
                return self._op(out, "fma", f"{ref(a)}, {ref(b)}, {ref(c)}")
            case Load(out, buffer, index, offset, mask):
                return self._op(out, "load", self._place(buffer, index, offset) + self._mask(mask))
            case Binary(out, op, a, b) | Compare(out, op, a, b):
                return self._op(out, op, f"{ref(a)}, {ref(b)}")
            case Splat(out, a):
                return self._op(out, "splat", ref(a))
            case Store(buffer, index, value, offset, mask):
                place = self._place(buffer, index, offset)
                return f"store {place}, {ref(value)}{self._mask(mask)}"
            case Const(out, value):
                return self._op(out, "const", _literal(value, out.type))
            case Unary(out, op, a):
                return self._op(out, op, ref(a))
            case Select(out, cond, a, b):
                return self._op(out, "select", f"{ref(cond)}, {ref(a)}, {ref(b)}")
            case Convert(out, a):
                return self._op(out, "convert", ref(a))
            case Bitcast(out, a):
                return self._op(out, "bitcast", ref(a))
            case Shuffle(out, a, b, lanes):
                picks = ", ".join(map(str, lanes))
                return self._op(out, "shuffle", f"{ref(a)}, {ref(b)}, ({picks})")
            case Lookup(out, a, b, index):
                return self._op(out, "lookup", f"{ref(a)}, {ref(b)}, {ref(index)}")
            case Extract(out, a, lane):
                return self._op(out, "extract", f"{ref(a)}, {lane}")
            case Alloc(out):
                return f"{self._define(out)} = alloc"
            case View(out, buffer, index):
                return self._op(out, "view", self._place(buffer, index, 0))
            case Call(callee, args):
                return f"call {callee}({self._refs(args)})"
            case Prefetch(buffer, index, offset):
                return f"prefetch {self._place(buffer, index, offset)}"
            case Barrier():
                return "barrier"
            case For() | If():
                raise TypeError("a statement with a body is not one line")
            case _:
                assert_never(stmt)

    def _op(self, out: Value, op: str, operands: str) -> str:
        """A definition; the operands were named first, as they are older."""
        return f"{self._define(out)} = {op} {operands}"

    def _place(self, buffer: Value, index: Index, offset: int) -> str:
        if offset == 0:
            return f"{self._ref(buffer)}[{self._ref(index)}]"
        sign = "+" if offset > 0 else "-"
        return f"{self._ref(buffer)}[{self._ref(index)} {sign} {abs(offset)}]"

    def _mask(self, mask: Value | None) -> str:
        return "" if mask is None else f" mask {self._ref(mask)}"


def _base(hint: str) -> str:
    if not hint:
        return "v"
    if not _NAME.fullmatch(hint):
        hint = _NOT_IN_NAMES.sub("_", hint)
        if not _NAME.fullmatch(hint):
            hint = f"v{hint}"
    return f"{hint}_" if hint in KEYWORDS else hint


def _literal(value: Any, type_: Type | BufferType) -> str:
    if isinstance(value, tuple):
        return f"({', '.join([_literal(lane, type_) for lane in value])})"
    if type_.kind is Kind.BOOL:
        return "true" if value else "false"
    return repr(float(value)) if type_.kind.is_float else str(int(value))
