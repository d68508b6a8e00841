"""Reading the text of `text.print_program` back.

Users feed dumps back in, so mistakes in them are reported with their place. Only the form is judged
here; `verify` judges the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cnncc.loopir.nodes import (
    BINARY_OPS,
    COMPARE_OPS,
    UNARY_OPS,
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
from cnncc.loopir.scan import Line
from cnncc.loopir.text import KEYWORDS

_KINDS = "|".join(kind.value for kind in Kind)
_REGISTER = re.compile(rf"({_KINDS})(?:x([1-9]\d{{0,3}}))?", re.ASCII)
_DEEPEST = 64


def parse_program(text: str, file: str = "<loops>") -> Program:
    """The program that a `.loops` text describes; blank lines and lines with `#` first are skipped.

    Raises:
        LoopTextError: the first line that has no meaning.
    """
    lines = [
        Line(file, number, line)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    funcs: list[Func] = []
    at = 0
    while at < len(lines):
        parser = _FuncParser(lines, at)
        func = parser.func()
        if any(func.name == other.name for other in funcs):
            raise lines[at].error(f"a second function `{func.name}`")
        funcs.append(func)
        at = parser.at
    return Program(funcs)


class _FuncParser:
    """Reads one function that begins at line `at`, and stops after its last line."""

    def __init__(self, lines: list[Line], at: int) -> None:
        self._lines = lines
        self.at = at
        self._values: dict[str, Value] = {}

    def func(self) -> Func:
        line = self._next(0)
        line.want("func")
        name = line.word("the function's name")
        line.want("(")
        params = line.several(lambda: self._typed(line), ")")
        line.want(":")
        line.end()
        for param in params:
            self._define(line, param)
        body, yields = self._body(1)
        if yields is not None:
            raise yields.error("`yield` belongs into a loop that carries values")
        return Func(name, params, body)

    # -- lines -------------------------------------------------------------------------------------

    def _next(self, depth: int) -> Line:
        line = self._lines[self.at]
        if line.depth != depth:
            raise line.error("unexpected indentation")
        self.at += 1
        return line

    def _ahead(self, depth: int) -> Line | None:
        """The next line, if it belongs to a body of this depth or of a deeper one."""
        if self.at == len(self._lines) or self._lines[self.at].depth < depth:
            return None
        return self._lines[self.at]

    def _body(self, depth: int) -> tuple[list[Stmt], Line | None]:
        """Statements up to the end of the body, and the line with its `yield`."""
        body: list[Stmt] = []
        while (line := self._ahead(depth)) is not None:
            if depth > _DEEPEST:
                raise line.error(f"bodies are nested more than {_DEEPEST} deep")
            self._next(depth)
            if line.rest == "yield":
                return body, line
            body.append(self._statement(line, depth))
            line.end()
        return body, None

    # -- values ------------------------------------------------------------------------------------

    def _define(self, line: Line, value: Value) -> Value:
        if value.hint in self._values:
            raise line.error(f"`{value.hint}` is defined twice")
        self._values[value.hint] = value
        return value

    def _name(self, line: Line) -> str:
        name = line.word("a name")
        if name in KEYWORDS or "." in name or "$" in name:
            raise line.error(f"`{name}` cannot be a name")
        return name

    def _typed(self, line: Line) -> Value:
        name = self._name(line)
        line.want(":")
        return Value(self._type(line), name)

    def _type(self, line: Line) -> Type | BufferType:
        match = _REGISTER.fullmatch(line.word("a type"))
        if match is None:
            raise line.error("expected a type such as f32, f32x16, index or f32[64]")
        kind = Kind(match.group(1))
        if not line.take("["):
            return Type(kind, int(match.group(2) or 1))
        if match.group(2):
            raise line.error("a buffer has elements, not vectors")
        extent = None if line.take("?") else line.integer()
        line.want("]")
        writable = line.take("!")
        return BufferType(kind, extent, writable, not line.take("~"))

    def _value(self, line: Line) -> Value:
        name = line.word("a value")
        value = self._values.get(name)
        if value is None:
            raise line.error(f"`{name}` is not defined here")
        return value

    def _operand(self, line: Line) -> Index:
        return line.integer() if line.at_number() else self._value(line)

    def _more(self, line: Line) -> Index:
        line.want(",")
        return self._operand(line)

    def _more_value(self, line: Line) -> Value:
        line.want(",")
        return self._value(line)

    def _place(self, line: Line) -> tuple[Value, Index, int]:
        buffer = self._value(line)
        line.want("[")
        index, offset = self._operand(line), 0
        if line.take("+") or line.rest == "-":
            offset = line.integer()
        line.want("]")
        return buffer, index, offset

    def _mask(self, line: Line) -> Value | None:
        return self._value(line) if line.take("mask") else None

    # -- statements --------------------------------------------------------------------------------

    def _statement(self, line: Line, depth: int) -> Stmt:
        match line.rest:
            case "for":
                return self._for(line, depth)
            case "if":
                return self._if(line, depth)
            case "store":
                line.want("store")
                buffer, index, offset = self._place(line)
                return Store(buffer, index, self._more_value(line), offset, self._mask(line))
            case "call":
                line.want("call")
                callee = line.word("a function's name")
                line.want("(")
                return Call(callee, line.several(lambda: self._operand(line), ")"))
            case "barrier":
                line.want("barrier")
                return Barrier()
            case "prefetch":
                line.want("prefetch")
                return Prefetch(*self._place(line))
            case _:
                return self._definition(line)

    def _definition(self, line: Line) -> Stmt:
        out = self._typed(line)
        line.want("=")
        op = line.word("an operation")
        reader = _READERS.get(op)
        if op in BINARY_OPS:
            stmt: Stmt = Binary(out, op, self._operand(line), self._more(line))
        elif op in COMPARE_OPS:
            stmt = Compare(out, op, self._operand(line), self._more(line))
        elif op in UNARY_OPS:
            stmt = Unary(out, op, self._value(line))
        elif reader is not None:
            stmt = reader(self, line, out)
        else:
            raise line.error(f"there is no operation `{op}`")
        self._define(line, out)
        return stmt

    def _const(self, line: Line, out: Value) -> Stmt:
        if line.take("("):
            return Const(out, tuple(line.several(lambda: self._literal(line, out.type.kind), ")")))
        return Const(out, self._literal(line, out.type.kind))

    def _literal(self, line: Line, kind: Kind) -> float | int | bool:
        if kind.is_float:
            return line.real()
        if kind is not Kind.BOOL:
            return line.integer(1 << 64 if kind is Kind.U64 else 1 << 63)
        word = line.word("`true` or `false`")
        if word not in ("true", "false"):
            raise line.error("expected `true` or `false`")
        return word == "true"

    def _load(self, line: Line, out: Value) -> Stmt:
        return Load(out, *self._place(line), self._mask(line))

    def _view(self, line: Line, out: Value) -> Stmt:
        buffer, index, offset = self._place(line)
        if offset:
            raise line.error("a view begins at one index, without an offset")
        return View(out, buffer, index)

    def _shuffle(self, line: Line, out: Value) -> Stmt:
        a, b = self._value(line), self._more_value(line)
        line.want(",")
        line.want("(")
        return Shuffle(out, a, b, tuple(line.several(line.integer, ")")))

    def _extract(self, line: Line, out: Value) -> Stmt:
        a = self._value(line)
        line.want(",")
        return Extract(out, a, line.integer())

    def _for(self, line: Line, depth: int) -> Stmt:
        line.want("for")
        iv = self._maybe_typed(line, Type(Kind.INDEX))
        line.want("in")
        lo = self._operand(line)
        line.want("..")
        hi = self._operand(line)
        line.want("step")
        loop = For(iv, lo, hi, line.integer())
        if line.take("carry"):
            line.several(lambda: self._carry(line, loop), "->")
            for carried in loop.carried:
                if carried is not loop.carried[0]:
                    line.want(",")
                loop.results.append(self._maybe_typed(line, carried.type))
        line.want(":")
        line.end()
        self._loop_body(line, loop, depth)
        return loop

    def _maybe_typed(self, line: Line, default: Type | BufferType) -> Value:
        """A name whose type, when it says none, is `default`; a last `:` ends the line."""
        name = self._name(line)
        if line.rest == ":" and line.second():
            line.want(":")
            return Value(self._type(line), name)
        return Value(default, name)

    def _carry(self, line: Line, loop: For) -> None:
        name = self._name(line)
        type_ = self._type(line) if line.take(":") else None
        line.want("=")
        init = self._value(line)
        loop.inits.append(init)
        loop.carried.append(Value(type_ or init.type, name))

    def _loop_body(self, line: Line, loop: For, depth: int) -> None:
        for value in (loop.iv, *loop.carried):
            self._define(line, value)
        loop.body, last = self._body(depth + 1)
        if last is not None:
            last.want("yield")
            loop.yields = [self._value(last)]
            while last.take(","):
                loop.yields.append(self._value(last))
            last.end()
        if len(loop.yields) != len(loop.carried):
            raise (last or line).error(f"the loop carries {len(loop.carried)} values")
        for result in loop.results:
            self._define(line, result)

    def _if(self, line: Line, depth: int) -> Stmt:
        line.want("if")
        branch = If(self._value(line))
        line.want(":")
        line.end()
        branch.then = self._branch(depth)
        following = self._ahead(depth)
        if following is not None and following.rest == "else":
            self._next(depth).want("else")
            following.want(":")
            following.end()
            branch.orelse = self._branch(depth)
        return branch

    def _branch(self, depth: int) -> list[Stmt]:
        body, yields = self._body(depth + 1)
        if yields is not None:
            raise yields.error("a branch yields nothing")
        return body


_Reader = Callable[[_FuncParser, Line, Value], Stmt]
_READERS: dict[str, _Reader] = {
    "const": _FuncParser._const,
    "load": _FuncParser._load,
    "view": _FuncParser._view,
    "shuffle": _FuncParser._shuffle,
    "extract": _FuncParser._extract,
    "alloc": lambda p, line, out: Alloc(out),
    "splat": lambda p, line, out: Splat(out, p._operand(line)),
    "convert": lambda p, line, out: Convert(out, p._operand(line)),
    "bitcast": lambda p, line, out: Bitcast(out, p._value(line)),
    "select": lambda p, line, out: Select(out, p._value(line), p._more(line), p._more(line)),
    "lookup": lambda p, line, out: Lookup(
        out, p._value(line), p._more_value(line), p._more_value(line)
    ),
    "fma": lambda p, line, out: Fma(out, p._value(line), p._more_value(line), p._more_value(line)),
}
