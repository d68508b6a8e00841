"""LoopIR on two screens: loop nests over buffers, with vectors in registers.

A function is a list of statements. Most define one `Value` (single assignment); `For`, `If` and
`Func` hold nested bodies. Accumulators live in registers: a `For` carries values from turn to turn.
An index operand may be a plain `int`; every other operand is a `Value`.

Address of a `Load` or `Store`: element `index + offset` of the buffer, where `offset` is a constant
that ends up in the instruction's displacement. Vectors read and write `lanes` consecutive elements.

Semantics that are not obvious:
    * `Binary` max and min on floats hand on NaN and, of two zeros, may give either.
    * `rem` is for integers: of floats it would be a call of the C library.
    * `round` gives the nearest whole number, of two the even one.
    * `Compare` on floats is ordered (false on NaN), but `ne` is true on NaN.
    * Integers wrap around, but a scalar index that leaves 64 bits is undefined.
    * `Fma` is `a*b + c` of floats: contracted where the target has the instruction, else rounded
      twice.
    * `div`, `rem` and `shr`: index operands are non-negative; division of signed integers truncates
      towards zero, and their `shr` is arithmetic.
    * `Convert` float -> integer truncates towards zero and saturates; NaN gives 0.
      To bool it asks whether a number is not zero; from integer to integer it wraps around; a float
      gets the nearest number of its kind.
    * Shifts by the width or more, division by zero and quotients that do not fit are undefined.
    * A bool in memory is a byte, which is 0 or 1 when written and holds when it is not 0.
    * masked-off lanes of a `Load` are not read and give 0; those of a `Store` are not written.
    * `Barrier`: all threads of the program arrive before any goes on; only in a program's `main`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """Element kinds.

    `INDEX` is a signed 64-bit integer for addresses and counts; `I64` is one that wraps around.
    `F16` is a kind of storage: such elements are loaded, stored, moved between lanes and converted
    to f32, or made from bits, never computed with.
    """

    F64 = "f64"
    F32 = "f32"
    F16 = "f16"
    I64 = "i64"
    I32 = "i32"
    I16 = "i16"
    I8 = "i8"
    U64 = "u64"
    U32 = "u32"
    U16 = "u16"
    U8 = "u8"
    BOOL = "bool"
    INDEX = "index"

    # That of `Enum` hashes the name anew each time, in Python: types are looked up all the time.
    __hash__ = object.__hash__

    @property
    def bits(self) -> int:
        """The width of an element in a register."""
        return _BITS[self]

    @property
    def size_bytes(self) -> int:
        """Bytes of an element in memory."""
        return -(-_BITS[self] // 8)

    @property
    def is_float(self) -> bool:
        """Whether there is floating-point arithmetic on such elements."""
        return self is Kind.F32 or self is Kind.F64

    @property
    def is_unsigned(self) -> bool:
        """Whether such elements are never negative."""
        return self in _UNSIGNED


_BITS = {Kind.BOOL: 1, Kind.INDEX: 64}
_BITS |= {kind: int(kind.value[1:]) for kind in Kind if kind not in _BITS}
_UNSIGNED = frozenset({Kind.U64, Kind.U32, Kind.U16, Kind.U8, Kind.BOOL})


@dataclass(frozen=True, slots=True)
class Type:
    """A scalar (`lanes == 1`) or a vector of `lanes` elements."""

    kind: Kind
    lanes: int = 1

    def __str__(self) -> str:
        return self.kind.value if self.lanes == 1 else f"{self.kind.value}x{self.lanes}"


@dataclass(frozen=True, slots=True)
class BufferType:
    """A pointer to `extent` elements (`None`: not known).

    `unique` promises that no other buffer of the function overlaps it, so loads and stores of other
    buffers may move across its own.
    """

    kind: Kind
    extent: int | None = None
    writable: bool = False
    unique: bool = True

    def __str__(self) -> str:
        size = "?" if self.extent is None else str(self.extent)
        marks = ("!" if self.writable else "") + ("" if self.unique else "~")
        return f"{self.kind.value}[{size}]{marks}"


@dataclass(slots=True, eq=False)
class Value:
    """The result of a statement, a loop's variable or a parameter. Identity is the object."""

    type: Type | BufferType
    hint: str = ""


Index = Value | int
MAIN = "main"
UNARY_OPS = ("neg", "abs", "sqrt", "floor", "ceil", "trunc", "round", "not")
BINARY_OPS = ("add", "sub", "mul", "div", "rem", "min", "max", "and", "or", "xor", "shl", "shr")
COMPARE_OPS = ("lt", "le", "gt", "ge", "eq", "ne")


@dataclass(slots=True, eq=False)
class Const:
    """A literal; a tuple gives each lane, a single number fills all."""

    out: Value
    value: float | int | bool | tuple[float | int | bool, ...]


@dataclass(slots=True, eq=False)
class Unary:
    """`op` of `UNARY_OPS` on every lane."""

    out: Value
    op: str
    a: Value


