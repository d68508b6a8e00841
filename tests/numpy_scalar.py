"""A `ScalarBuilder` on NumPy arrays and numbers: runs scalar rules without a compiler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cnncc.ir.types import DType


class NumpyScalar:
    """Evaluates each step at once: in the operands' own types, or all floats in float64.

    Functions beyond arithmetic are computed in float64, then rounded: half an ulp, where compiled
    code may take 4.
    """

    def __init__(self, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.dtype = dtype

    def const(self, value: float, dtype: DType = DType.F32) -> Any:
        exact = dtype.is_float and self.dtype is np.float64
        return np.float64(value) if exact else dtype.numpy.type(value)

    def dtype_of(self, a: Any) -> DType:
        return DType.of(np.asarray(a).dtype)

    @np.errstate(all="ignore")
    def add(self, a: Any, b: Any) -> Any:
        return np.add(*same(a, b))

    @np.errstate(all="ignore")
    def sub(self, a: Any, b: Any) -> Any:
        return np.subtract(*same(a, b))

    @np.errstate(all="ignore")
    def mul(self, a: Any, b: Any) -> Any:
        return np.multiply(*same(a, b))

    @np.errstate(all="ignore")
    def div(self, a: Any, b: Any) -> Any:
        a, b = same(a, b)
        if _kind(a) == "f":
            return a / b
        safe = np.where(b == 0, b.dtype.type(1), b)
        minus_one = (b == -1) if _kind(a) == "i" else np.zeros(b.shape, bool)
        quotient = a // np.where(minus_one, a.dtype.type(1), safe)
        rest = a - quotient * safe
        # NumPy rounds down; C rounds towards zero.
        quotient = quotient + ((rest != 0) & ((a < 0) != (safe < 0))).astype(a.dtype)
        quotient = np.where(minus_one, np.subtract(a.dtype.type(0), a), quotient)
        return np.where(b == 0, a.dtype.type(0), quotient).astype(a.dtype)

    @np.errstate(all="ignore")
    def rem(self, a: Any, b: Any) -> Any:
        a, b = same(a, b)
        if _kind(a) == "f":
            return np.fmod(a, b)
        zero = (b == 0) | (b == -1) if _kind(a) == "i" else b == 0
        return np.where(zero, a.dtype.type(0), np.fmod(a, np.where(zero, b.dtype.type(1), b)))

    @np.errstate(all="ignore")
    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.add(self.mul(a, b), c)

    @np.errstate(all="ignore")
    def min(self, a: Any, b: Any) -> Any:
        return np.minimum(*same(a, b))

    @np.errstate(all="ignore")
    def max(self, a: Any, b: Any) -> Any:
        return np.maximum(*same(a, b))

    @np.errstate(all="ignore")
    def neg(self, a: Any) -> Any:
        return np.negative(a)

    @np.errstate(all="ignore")
    def abs(self, a: Any) -> Any:
        return np.abs(a)

    def floor(self, a: Any) -> Any:
        return np.floor(floating(a))

    def ceil(self, a: Any) -> Any:
        return np.ceil(floating(a))

    def trunc(self, a: Any) -> Any:
        return np.trunc(floating(a))

    def round_even(self, a: Any) -> Any:
        return np.rint(floating(a))

    def lt(self, a: Any, b: Any) -> Any:
        return np.less(*same(a, b))

    def le(self, a: Any, b: Any) -> Any:
        return np.less_equal(*same(a, b))

    def gt(self, a: Any, b: Any) -> Any:
        return np.greater(*same(a, b))

    def ge(self, a: Any, b: Any) -> Any:
        return np.greater_equal(*same(a, b))

    def eq(self, a: Any, b: Any) -> Any:
        return np.equal(*same(a, b))

    def ne(self, a: Any, b: Any) -> Any:
        return np.not_equal(*same(a, b))

    def bit_and(self, a: Any, b: Any) -> Any:
        return np.bitwise_and(*same(a, b))

    def bit_or(self, a: Any, b: Any) -> Any:
        return np.bitwise_or(*same(a, b))

    def bit_xor(self, a: Any, b: Any) -> Any:
        return np.bitwise_xor(*same(a, b))

    def bit_not(self, a: Any) -> Any:
        return np.invert(a)

    @np.errstate(all="ignore")
    def shl(self, a: Any, b: Any) -> Any:
        a, b = same(a, b)
        width = a.dtype.itemsize * 8
        fits = (b >= 0) & (b < width)
        shifted = np.left_shift(a, np.where(fits, b, b.dtype.type(0)))
        return np.where(fits, shifted, a.dtype.type(0))

    @np.errstate(all="ignore")
    def shr(self, a: Any, b: Any) -> Any:
        a, b = same(a, b)
        last = b.dtype.type(a.dtype.itemsize * 8 - 1)
        fits = (b >= 0) & (b <= last)
        shifted = np.right_shift(a, np.where(fits, b, last))
        # Shifting by all but one bit leaves the sign of a signed number; unsigned ones vanish.
        return np.where(~fits & (a > 0), a.dtype.type(0), shifted)

    def select(self, cond: Any, a: Any, b: Any) -> Any:
        assert np.asarray(cond).dtype == np.bool_, "select wants a truth value"
        return np.where(cond, *same(a, b))

    @np.errstate(all="ignore")
    def cast(self, a: Any, dtype: DType) -> Any:
        a = np.asarray(a)
        if dtype is DType.BOOL:
            return a != 0
        if dtype.is_float:
            made = a.astype(dtype.numpy)
            return made.astype(np.float64) if self.dtype is np.float64 else made
        return saturated(a, dtype) if _kind(a) == "f" else a.astype(dtype.numpy)

    def exp(self, a: Any) -> Any:
        return self._rounded(np.exp, a)

    def log(self, a: Any) -> Any:
        return self._rounded(np.log, a)

    def tanh(self, a: Any) -> Any:
        return self._rounded(np.tanh, a)

    def sigmoid(self, a: Any) -> Any:
        return self._rounded(lambda x: 1 / (1 + np.exp(-x)), a)

    def silu(self, a: Any) -> Any:
        return self._rounded(lambda x: x / (1 + np.exp(-x)), a)

    def sqrt(self, a: Any) -> Any:
        return self._rounded(np.sqrt, a)

    def erf(self, a: Any) -> Any:
        return self._rounded(np.vectorize(math.erf, otypes=[np.float64]), a)

    @np.errstate(all="ignore")
    def pow(self, a: Any, b: Any) -> Any:
        a, b = same(floating(a), floating(b))
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(a.dtype)

    def sin(self, a: Any) -> Any:
        return self._rounded(np.sin, a)

    def cos(self, a: Any) -> Any:
        return self._rounded(np.cos, a)

    def tan(self, a: Any) -> Any:
        return self._rounded(np.tan, a)

    def asin(self, a: Any) -> Any:
        return self._rounded(np.arcsin, a)

    def acos(self, a: Any) -> Any:
        return self._rounded(np.arccos, a)

    def atan(self, a: Any) -> Any:
        return self._rounded(np.arctan, a)

    def sinh(self, a: Any) -> Any:
        return self._rounded(np.sinh, a)

    def cosh(self, a: Any) -> Any:
        return self._rounded(np.cosh, a)

    def asinh(self, a: Any) -> Any:
        return self._rounded(np.arcsinh, a)

    def acosh(self, a: Any) -> Any:
        return self._rounded(np.arccosh, a)

    def atanh(self, a: Any) -> Any:
        return self._rounded(np.arctanh, a)

    @np.errstate(all="ignore")
    def _rounded(self, function: Callable[[Any], Any], a: Any) -> Any:
        a = floating(a)
        return np.asarray(function(a.astype(np.float64))).astype(a.dtype)


def same(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands of one element type, as arrays."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype, f"operands of {a.dtype} and {b.dtype}"
    return a, b


def floating(a: Any) -> Any:
    """An operand that has to be a float, as an array."""
    a = np.asarray(a)
    assert a.dtype.kind == "f", f"a function of floats on {a.dtype}"
    return a


@np.errstate(all="ignore")
def saturated(a: Any, dtype: DType) -> Any:
    """Floats as whole numbers: truncated, clipped to the range of the type, NaN as 0."""
    limits = np.iinfo(dtype.numpy)
    whole = np.trunc(a.astype(np.float64))
    inside = (whole > float(limits.min)) & (whole < float(limits.max))
    made = np.where(inside, whole, 0).astype(dtype.numpy)
    made = np.where(whole >= float(limits.max), dtype.numpy.type(limits.max), made)
    return np.where(whole <= float(limits.min), dtype.numpy.type(limits.min), made)


def _kind(a: Any) -> str:
    return str(a.dtype.kind)
