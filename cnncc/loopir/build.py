"""Building LoopIR: one method a node, with index arithmetic folded as it is written.

Index operands may be Python integers; sums and products of integers never become statements, so a
kernel template can be written in general and still come out specialised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from cnncc.errors import InternalError
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

INDEX = Type(Kind.INDEX)
F32 = Type(Kind.F32)


@cache
def _number(kind: Kind, lanes: int = 1) -> Type:
    """The type, always the same object: there are few, and a value has one."""
    return Type(kind, lanes)


def vector(lanes: int, kind: Kind = Kind.F32) -> Type:
    """The type of `lanes` elements."""
    return _number(kind, lanes)


class Loop:
    """A loop under construction: its variable, the carried values, and after it the results."""

    def __init__(self, node: For) -> None:
        self._node = node

    @property
    def iv(self) -> Value:
        """The loop's variable."""
        return self._node.iv

    @property
    def carried(self) -> list[Value]:
        """The carried values as this turn finds them."""
        return list(self._node.carried)

    def yields(self, values: Sequence[Value]) -> None:
        """What this turn hands on; once a loop, at the end of its body."""
        if len(values) != len(self._node.carried):
            raise InternalError("a loop must yield one value for each that it carries")
        self._node.yields = list(values)

    @property
    def results(self) -> list[Value]:
        """The carried values after the last turn."""
        return list(self._node.results)


