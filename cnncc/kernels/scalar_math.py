"""Arithmetic for the operators' `scalar` rules: on LoopIR vectors, and on NumPy's float32.

Exponential, logarithm, hyperbolic tangent and sigmoid are written once, from operations that every
target has, so that no generated code calls a C library. Each is within 4 ulp of the exact value for
every f32 input; NaN gives NaN. `VectorScalars` emits them, `NumpyScalars` computes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Kind, Value

_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has 9 significant bits: its product with an exponent is exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.1219444005469057e-4
# Adding this to a small number leaves the nearest integer in the low bits of the mantissa.
_ROUNDER = 12582912.0  # 1.5 * 2^23
_ROUNDER_BITS = 0x4B400000
_EXP_LOW, _EXP_HIGH = -104.0, 89.0  # beyond them e^x is 0 or infinite in f32
_EXP_SERIES = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2)  # of (e^r - 1 - r) / r^2
_ATANH_SERIES = (1 / 9, 1 / 7, 1 / 5, 1 / 3)  # of (atanh(s)/s - 1) / s^2, in powers of s^2
_TANH_SMALL = 0.625
_SMALLEST_NORMAL = 2.0**-126
_SQRT_HALF_BITS = 0x3F3504F3
_MANTISSA_BITS = 23
_EXPONENT_BIAS = 127


class ElementaryFunctions(ABC):
    """exp, log, tanh and sigmoid from the arithmetic that heirs provide (`ScalarBuilder`)."""

    @abstractmethod
    def const(self, value: float) -> Any:
        """The f32 nearest to `value`."""

    @abstractmethod
    def add(self, a: Any, b: Any) -> Any:
        """A + b."""

    @abstractmethod
    def sub(self, a: Any, b: Any) -> Any:
        """A - b."""

    @abstractmethod
    def mul(self, a: Any, b: Any) -> Any:
        """a·b."""

    @abstractmethod
    def div(self, a: Any, b: Any) -> Any:
        """A / b."""

    @abstractmethod
    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c, rounded once or twice."""

    @abstractmethod
    def lt(self, a: Any, b: Any) -> Any:
        """A < b."""

    @abstractmethod
    def gt(self, a: Any, b: Any) -> Any:
        """A > b."""

    @abstractmethod
    def select(self, cond: Any, a: Any, b: Any) -> Any:
        """`a` where `cond` holds, else `b`."""

    @abstractmethod
    def _bits(self, a: Any) -> Any:
        """The bits of an f32 as an i32."""

    @abstractmethod
    def _from_bits(self, a: Any) -> Any:
        """The f32 with the bits of an i32."""

    @abstractmethod
    def _integer(self, op: str, a: Any, number: int) -> Any:
        """`a op number` on i32; `op` is add, shl or shr (arithmetic)."""

    @abstractmethod
    def _integer_sub(self, a: Any, b: Any) -> Any:
        """A - b on i32."""

    @abstractmethod
    def _to_float(self, a: Any) -> Any:
        """An i32 as the f32 of the same value."""

    def exp(self, a: Any) -> Any:
        """e^a = 2^n·e^r with n = round(a/ln 2), |r| <= ln(2)/2 (Cody and Waite's reduction).

        Overflow gives infinity; underflow passes through the subnormal numbers to 0.
        """
        low, high = self.const(_EXP_LOW), self.const(_EXP_HIGH)
        x = self.select(self.lt(high, a), high, a)
        x = self.select(self.lt(x, low), low, x)
        shifted = self.fma(x, self.const(_LOG2_E), self.const(_ROUNDER))
        n = self.sub(shifted, self.const(_ROUNDER))
        r = self.fma(n, self.const(-_LN2_HIGH), x)
        r = self.fma(n, self.const(-_LN2_LOW), r)
        series = self.fma(self._polynomial(_EXP_SERIES, r), self.mul(r, r), r)
        power = self.add(series, self.const(1.0))
        exponent = self._integer("add", self._bits(shifted), -_ROUNDER_BITS)
        # In two factors, since 2^n alone may be infinite or subnormal where the product is not.
        half = self._integer("shr", exponent, 1)
        rest = self._integer_sub(exponent, half)
        return self.mul(self.mul(power, self._power_of_two(half)), self._power_of_two(rest))

    def log(self, a: Any) -> Any:
        """Natural logarithm: k·ln 2 + 2·atanh(s), s = (m - 1)/(m + 1), for a = m·2^k, √½ <= m < √2.

        -Inf for 0, NaN for negative numbers.
        """
        tiny = self.lt(a, self.const(_SMALLEST_NORMAL))
        x = self.select(tiny, self.mul(a, self.const(2.0**_MANTISSA_BITS)), a)
        bits = self._bits(x)
        above = self._integer("add", bits, -_SQRT_HALF_BITS)
        k = self._integer("shr", above, _MANTISSA_BITS)
        m = self._from_bits(self._integer_sub(bits, self._integer("shl", k, _MANTISSA_BITS)))
        exponent = self._to_float(k)
        lifted = self.add(exponent, self.const(-float(_MANTISSA_BITS)))
        exponent = self.select(tiny, lifted, exponent)
        f = self.sub(m, self.const(1.0))
        s = self.div(f, self.add(f, self.const(2.0)))
        z = self.mul(s, s)
        twice = self.add(s, s)
        tail = self.mul(self.mul(self._polynomial(_ATANH_SERIES, z), z), twice)
        tail = self.fma(exponent, self.const(_LN2_LOW), tail)
        result = self.fma(exponent, self.const(_LN2_HIGH), self.add(twice, tail))
        zero, inf = self.const(0.0), self.const(float("inf"))
        result = self.select(self.lt(a, inf), result, a)  # infinity and NaN stay
        # What is not positive: NaN for negative numbers, and a - inf for 0 and for NaN.
        edge = self.select(self.lt(a, zero), self.const(float("nan")), self.sub(a, inf))
        return self.select(self.gt(a, zero), result, edge)

    def tanh(self, a: Any) -> Any:
        """Below 0.625 Lambert's continued fraction to its 5th term, above 1 - 2/(e^2|a| + 1)."""
        zero, one = self.const(0.0), self.const(1.0)
        negative = self.lt(a, zero)
        size = self.select(negative, self.sub(zero, a), a)
        small = self.lt(size, self.const(_TANH_SMALL))
        z = self.mul(a, a)
        upper = self._polynomial((1.0, 105.0, 945.0), z)
        lower = self._polynomial((15.0, 420.0, 945.0), z)
        power = self.add(self.exp(self.add(size, size)), one)
        quotient = self.div(
            self.select(small, upper, self.const(2.0)), self.select(small, lower, power)
        )
        large = self.sub(one, quotient)
        signed = self.select(negative, self.sub(zero, large), large)
        return self.select(small, self.mul(a, quotient), signed)

    def sigmoid(self, a: Any) -> Any:
        """1/(1 + e^-a) for a >= 0, e^a/(1 + e^a) below, which neither overflows nor cancels."""
        zero, one = self.const(0.0), self.const(1.0)
        negative = self.lt(a, zero)
        power = self.exp(self.select(negative, a, self.sub(zero, a)))
        return self.div(self.select(negative, power, one), self.add(power, one))

    def _polynomial(self, factors: tuple[float, ...], x: Any) -> Any:
        """Horner's scheme, highest power first."""
        result = self.const(factors[0])
        for factor in factors[1:]:
            result = self.fma(result, x, self.const(factor))
        return result

    def _power_of_two(self, n: Any) -> Any:
        """2^n for an i32 between -126 and 127."""
        biased = self._integer("add", n, _EXPONENT_BIAS)
        return self._from_bits(self._integer("shl", biased, _MANTISSA_BITS))


