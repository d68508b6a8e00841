"""What LoopIR's arithmetic means, in NumPy: one function per operation and type.

A scalar of kind index is a Python integer kept within 64 bits, a bool a Python bool, any other
scalar a NumPy scalar of its own dtype; a vector is an array of `lanes` elements. Integers wrap
around. What LoopIR leaves undefined (a zero divisor, a shift by the width, a scalar index beyond 64
bits) raises `InterpError`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.errors import InternalError
from cnncc.loopir.nodes import Kind, Type

Array = npt.NDArray[Any]
Operation = Callable[..., Any]

DTYPES: dict[Kind, np.dtype[Any]] = {
    Kind.F64: np.dtype(np.float64),
    Kind.F32: np.dtype(np.float32),
    Kind.F16: np.dtype(np.float16),
    Kind.I64: np.dtype(np.int64),
    Kind.I32: np.dtype(np.int32),
    Kind.I16: np.dtype(np.int16),
    Kind.I8: np.dtype(np.int8),
    Kind.U64: np.dtype(np.uint64),
    Kind.U32: np.dtype(np.uint32),
    Kind.U16: np.dtype(np.uint16),
    Kind.U8: np.dtype(np.uint8),
    Kind.BOOL: np.dtype(np.bool_),
    Kind.INDEX: np.dtype(np.int64),
}
FROM_ELEMENT: dict[Kind, Operation] = {
    kind: {Kind.BOOL: bool, Kind.INDEX: int}.get(kind, dtype.type) for kind, dtype in DTYPES.items()
}

_SIGN = 1 << 63


class InterpError(InternalError):
    """LoopIR did something undefined: out of bounds, unwritten scratch, a zero divisor."""


def checked(value: int, op: str) -> int:
    """An index that fits 64 bits; beyond, generated code is undefined."""
    if -_SIGN <= value < _SIGN:
        return value
    raise InterpError(f"index overflow in {op}: {value}")


def constant(value: Any, type_: Type) -> Any:
    """A literal as a value of `type_`; arrays are read-only."""
    if type_.lanes == 1:
        return FROM_ELEMENT[type_.kind](value[0] if isinstance(value, tuple) else value)
    lanes = np.empty(type_.lanes, DTYPES[type_.kind])
    lanes[:] = np.array(value, DTYPES[type_.kind])
    lanes.setflags(write=False)
    return lanes


def unary(op: str, type_: Type) -> Operation:
    """`op` of `UNARY_OPS` on values of `type_`."""
    if op == "not":
        return operator.not_ if type_ == Type(Kind.BOOL) else operator.invert
    plain = _UNARY[op]
    return (lambda a: checked(plain(a), op)) if type_ == Type(Kind.INDEX) else plain


def binary(op: str, type_: Type, place: str) -> Operation:
    """`op` of `BINARY_OPS` on values of `type_`; errors begin with `place`."""
    if not type_.kind.is_float:
        if op in ("div", "rem"):
            return _division(op, type_, place)
        if op in ("shl", "shr"):
            return _shift(op, type_, place)
    if type_ == Type(Kind.INDEX):
        return _INDEX_BINARY[op]
    return _BINARY[op]


def compare(op: str) -> Operation:
    """`op` of `COMPARE_OPS`: ordered, but `ne` is true on NaN."""
    return _COMPARE[op]


def fma(type_: Type) -> Operation:
    """`a*b + c`: of f32 in float64, where the product is exact; of f64 rounded twice."""
    if type_.kind is Kind.F64:
        return lambda a, b, c: a * b + c
    return _fma_scalar if type_.lanes == 1 else _fma_vector


def convert(source: Type, kind: Kind) -> Operation:
    """A number of type `source` in another kind; as bool, whether it is not zero."""
    saturates = source.kind.is_float and not (kind.is_float or kind is Kind.BOOL)
    lanewise = _saturating(kind) if saturates else _casting(kind)
    if source.lanes > 1:
        return lanewise
    back, dtype = FROM_ELEMENT[kind], DTYPES[source.kind]
    return lambda a: back(lanewise(np.array([a], dtype))[0])


def bitcast(kind: Kind, lanes: int) -> Operation:
    """The bits of a value as `kind`, which is of the same width."""
    dtype = DTYPES[kind]
    if lanes > 1:
        return lambda a: a.view(dtype)
    return lambda a: np.array([a]).view(dtype)[0]


def select(cond: Type) -> Operation:
    """`a` where the condition holds, else `b`."""
    if cond.lanes > 1:
        return lambda chosen, a, b: np.where(chosen, a, b)
    return lambda chosen, a, b: a if chosen else b


def splat(type_: Type) -> Operation:
    """A scalar in every lane."""
    dtype, lanes = DTYPES[type_.kind], type_.lanes
    if lanes == 1:
        return lambda a: a

    def splat(a: Any) -> Array:
        value = np.empty(lanes, dtype)
        value.fill(a)
        return value

    return splat


def shuffle(kind: Kind, lanes: tuple[int, ...]) -> Operation:
    """Lanes picked from two values, one after the other."""
    if len(lanes) == 1:
        scalar, lane = FROM_ELEMENT[kind], lanes[0]
        return lambda a, b: scalar(np.hstack((a, b))[lane])
    picks, dtype = np.array(lanes), DTYPES[kind]
    return lambda a, b: np.hstack((a, b)).astype(dtype)[picks]


def lookup(a: Any, b: Any, index: Any) -> Any:
    """Lanes of two vectors, one after the other, picked by the low bits of an index."""
    return np.concatenate((a, b))[index & (2 * len(a) - 1)]


def extract(kind: Kind, lane: int) -> Operation:
    """One lane as a scalar."""
    scalar = FROM_ELEMENT[kind]
    return lambda a: scalar(a[lane] if isinstance(a, np.ndarray) else a)


def _fma_scalar(a: Any, b: Any, c: Any) -> Any:
    return np.float32(float(a) * float(b) + float(c))


def _fma_vector(a: Array, b: Array, c: Array) -> Array:
    wide = np.multiply(a, b, dtype=np.float64)
    wide += c
    return wide.astype(np.float32)


def _division(op: str, type_: Type, place: str) -> Operation:
    dtype = DTYPES[type_.kind]
    back = FROM_ELEMENT[type_.kind] if type_.lanes == 1 else dtype.type
    index = type_.kind is Kind.INDEX
    least = 0 if type_.kind.is_unsigned else int(np.iinfo(dtype).min)

    def quotient_or_rest(a: Any, b: Any) -> Any:
        x, y = np.asarray(a, dtype), np.asarray(b, dtype)
        if not y.all():
            raise InterpError(f"{place}: division by zero")
        if index and ((x < 0).any() or (y < 0).any()):
            raise InterpError(f"{place}: {op} of a negative index ({a} by {b})")
        if least and ((x == least) & (y == -1)).any():
            raise InterpError(f"{place}: the quotient of {a} by {b} does not fit")
        rest = np.fmod(x, y)  # of the sign of `x`, as truncation leaves it
        return back(rest if op == "rem" else (x - rest) // y)

    def quick(a: int, b: int) -> int:
        if a < 0 or b <= 0:
            raise InterpError(f"{place}: {op} of a negative index or by zero ({a} by {b})")
        return a // b if op == "div" else a % b

    return quick if type_ == Type(Kind.INDEX) else quotient_or_rest


def _shift(op: str, type_: Type, place: str) -> Operation:
    bits = 8 * DTYPES[type_.kind].itemsize
    back = FROM_ELEMENT[type_.kind] if type_.lanes == 1 else DTYPES[type_.kind].type
    left = op == "shl"

    def shift(a: Any, b: Any) -> Any:
        x, amount = np.asarray(a, DTYPES[type_.kind]), np.asarray(b, DTYPES[type_.kind])
        if (amount < 0).any() or (amount >= bits).any():
            raise InterpError(f"{place}: a shift by {b} of a {bits}-bit number")
        if not left and type_.kind is Kind.INDEX and (x < 0).any():
            raise InterpError(f"{place}: shr of a negative index ({a})")
        return back(np.left_shift(x, amount) if left else np.right_shift(x, amount))

    return shift


def _casting(kind: Kind) -> Operation:
    dtype = DTYPES[kind]
    return lambda a: a.astype(dtype)


def _saturating(kind: Kind) -> Operation:
    limits = np.iinfo(DTYPES[kind])
    low, high = float(limits.min), float(limits.max)

    def saturate(a: Array) -> Array:
        wide = np.trunc(a.astype(np.float64))
        inside = (wide > low) & (wide < high)
        result = np.where(inside, wide, 0.0).astype(limits.dtype)
        result[wide >= high] = limits.max
        result[wide <= low] = limits.min
        return result

    return saturate


_UNARY: dict[str, Operation] = {
    "neg": operator.neg,
    "abs": operator.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
}
_BINARY: dict[str, Operation] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "min": np.minimum,
    "max": np.maximum,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_INDEX_BINARY: dict[str, Operation] = {
    **_BINARY,
    "add": lambda a, b: checked(a + b, "add"),
    "sub": lambda a, b: checked(a - b, "sub"),
    "mul": lambda a, b: checked(a * b, "mul"),
    "min": lambda a, b: a if a < b else b,
    "max": lambda a, b: a if a > b else b,
}
_COMPARE: dict[str, Operation] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}
