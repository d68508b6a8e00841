"""Exponential, logarithm, hyperbolic tangent, sigmoid and error function in f32 arithmetic.

They are written from operations that every target has, so that no generated code calls a C library.
Each is within 4 ulp of the exact value for every f32 input; NaN gives NaN.
"""

from __future__ import annotations

from cnncc.ir.types import DType
from cnncc.kernels.scalar_arithmetic import ScalarArithmetic
from cnncc.kernels.scalar_operations import V

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
# erf(x)/x in x^2 up to 1, and erfc(x)^(-1/8) from 1 to 3.95: least squares of the relative error
# (of erf) at Chebyshev's points, reweighted until it is even, 4.0e-8 and 1.2e-8.
_ERF_SMALL = (
    *(-0.0005631419, 0.00491755062, -0.0267113106),
    *(0.112801801, -0.376123262, 1.12837912),
)
_ERF_LARGE = (
    *(0.00054719635, -0.00404377442, 0.0179565647, -0.0335847862),
    *(0.0746119541, 0.0486025545, 0.159623473, 0.996398912),
)
_ERF_TOP = 3.95  # beyond it the error function is 1 in f32
_SMALLEST_NORMAL = 2.0**-126
_SQRT_HALF_BITS = 0x3F3504F3
_MANTISSA_BITS = 23
_EXPONENT_BIAS = 127


class ElementaryFunctions(ScalarArithmetic[V]):
    """The functions that need no more than f32."""

    def exp(self, a: V) -> V:
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
        rest = self.sub(exponent, half)
        return self.mul(self.mul(power, self._power_of_two(half)), self._power_of_two(rest))

    def log(self, a: V) -> V:
        """Natural logarithm: k·ln 2 + 2·atanh(s), s = (m - 1)/(m + 1), for a = m·2^k, √½ <= m < √2.

        -Inf for 0, NaN for negative numbers.
        """
        tiny = self.lt(a, self.const(_SMALLEST_NORMAL))
        x = self.select(tiny, self.mul(a, self.const(2.0**_MANTISSA_BITS)), a)
        bits = self._bits(x)
        above = self._integer("add", bits, -_SQRT_HALF_BITS)
        k = self._integer("shr", above, _MANTISSA_BITS)
        m = self._from_bits(self.sub(bits, self._integer("shl", k, _MANTISSA_BITS)))
        exponent = self.cast(k, DType.F32)
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

    def tanh(self, a: V) -> V:
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

    def sigmoid(self, a: V) -> V:
        """1/(1 + e^-a) for a >= 0, e^a/(1 + e^a) below, which neither overflows nor cancels."""
        zero, one = self.const(0.0), self.const(1.0)
        negative = self.lt(a, zero)
        power = self.exp(self.select(negative, a, self.sub(zero, a)))
        return self.div(self.select(negative, power, one), self.add(power, one))

    def erf(self, a: V) -> V:
        """The error function: below 1 a·P(a²), above 1 - 1/Q(|a|)^8 (cf. A. & S. 7.1.28)."""
        one, size = self.const(1.0), self.abs(a)
        small = self.mul(a, self._polynomial(_ERF_SMALL, self.mul(a, a)))
        root = self._polynomial(_ERF_LARGE, self.min(size, self.const(_ERF_TOP)))
        for _ in range(3):
            root = self.mul(root, root)
        large = self.sub(one, self.div(one, root))
        return self.select(self.lt(size, one), small, self.copysign(large, a))

    def _polynomial(self, factors: tuple[float, ...], x: V) -> V:
        """Horner's scheme in the type of `x`, highest power first."""
        dtype = self.dtype_of(x)
        result = self.const(factors[0], dtype)
        for factor in factors[1:]:
            result = self.fma(result, x, self.const(factor, dtype))
        return result

    def _power_of_two(self, n: V) -> V:
        """2^n as f32, for an i32 between -126 and 127."""
        biased = self._integer("add", n, _EXPONENT_BIAS)
        return self._from_bits(self._integer("shl", biased, _MANTISSA_BITS))

    def _integer(self, op: str, a: V, number: int) -> V:
        """`a op number` on i32; `op` is add, shl or shr (arithmetic)."""
        return self._binary(op, a, self.const(number, DType.I32))