class Builder:
    """Appends statements to a function, or to the innermost open body."""

    def __init__(self, name: str) -> None:
        self.func = Func(name, [])
        self._bodies: list[list[Stmt]] = [self.func.body]

    # -- parameters and structure ------------------------------------------------------------------

    def buffer(
        self,
        hint: str,
        kind: Kind = Kind.F32,
        extent: int | None = None,
        *,
        writable: bool = False,
        unique: bool = True,
    ) -> Value:
        """A buffer parameter."""
        return self._param(BufferType(kind, extent, writable, unique), hint)

    def index_param(self, hint: str) -> Value:
        """An index parameter: an extent or offset that is known at run time only."""
        return self._param(INDEX, hint)

    def _param(self, type_: Type | BufferType, hint: str) -> Value:
        value = Value(type_, hint)
        self.func.params.append(value)
        return value

    @contextmanager
    def loop(
        self, lo: Index, hi: Index, step: int = 1, carry: Sequence[Value] = (), hint: str = "i"
    ) -> Iterator[Loop]:
        """`for hint in range(lo, hi, step)`, carrying the values of `carry`."""
        node = For(
            Value(INDEX, hint),
            lo,
            hi,
            step,
            inits=list(carry),
            carried=[Value(v.type, v.hint) for v in carry],
            results=[Value(v.type, v.hint) for v in carry],
        )
        self._emit(node)
        self._bodies.append(node.body)
        yield Loop(node)
        self._bodies.pop()
        if len(node.yields) != len(node.carried):
            raise InternalError("a loop with carried values was left without `yields`")

    @contextmanager
    def when(self, cond: Value) -> Iterator[None]:
        """The statements of the block run where the scalar `cond` holds."""
        node = If(cond)
        self._emit(node)
        self._bodies.append(node.then)
        yield
        self._bodies.pop()

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """The other branch of the `when` just before."""
        node = self._bodies[-1][-1]
        if not isinstance(node, If):
            raise InternalError("`otherwise` must follow `when`")
        self._bodies.append(node.orelse)
        yield
        self._bodies.pop()

    def _emit(self, stmt: Stmt) -> None:
        self._bodies[-1].append(stmt)

    def _new(self, type_: Type | BufferType, hint: str = "") -> Value:
        return Value(type_, hint)

    # -- constants and arithmetic ------------------------------------------------------------------

    def const(
        self, value: float | bool | tuple[float | int | bool, ...], type_: Type = F32
    ) -> Value:
        """A literal of the given type; a tuple gives each lane."""
        out = self._new(type_)
        self._emit(Const(out, value))
        return out

    def unary(self, op: str, a: Value) -> Value:
        """`op` of `UNARY_OPS`."""
        out = self._new(a.type)
        self._emit(Unary(out, op, a))
        return out

    def binary(self, op: str, a: Index, b: Index) -> Value:
        """`op` of `BINARY_OPS` without folding."""
        typed = a if isinstance(a, Value) else b
        out = self._new(typed.type if isinstance(typed, Value) else INDEX)
        self._emit(Binary(out, op, a, b))
        return out

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """`a*b + c`."""
        out = self._new(c.type)
        self._emit(Fma(out, a, b, c))
        return out

    def compare(self, op: str, a: Index, b: Index) -> Value:
        """`op` of `COMPARE_OPS`; bool lanes."""
        typed = a if isinstance(a, Value) else b
        lanes = _scalar_type(typed).lanes if isinstance(typed, Value) else 1
        out = self._new(_number(Kind.BOOL, lanes))
        self._emit(Compare(out, op, a, b))
        return out

    def select(self, cond: Value, a: Index, b: Index) -> Value:
        """`a` where `cond` holds, else `b`."""
        typed = a if isinstance(a, Value) else b
        out = self._new(typed.type if isinstance(typed, Value) else INDEX)
        self._emit(Select(out, cond, a, b))
        return out

    def convert(self, a: Index, kind: Kind) -> Value:
        """The number `a` in another kind, lane by lane."""
        lanes = _scalar_type(a).lanes if isinstance(a, Value) else 1
        out = self._new(_number(kind, lanes))
        self._emit(Convert(out, a))
        return out

    def bitcast(self, a: Value, kind: Kind) -> Value:
        """The bits of `a` in another kind of the same width."""
        out = self._new(_number(kind, _scalar_type(a).lanes))
        self._emit(Bitcast(out, a))
        return out

    def splat(self, a: Value, lanes: int) -> Value:
        """The scalar `a` in every lane."""
        if lanes == 1:
            return a
        out = self._new(_number(_scalar_type(a).kind, lanes))
        self._emit(Splat(out, a))
        return out

    def shuffle(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        """Lanes picked from `a` followed by `b`."""
        out = self._new(_number(_scalar_type(a).kind, len(lanes)))
        self._emit(Shuffle(out, a, b, tuple(lanes)))
        return out

    def lookup(self, a: Value, b: Value, index: Value) -> Value:
        """Lanes of `a` followed by `b`, picked by the low bits of `index` (i32)."""
        out = self._new(_scalar_type(a))
        self._emit(Lookup(out, a, b, index))
        return out

    def extract(self, a: Value, lane: int) -> Value:
        """One lane as a scalar."""
        if _scalar_type(a).lanes == 1:
            return a
        out = self._new(_number(_scalar_type(a).kind))
        self._emit(Extract(out, a, lane))
        return out

    # -- memory ------------------------------------------------------------------------------------

    def load(
        self,
        buffer: Value,
        index: Index,
        lanes: int = 1,
        *,
        offset: int = 0,
        mask: Value | None = None,
    ) -> Value:
        """`lanes` consecutive elements from `index + offset` on."""
        out = self._new(_number(_buffer_type(buffer).kind, lanes))
        self._emit(Load(out, buffer, index, offset, mask))
        return out

    def load_splat(self, buffer: Value, index: Index, lanes: int, *, offset: int = 0) -> Value:
        """One element in every lane."""
        return self.splat(self.load(buffer, index, offset=offset), lanes)

    def store(
        self,
        buffer: Value,
        index: Index,
        value: Value,
        *,
        offset: int = 0,
        mask: Value | None = None,
    ) -> None:
        """Write `value` from element `index + offset` on."""
        self._emit(Store(buffer, index, value, offset, mask))

    def alloc(self, extent: int, kind: Kind = Kind.F32, hint: str = "scratch") -> Value:
        """A scratch buffer of this call."""
        out = self._new(BufferType(kind, extent, writable=True), hint)
        self._emit(Alloc(out))
        return out

    def view(
        self,
        buffer: Value,
        index: Index,
        extent: int | None = None,
        *,
        kind: Kind | None = None,
    ) -> Value:
        """The part of `buffer` that starts at `index`, as `extent` elements of `kind`.

        `index` counts elements of `buffer`; a part of another kind needs an extent.
        """
        base = _buffer_type(buffer)
        out = self._new(
            BufferType(kind or base.kind, extent, base.writable, base.unique), buffer.hint
        )
        self._emit(View(out, buffer, index))
        return out

    def prefetch(self, buffer: Value, index: Index, *, offset: int = 0) -> None:
        """Bring a cache line into the second level of cache."""
        self._emit(Prefetch(buffer, index, offset))

    def call(self, callee: str, args: Sequence[Index]) -> None:
        """Call another function of the program."""
        self._emit(Call(callee, list(args)))

    def barrier(self) -> None:
        """Wait for all threads."""
        self._emit(Barrier())

    # -- index arithmetic, folded ------------------------------------------------------------------

    def iadd(self, *terms: Index) -> Index:
        """The sum of index terms."""
        known = sum(t for t in terms if isinstance(t, int))
        total: Index | None = None
        for term in terms:
            if isinstance(term, Value):
                total = term if total is None else self.binary("add", total, term)
        if total is None:
            return known
        return total if known == 0 else self.binary("add", total, known)

    def isub(self, a: Index, b: Index) -> Index:
        """`a - b`."""
        if isinstance(b, int):
            return self.iadd(a, -b)
        return self.binary("sub", a, b)

    def imul(self, a: Index, b: Index) -> Index:
        """`a * b`."""
        if isinstance(a, int):
            a, b = b, a
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if isinstance(b, int) and b in (0, 1):
            return a if b else 0
        return self.binary("mul", a, b)

    def idiv(self, a: Index, b: Index) -> Index:
        """`a // b` of non-negative numbers."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        return a if isinstance(b, int) and b == 1 else self.binary("div", a, b)

    def irem(self, a: Index, b: Index) -> Index:
        """`a % b` of non-negative numbers."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        return 0 if isinstance(b, int) and b == 1 else self.binary("rem", a, b)

    def imin(self, a: Index, b: Index) -> Index:
        """The smaller of two index values."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.binary("min", a, b)

    def imax(self, a: Index, b: Index) -> Index:
        """The larger of two index values."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return self.binary("max", a, b)


def _scalar_type(value: Value) -> Type:
    if not isinstance(value.type, Type):
        raise InternalError("a buffer was used as a number")
    return value.type


def _buffer_type(value: Value) -> BufferType:
    if not isinstance(value.type, BufferType):
        raise InternalError("a number was used as a buffer")
    return value.type
