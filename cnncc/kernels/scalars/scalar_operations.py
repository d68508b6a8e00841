"""What arithmetic on scalars is built from: the plain operations of LoopIR, by name.

Heirs give the operations (those of `cnncc.loopir.nodes`) and the type of a value; what LoopIR
leaves undefined is guarded in `scalar_arithmetic`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.types import DType

V = TypeVar("V")  # values: of LoopIR or of NumPy

SIGNED = (DType.I64, DType.I32, DType.I16, DType.I8)
# Of truth values; there is no other arithmetic on them.
_ON_BOOLS = {"add": "or", "mul": "and", "max": "or", "min": "and"}
# Adding this to an f64 below 2^51 leaves the nearest whole number in its mantissa.
WIDE_ROUNDER = 1.5 * 2.0**52


def nearest(value: float, dtype: DType) -> float | int | bool:
    """The Python number nearest to `value` that `dtype` has; whole numbers halve to the even one.

    Raises:
        InternalError: NaN as a whole number.
    """
    if dtype is DType.BOOL:
        return bool(value)
    if dtype.is_float:
        return _nearest_float(value, dtype)
    if math.isnan(value):
        raise InternalError(f"NaN is no constant of type {dtype}")
    bits = 8 * dtype.size_bytes
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype in SIGNED else (0, (1 << bits) - 1)
    if low <= value <= high:
        return round(value)
    return high if value > high else low


def _nearest_float(value: float, dtype: DType) -> float:
    with np.errstate(over="ignore"):
        return float(dtype.numpy.type(value))


class ScalarOperations(ABC, Generic[V]):
    """The operations of `ScalarBuilder` that LoopIR has as they are."""

    # -- what heirs give ---------------------------------------------------------------------------

    @abstractmethod
    def dtype_of(self, a: V) -> DType:
        """The element type of a value."""

    @abstractmethod
    def const(self, value: float, dtype: DType = DType.F32) -> V:
        """The number of that type nearest to `value`."""

    @abstractmethod
    def select(self, cond: V, a: V, b: V) -> V:
        """`a` where `cond` holds, else `b`."""

    @abstractmethod
    def _unary(self, op: str, a: V) -> V:
        """`op` of LoopIR's `UNARY_OPS`."""

    @abstractmethod
    def _binary(self, op: str, a: V, b: V) -> V:
        """`op` of LoopIR's `BINARY_OPS`."""

    @abstractmethod
    def _compare(self, op: str, a: V, b: V) -> V:
        """`op` of LoopIR's `COMPARE_OPS`."""

    @abstractmethod
    def _fused(self, a: V, b: V, c: V) -> V:
        """a·b + c of floats."""

    @abstractmethod
    def _convert(self, a: V, dtype: DType) -> V:
        """LoopIR's `Convert`, which narrows nothing to f16 and widens it to f32 only."""

    @abstractmethod
    def _bits(self, a: V) -> V:
        """The bits of a float as the signed integer of its width."""

    @abstractmethod
    def _from_bits(self, a: V) -> V:
        """The float with the bits of a signed integer of its width."""

    @property
    def looks_up(self) -> bool:
        """Whether a lookup in a table of 32 numbers costs no more than a multiplication."""
        return False

    @abstractmethod
    def _lookup(self, table: tuple[float, ...], index: V) -> V:
        """The f32 of a table that the low bits of an i32 tell; asked only where it `looks_up`."""

    # -- arithmetic --------------------------------------------------------------------------------

    def add(self, a: V, b: V) -> V:
        """A + b; of truth values whether one holds."""
        return self._plain("add", a, b)

    def sub(self, a: V, b: V) -> V:
        """A - b."""
        return self._plain("sub", a, b)

    def mul(self, a: V, b: V) -> V:
        """a·b; of truth values whether both hold."""
        return self._plain("mul", a, b)

    def min(self, a: V, b: V) -> V:
        """The smaller; NaN if either is."""
        return self._plain("min", a, b)

    def max(self, a: V, b: V) -> V:
        """The larger; NaN if either is."""
        return self._plain("max", a, b)

    def fma(self, a: V, b: V, c: V) -> V:
        """a·b + c, of floats contracted where the target can."""
        if self.dtype_of(a).is_float:
            return self._fused(a, b, c)
        return self.add(self.mul(a, b), c)

    def _plain(self, op: str, a: V, b: V) -> V:
        if self.dtype_of(a) is not DType.BOOL:
            return self._binary(op, a, b)
        if op not in _ON_BOOLS:
            raise InternalError(f"`{op}` has no meaning on truth values")
        return self._binary(_ON_BOOLS[op], a, b)

    def nearest_whole(self, a: V) -> V:
        """The whole number nearest to an f64 of size below 2^51, in two additions."""
        rounder = self.const(WIDE_ROUNDER, DType.F64)
        return self.sub(self.add(a, rounder), rounder)

    def copysign(self, size: V, a: V) -> V:
        """A float with the sign of another, also where one is a zero."""
        bits, sign = self._bits(size), self._bits(a)
        dtype = self.dtype_of(bits)
        sign_bit = -(1 << 8 * dtype.size_bytes - 1)
        unsigned = self._binary("and", bits, self.const(~sign_bit, dtype))
        sign = self._binary("and", sign, self.const(sign_bit, dtype))
        return self._from_bits(self._binary("or", unsigned, sign))

    # -- unary -------------------------------------------------------------------------------------

    def neg(self, a: V) -> V:
        """-a."""
        return self._unary("neg", a)

    def abs(self, a: V) -> V:
        """|a|."""
        return self._unary("abs", a)

    def floor(self, a: V) -> V:
        """The largest whole number not above a float."""
        return self._unary("floor", a)

    def ceil(self, a: V) -> V:
        """The smallest whole number not below a float."""
        return self._unary("ceil", a)

    def trunc(self, a: V) -> V:
        """The whole part of a float."""
        return self._unary("trunc", a)

    def round_even(self, a: V) -> V:
        """The nearest whole number of a float, the even one of two."""
        return self._unary("round", a)

    def sqrt(self, a: V) -> V:
        """The square root of an f32 or f64, correctly rounded."""
        return self._unary("sqrt", a)

    # -- comparisons -------------------------------------------------------------------------------

    def lt(self, a: V, b: V) -> V:
        """A < b, false on NaN."""
        return self._compare("lt", a, b)

    def le(self, a: V, b: V) -> V:
        """A <= b, false on NaN."""
        return self._compare("le", a, b)

    def gt(self, a: V, b: V) -> V:
        """A > b, false on NaN."""
        return self._compare("gt", a, b)

    def ge(self, a: V, b: V) -> V:
        """A >= b, false on NaN."""
        return self._compare("ge", a, b)

    def eq(self, a: V, b: V) -> V:
        """A == b, false on NaN; also of truth values."""
        return self._compare("eq", a, b)

    def ne(self, a: V, b: V) -> V:
        """A != b, true on NaN; also of truth values."""
        return self._compare("ne", a, b)

    # -- bits --------------------------------------------------------------------------------------

    def bit_and(self, a: V, b: V) -> V:
        """Of truth values the conjunction, of whole numbers bit by bit."""
        return self._binary("and", a, b)

    def bit_or(self, a: V, b: V) -> V:
        """Of truth values the disjunction, of whole numbers bit by bit."""
        return self._binary("or", a, b)

    def bit_xor(self, a: V, b: V) -> V:
        """Of truth values whether they differ, of whole numbers bit by bit."""
        return self._binary("xor", a, b)

    def bit_not(self, a: V) -> V:
        """Of truth values the negation, of whole numbers bit by bit."""
        return self._unary("not", a)
