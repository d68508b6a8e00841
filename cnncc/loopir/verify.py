"""The rules of LoopIR: scopes, single assignment, types, and where accesses reach.

`verify` raises on the first broken rule; accesses that are neither proven nor refuted are returned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnncc.errors import VerifyError
from cnncc.loopir.bounds import BoundsAnalysis, Finding
from cnncc.loopir.linear import Range
from cnncc.loopir.nodes import (
    MAIN,
    Alloc,
    Barrier,
    BufferType,
    Call,
    For,
    Func,
    If,
    Index,
    Kind,
    Load,
    Prefetch,
    Program,
    Stmt,
    Store,
    Type,
    Value,
    View,
    sub_bodies,
)
from cnncc.loopir.rules import INDEX, arithmetic_rule, type_of
from cnncc.loopir.text import print_stmt

_NAME = re.compile(r"[A-Za-z_][\w$]*(?:\.[\w$]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Unproven:
    """An access that may leave its buffer, as far as is known at compile time.

    Attributes:
        func: the function's name.
        stmt: the statement.
        text: the statement as printed.
        reason: what range it reaches.
    """

    func: str
    stmt: Stmt
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.func}: `{self.text}` {self.reason}"


def verify(code: Program | Func, *, ranges: Mapping[str, Range] | None = None) -> list[Unproven]:
    """Check a program, or a function that calls no other.

    Args:
        code: what to check.
        ranges: least and greatest value (both included) of index parameters, by their hint; other
            parameters may be anything that the calls in the program hand over.

    Returns:
        Accesses of buffers with a known extent that could not be proven to stay inside.

    Raises:
        VerifyError: a broken rule; the message names the function and the statement.
    """
    funcs = [code] if isinstance(code, Func) else code.funcs
    by_name = {func.name: func for func in funcs}
    if len(by_name) != len(funcs):
        raise VerifyError("two functions of a program have the same name")
    if MAIN in by_name and funcs[-1].name != MAIN:
        raise VerifyError(f"{MAIN}: must be the last function of its program")
    for func in funcs:
        _Rules(func, by_name).check()
    return _check_bounds(_callers_first(by_name), by_name, ranges or {})


def _callers_first(by_name: Mapping[str, Func]) -> list[Func]:
    finished: list[Func] = []
    open_: list[str] = []

    def visit(func: Func) -> None:
        if func.name in open_:
            raise VerifyError(f"{func.name}: calls itself, through {' -> '.join(open_)}")
        if func in finished:
            return
        open_.append(func.name)
        for callee in sorted(_callees(func.body)):
            visit(by_name[callee])
        open_.pop()
        finished.append(func)

    for func in by_name.values():
        visit(func)
    return finished[::-1]


def _callees(body: Sequence[Stmt]) -> set[str]:
    names = {stmt.callee for stmt in body if isinstance(stmt, Call)}
    for stmt in body:
        for inner in sub_bodies(stmt):
            names |= _callees(inner)
    return names


def _check_bounds(
    funcs: Sequence[Func], by_name: Mapping[str, Func], ranges: Mapping[str, Range]
) -> list[Unproven]:
    unproven: list[Unproven] = []
    called: dict[str, list[list[Range]]] = {}
    for func in funcs:
        known = dict(ranges)
        for number, param in enumerate(func.params):
            if param.hint not in ranges and func.name in called:
                calls = [args[number] for args in called[func.name]]
                known[param.hint] = (min(a for a, _ in calls), max(b for _, b in calls))
        analysis = BoundsAnalysis(func, known, by_name)
        for callee, args in analysis.calls.items():
            called.setdefault(callee, []).append(args)
        unproven += [_judge(func, finding) for finding in analysis.findings]
    return unproven


def _judge(func: Func, finding: Finding) -> Unproven:
    text = print_stmt(func, finding.stmt)
    if finding.outside:
        raise VerifyError(f"{func.name}: `{text}` {finding.message}")
    return Unproven(func.name, finding.stmt, text, finding.message)


class _Rules:
    """One function: which values are visible, and the rule of each statement."""

    def __init__(self, func: Func, program: Mapping[str, Func]) -> None:
        self._func = func
        self._program = program
        self._defined: set[Value] = set()
        self._visible: set[Value] = set()

    def check(self) -> None:
        """Raise on the first broken rule."""
        if not _NAME.fullmatch(self._func.name):
            raise VerifyError(f"{self._func.name!r}: a function's name cannot be printed")
        for param in self._func.params:
            if isinstance(param.type, Type) and param.type != INDEX:
                raise VerifyError(
                    f"{self._func.name}: parameter {param.hint!r} is neither a buffer nor an index"
                )
            self._define(param, None)
        self._body(self._func.body, nested=False)

    def _fail(self, stmt: Stmt | None, message: str) -> VerifyError:
        place = f"`{print_stmt(self._func, stmt)}`: " if stmt is not None else ""
        return VerifyError(f"{self._func.name}: {place}{message}")

    def _define(self, value: Value, stmt: Stmt | None) -> None:
        if value in self._defined:
            raise self._fail(stmt, f"the value {value.hint!r} is defined twice")
        self._defined.add(value)
        self._visible.add(value)

    def _use(self, stmt: Stmt, *operands: Index) -> None:
        for operand in operands:
            if isinstance(operand, Value) and operand not in self._visible:
                where = "outside of the body that defines it" if operand in self._defined else ""
                raise self._fail(stmt, f"uses {operand.hint!r} {where or 'before it is defined'}")

    def _want(self, stmt: Stmt, holds: bool, message: str) -> None:
        if not holds:
            raise self._fail(stmt, message)

    def _index(self, stmt: Stmt, *operands: Index) -> None:
        self._use(stmt, *operands)
        for operand in operands:
            self._want(stmt, type_of(operand) == INDEX, f"needs an index, got {type_of(operand)}")

    def _buffer(self, stmt: Stmt, value: Value) -> BufferType:
        self._use(stmt, value)
        if not isinstance(value.type, BufferType):
            raise self._fail(stmt, f"needs a buffer, got {value.type}")
        return value.type

    # -- statements --------------------------------------------------------------------------------

    def _body(self, body: Sequence[Stmt], *, nested: bool) -> None:
        for stmt in body:
            match stmt:
                case Load() | Store():
                    self._memory(stmt)
                case Alloc():
                    self._alloc(stmt)
                case View():
                    self._view(stmt)
                case Prefetch(buffer, index):
                    self._buffer(stmt, buffer)
                    self._index(stmt, index)
                case For():
                    self._for(stmt)
                case If():
                    self._if(stmt)
                case Call():
                    self._call(stmt)
                case Barrier():
                    straight = not nested and self._func.name == MAIN
                    self._want(stmt, straight, f"stands only in the straight line of {MAIN!r}")
                case _:
                    operands, broken = arithmetic_rule(stmt)
                    self._use(stmt, *operands)
                    self._want(stmt, not broken, broken)
                    self._define(stmt.out, stmt)

    def _inner(self, body: Sequence[Stmt], values: Sequence[Value], stmt: Stmt) -> set[Value]:
        """Check a nested body; gives what was visible before it."""
        before = set(self._visible)
        for value in values:
            self._define(value, stmt)
        self._body(body, nested=True)
        return before

    def _memory(self, stmt: Load | Store) -> None:
        buffer = self._buffer(stmt, stmt.buffer)
        self._index(stmt, stmt.index)
        value = stmt.out if isinstance(stmt, Load) else stmt.value
        if isinstance(stmt, Store):
            self._use(stmt, value)
            self._want(stmt, buffer.writable, "the buffer is not writable")
        if not isinstance(value.type, Type) or value.type.kind is not buffer.kind:
            raise self._fail(stmt, f"{value.type} does not fit a buffer of {buffer.kind.value}")
        if stmt.mask is not None:
            self._use(stmt, stmt.mask)
            wanted = Type(Kind.BOOL, value.type.lanes)
            self._want(stmt, stmt.mask.type == wanted, f"the mask must be {wanted}")
        if isinstance(stmt, Load):
            self._define(value, stmt)

    def _alloc(self, stmt: Alloc) -> None:
        type_ = stmt.out.type
        sized = isinstance(type_, BufferType) and type_.writable and (type_.extent or 0) > 0
        self._want(stmt, sized, "scratch is a writable buffer with an extent")
        self._define(stmt.out, stmt)

    def _view(self, stmt: View) -> None:
        base = self._buffer(stmt, stmt.buffer)
        self._index(stmt, stmt.index)
        out = stmt.out.type
        if not isinstance(out, BufferType):
            raise self._fail(stmt, f"a part of a buffer cannot be {out}")
        known = out.kind is base.kind or out.extent is not None
        self._want(stmt, known, f"a part of a buffer of {base.kind.value} as {out} needs an extent")
        self._want(stmt, base.writable or not out.writable, "the buffer is not writable")
        self._define(stmt.out, stmt)

    def _for(self, stmt: For) -> None:
        counts = {len(v) for v in (stmt.inits, stmt.carried, stmt.yields, stmt.results)}
        if len(counts) != 1:
            raise self._fail(None, f"the loop over {stmt.iv.hint!r} does not pair what it carries")
        self._index(stmt, stmt.lo, stmt.hi)
        self._use(stmt, *stmt.inits)
        self._want(stmt, stmt.step > 0, "the step must be positive")
        self._want(stmt, stmt.iv.type == INDEX, "the loop's variable must be an index")
        for values in zip(stmt.inits, stmt.carried, stmt.yields, stmt.results, strict=True):
            types = {value.type for value in values}
            same = len(types) == 1 and isinstance(values[0].type, Type)
            self._want(stmt, same, f"carries {values[1].hint!r} with differing types")
        before = self._inner(stmt.body, [stmt.iv, *stmt.carried], stmt)
        self._use(stmt, *stmt.yields)
        self._visible = before
        for result in stmt.results:
            self._define(result, stmt)

    def _if(self, stmt: If) -> None:
        self._use(stmt, stmt.cond)
        self._want(stmt, stmt.cond.type == Type(Kind.BOOL), "the condition must be a scalar bool")
        for body in sub_bodies(stmt):
            self._visible = self._inner(body, [], stmt)

    def _call(self, stmt: Call) -> None:
        callee = self._program.get(stmt.callee)
        if callee is None:
            raise self._fail(stmt, f"there is no function {stmt.callee!r}")
        self._use(stmt, *stmt.args)
        fits = len(stmt.args) == len(callee.params)
        self._want(stmt, fits, f"{stmt.callee!r} takes {len(callee.params)} arguments")
        for arg, param in zip(stmt.args, callee.params, strict=True):
            message = f"{type_of(arg)} does not fit parameter {param.hint!r}: {param.type}"
            self._want(stmt, _fits(type_of(arg), param.type), message)
        self._twice(stmt, callee)

    def _twice(self, stmt: Call, callee: Func) -> None:
        """A buffer given twice breaks the promise of a unique parameter that is written."""
        seen: dict[Value, BufferType] = {}
        for arg, param in zip(stmt.args, callee.params, strict=True):
            if not isinstance(arg, Value) or not isinstance(param.type, BufferType):
                continue
            other = seen.setdefault(arg, param.type)
            written = param.type.writable or other.writable
            promised = param.type.unique or other.unique
            clash = other is not param.type and written and promised
            self._want(stmt, not clash, f"gives {arg.hint!r} twice, though one is unique")


def _fits(arg: Type | BufferType, param: Type | BufferType) -> bool:
    if isinstance(arg, Type) or isinstance(param, Type):
        return arg == param
    return arg.kind is param.kind and (arg.writable or not param.writable)