@dataclass(slots=True, eq=False)
class Binary:
    """`op` of `BINARY_OPS` on every lane."""

    out: Value
    op: str
    a: Index
    b: Index


@dataclass(slots=True, eq=False)
class Fma:
    """`a*b + c` on every lane."""

    out: Value
    a: Value
    b: Value
    c: Value


@dataclass(slots=True, eq=False)
class Compare:
    """`op` of `COMPARE_OPS` on every lane; gives bool lanes."""

    out: Value
    op: str
    a: Index
    b: Index


@dataclass(slots=True, eq=False)
class Select:
    """`a` where `cond` holds, else `b`; `cond` has as many lanes as `a`, or one."""

    out: Value
    cond: Value
    a: Index
    b: Index


@dataclass(slots=True, eq=False)
class Convert:
    """The number `a` in the kind of `out`."""

    out: Value
    a: Index


@dataclass(slots=True, eq=False)
class Bitcast:
    """The bits of a float as the signed integer of its width, or the other way round."""

    out: Value
    a: Value


@dataclass(slots=True, eq=False)
class Splat:
    """The scalar `a` in every lane."""

    out: Value
    a: Index


@dataclass(slots=True, eq=False)
class Shuffle:
    """Lane `i` of the result is lane `lanes[i]` of `a` followed by `b`."""

    out: Value
    a: Value
    b: Value
    lanes: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Lookup:
    """Lane `i` of the result is lane `index[i]` of `a` followed by `b`.

    All four have as many lanes, a power of two; of an index the bits that number 2·lanes count.
    """

    out: Value
    a: Value
    b: Value
    index: Value


@dataclass(slots=True, eq=False)
class Extract:
    """Lane `lane` of `a` as a scalar."""

    out: Value
    a: Value
    lane: int


@dataclass(slots=True, eq=False)
class Load:
    """Elements from `index + offset` on; `mask` (bool lanes) leaves lanes out."""

    out: Value
    buffer: Value
    index: Index
    offset: int = 0
    mask: Value | None = None


@dataclass(slots=True, eq=False)
class Store:
    """Write `value` from element `index + offset` on; `mask` leaves lanes out."""

    buffer: Value
    index: Index
    value: Value
    offset: int = 0
    mask: Value | None = None


@dataclass(slots=True, eq=False)
class Alloc:
    """A scratch buffer of this call (its type has an extent); aligned to 64 bytes, not cleared."""

    out: Value


@dataclass(slots=True, eq=False)
class View:
    """The part of a buffer that starts at `index`, as a buffer of its own.

    `index` counts elements of the buffer. The elements of the part may be of another kind; then it
    has an extent, and its first byte lies, counted from the buffer's, at a multiple of their size.
    The outermost buffer begins at a multiple of that too.
    """

    out: Value
    buffer: Value
    index: Index


@dataclass(slots=True, eq=False)
class For:
    """`for iv in range(lo, hi, step)`; `step > 0`.

    `inits` are the carried values before the first turn, `carried` their names inside the body,
    `yields` what a turn hands to the next, `results` what is left after the last.
    """

    iv: Value
    lo: Index
    hi: Index
    step: int
    body: list[Stmt] = field(default_factory=list)
    inits: list[Value] = field(default_factory=list)
    carried: list[Value] = field(default_factory=list)
    yields: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class If:
    """Run `then` where the scalar `cond` holds, else `orelse`. Defines nothing outside."""

    cond: Value
    then: list[Stmt] = field(default_factory=list)
    orelse: list[Stmt] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Call:
    """Call another function of the program; arguments match its parameters one to one."""

    callee: str
    args: list[Index]


@dataclass(slots=True, eq=False)
class Barrier:
    """Wait for all threads."""


@dataclass(slots=True, eq=False)
class Prefetch:
    """Bring the cache line of an element into the second level of cache; never faults."""

    buffer: Value
    index: Index
    offset: int = 0


Stmt = (
    Const | Unary | Binary | Fma | Compare | Select | Convert | Bitcast | Splat | Shuffle | Lookup
    | Extract | Load | Store | Alloc | View | For | If | Call | Barrier | Prefetch
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Func:
    """A function: parameters are buffers and index scalars; nothing is returned."""

    name: str
    params: list[Value]
    body: list[Stmt] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Program:
    """Functions that call one another; `main`, if there is one, is the last.

    `main` takes the buffers of the network, then `thread` and `threads` (index). It is a
    straight line: calls, index arithmetic on `thread` and `threads`, and barriers.
    """

    funcs: list[Func]

    def func(self, name: str) -> Func:
        """The function of that name."""
        return next(f for f in self.funcs if f.name == name)


def sub_bodies(stmt: Stmt) -> Sequence[list[Stmt]]:
    """The nested bodies of a statement, empty for most."""
    match stmt:
        case For():
            return (stmt.body,)
        case If():
            return (stmt.then, stmt.orelse)
        case _:
            return ()