class VectorScalars(ElementaryFunctions):
    """`ScalarBuilder` on LoopIR vectors of f32 (scalars, for one lane)."""

    def __init__(self, b: Builder, lanes: int) -> None:
        self._b = b
        self._f32 = vector(lanes)
        self._i32 = vector(lanes, Kind.I32)

    def const(self, value: float) -> Value:
        """The f32 nearest to `value`, in every lane."""
        return self._b.const(float(np.float32(value)), self._f32)

    def add(self, a: Value, b: Value) -> Value:
        """A + b."""
        return self._b.binary("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        """A - b."""
        return self._b.binary("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """a·b."""
        return self._b.binary("mul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        """A / b."""
        return self._b.binary("div", a, b)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a·b + c, contracted where the target can."""
        return self._b.fma(a, b, c)

    def min(self, a: Value, b: Value) -> Value:
        """The smaller; NaN if either is."""
        return self._b.binary("min", a, b)

    def max(self, a: Value, b: Value) -> Value:
        """The larger; NaN if either is."""
        return self._b.binary("max", a, b)

    def lt(self, a: Value, b: Value) -> Value:
        """A < b, false on NaN."""
        return self._b.compare("lt", a, b)

    def gt(self, a: Value, b: Value) -> Value:
        """A > b, false on NaN."""
        return self._b.compare("gt", a, b)

    def select(self, cond: Value, a: Value, b: Value) -> Value:
        """`a` where `cond` holds, else `b`."""
        return self._b.select(cond, a, b)

    def sqrt(self, a: Value) -> Value:
        """The square root."""
        return self._b.unary("sqrt", a)

    def _bits(self, a: Value) -> Value:
        return self._b.bitcast(a, Kind.I32)

    def _from_bits(self, a: Value) -> Value:
        return self._b.bitcast(a, Kind.F32)

    def _integer(self, op: str, a: Value, number: int) -> Value:
        return self._b.binary(op, a, self._b.const(number, self._i32))

    def _integer_sub(self, a: Value, b: Value) -> Value:
        return self._b.binary("sub", a, b)

    def _to_float(self, a: Value) -> Value:
        return self._b.convert(a, Kind.F32)


class NumpyScalars(ElementaryFunctions):
    """`ScalarBuilder` on NumPy float32 numbers or arrays: what the generated code computes."""

    def const(self, value: float) -> Any:
        """The f32 nearest to `value`."""
        return np.float32(value)

    @np.errstate(all="ignore")
    def add(self, a: Any, b: Any) -> Any:
        """A + b."""
        return np.add(a, b, dtype=np.float32)

    @np.errstate(all="ignore")
    def sub(self, a: Any, b: Any) -> Any:
        """A - b."""
        return np.subtract(a, b, dtype=np.float32)

    @np.errstate(all="ignore")
    def mul(self, a: Any, b: Any) -> Any:
        """a·b."""
        return np.multiply(a, b, dtype=np.float32)

    @np.errstate(all="ignore")
    def div(self, a: Any, b: Any) -> Any:
        """A / b."""
        return np.divide(a, b, dtype=np.float32)

    @np.errstate(all="ignore")
    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c with the product exact."""
        return np.float32(np.multiply(a, b, dtype=np.float64) + c)

    @np.errstate(all="ignore")
    def min(self, a: Any, b: Any) -> Any:
        """The smaller; NaN if either is."""
        return np.minimum(a, b)

    @np.errstate(all="ignore")
    def max(self, a: Any, b: Any) -> Any:
        """The larger; NaN if either is."""
        return np.maximum(a, b)

    @np.errstate(all="ignore")
    def lt(self, a: Any, b: Any) -> Any:
        """A < b, false on NaN."""
        return np.less(a, b)

    @np.errstate(all="ignore")
    def gt(self, a: Any, b: Any) -> Any:
        """A > b, false on NaN."""
        return np.greater(a, b)

    def select(self, cond: Any, a: Any, b: Any) -> Any:
        """`a` where `cond` holds, else `b`."""
        return np.where(cond, a, b)

    @np.errstate(all="ignore")
    def sqrt(self, a: Any) -> Any:
        """The square root."""
        return np.sqrt(a, dtype=np.float32)

    def _bits(self, a: Any) -> Any:
        return np.asarray(a, np.float32).view(np.int32)

    def _from_bits(self, a: Any) -> Any:
        return np.asarray(a, np.int32).view(np.float32)

    @np.errstate(all="ignore")
    def _integer(self, op: str, a: Any, number: int) -> Any:
        rules = {"add": np.add, "shl": np.left_shift, "shr": np.right_shift}
        return rules[op](a, np.int32(number))

    @np.errstate(all="ignore")
    def _integer_sub(self, a: Any, b: Any) -> Any:
        return np.subtract(a, b, dtype=np.int32)

    def _to_float(self, a: Any) -> Any:
        return np.asarray(a).astype(np.float32)
