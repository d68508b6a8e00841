"""Arithmetic for the operators' `scalar` rules: on LoopIR values, and on NumPy's.

`VectorScalars` emits what `scalar_arithmetic`, `elementary` and `elementary_wide` say,
`NumpyScalars` computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.kernels.scalars.elementary_wide import WideFunctions
from cnncc.kernels.scalars.scalar_operations import nearest
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Const, Kind, Type, Value
from cnncc.ops.fused import Step

_SAME_WIDTH = {
    DType.F32: DType.I32,
    DType.I32: DType.F32,
    DType.F64: DType.I64,
    DType.I64: DType.F64,
    DType.F16: DType.I16,
    DType.I16: DType.F16,
}
Rule = Callable[..., Any]
_LOOKUP_LANES = 16  # of AVX-512: two registers of them are looked up in by a third
SHORT = 12  # operations of steps that find room in registers beside the accumulators of a tile


class VectorScalars(WideFunctions[Value]):
    """`ScalarBuilder` on LoopIR vectors (scalars, for one lane) of every kind.

    Values are those of loads, of `const`, and of its own operations; all have `lanes` lanes.
    """

    def __init__(self, b: Builder, lanes: int) -> None:
        self._b = b
        self._lanes = lanes

    def dtype_of(self, a: Value) -> DType:
        """The element type that has the value's kind."""
        if not isinstance(a.type, Type) or a.type.kind is Kind.INDEX:
            raise InternalError(f"{a.type} is no element of a tensor")
        return DType[a.type.kind.name]

    def const(self, value: float, dtype: DType = DType.F32) -> Value:
        """The number of that type nearest to `value`, in every lane."""
        return self._b.const(nearest(value, dtype), Type(Kind[dtype.name], self._lanes))

    def select(self, cond: Value, a: Value, b: Value) -> Value:
        """`a` where `cond` holds, else `b`."""
        return self._b.select(cond, a, b)

    def _unary(self, op: str, a: Value) -> Value:
        return self._b.unary(op, a)

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        return self._b.binary(op, a, b)

    def _compare(self, op: str, a: Value, b: Value) -> Value:
        return self._b.compare(op, a, b)

    def _fused(self, a: Value, b: Value, c: Value) -> Value:
        return self._b.fma(a, b, c)

    def _convert(self, a: Value, dtype: DType) -> Value:
        return self._b.convert(a, Kind[dtype.name])

    def _bits(self, a: Value) -> Value:
        return self._b.bitcast(a, Kind[_SAME_WIDTH[self.dtype_of(a)].name])

    _from_bits = _bits

    @property
    def looks_up(self) -> bool:
        """Where lanes are those of the widest registers, which come with such an instruction."""
        return self._lanes == _LOOKUP_LANES

    def _lookup(self, table: tuple[float, ...], index: Value) -> Value:
        halves = Type(Kind.F32, self._lanes)
        low, high = table[: self._lanes], table[self._lanes :]
        return self._b.lookup(self._b.const(low, halves), self._b.const(high, halves), index)


@cache
def count_operations(steps: tuple[Step, ...], lanes: int) -> int:
    """Arithmetic operations of f32 steps on each vector, loads not counted."""
    probe = Builder("probe")
    scalars = VectorScalars(probe, lanes)
    for step in steps:
        operands = [scalars.const(0.0) for _ in step.args]
        lookup(step.op).scalar(scalars, operands, step.attrs)
    return sum(not isinstance(node, Const) for node in probe.func.body)


class NumpyScalars(WideFunctions[Any]):
    """`ScalarBuilder` on NumPy numbers or arrays: what the generated code computes."""

    def dtype_of(self, a: Any) -> DType:
        """The element type that has the value's memory format."""
        return DType.of(np.asarray(a).dtype)

    def const(self, value: float, dtype: DType = DType.F32) -> Any:
        """The number of that type nearest to `value`."""
        return dtype.numpy.type(nearest(value, dtype))

    def select(self, cond: Any, a: Any, b: Any) -> Any:
        """`a` where `cond` holds, else `b`."""
        return np.where(cond, *self._alike(a, b))

    @np.errstate(all="ignore")
    def _unary(self, op: str, a: Any) -> Any:
        return _UNARY[op](a)

    @np.errstate(all="ignore")
    def _binary(self, op: str, a: Any, b: Any) -> Any:
        if op == "div" and self.dtype_of(a).is_integer:
            return _quotient(*self._alike(a, b))
        return _BINARY[op](*self._alike(a, b))

    @np.errstate(all="ignore")
    def _compare(self, op: str, a: Any, b: Any) -> Any:
        return _COMPARE[op](*self._alike(a, b))

    @np.errstate(all="ignore")
    def _fused(self, a: Any, b: Any, c: Any) -> Any:
        """With the product of f32 exact."""
        dtype = self.dtype_of(c)
        wide = np.multiply(*self._alike(a, b), dtype=np.float64)
        return np.add(wide, c, dtype=np.float64).astype(dtype.numpy)

    @np.errstate(all="ignore")
    def _convert(self, a: Any, dtype: DType) -> Any:
        a = np.asarray(a)
        if self.dtype_of(a).is_float and dtype.is_integer:
            return _saturated(a, dtype)
        return (a != 0) if dtype is DType.BOOL else a.astype(dtype.numpy)

    def _bits(self, a: Any) -> Any:
        return np.asarray(a).view(_SAME_WIDTH[self.dtype_of(a)].numpy)

    _from_bits = _bits

    def _lookup(self, table: tuple[float, ...], index: Any) -> Any:
        return np.array(table, np.float32)[np.bitwise_and(index, len(table) - 1)]

    def _alike(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Both operands, which must have one type: NumPy would quietly find a common one."""
        if self.dtype_of(a) is not self.dtype_of(b):
            raise InternalError(f"operands of types {self.dtype_of(a)} and {self.dtype_of(b)}")
        return a, b


def _quotient(a: Any, b: Any) -> Any:
    """A / b of whole numbers, truncated."""
    return np.floor_divide(np.subtract(a, np.fmod(a, b)), b)


def _saturated(a: Any, dtype: DType) -> Any:
    """Floats as whole numbers, without NumPy's undefined casts."""
    memory: Any = dtype.numpy
    limits, convert = np.iinfo(memory), memory.type
    low, high = float(limits.min), float(limits.max)
    whole = np.trunc(a.astype(np.float64))
    inside = np.where((whole > low) & (whole < high), whole, 0.0).astype(memory)
    result = np.where(whole >= high, convert(limits.max), inside)
    return np.where(whole <= low, convert(limits.min), result)


_UNARY: dict[str, Rule] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "not": np.invert,
}
_BINARY: dict[str, Rule] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "rem": np.fmod,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
}
_COMPARE: dict[str, Rule] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
