"""Exponential, logarithm, hyperbolic tangent, sigmoid and error function in f32 arithmetic.

They are written from operations that every target has, so that no generated code calls a C library.
Each is within 4 ulp of the exact value for every f32 input; NaN gives NaN.
"""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir.types import DType
from cnncc.kernels.scalars.pieces import LOW_BITS, Pieces, pieces_of
from cnncc.kernels.scalars.scalar_arithmetic import ScalarArithmetic
from cnncc.kernels.scalars.scalar_operations import V

_LOG2_E = 1.4426950408889634
_LN2 = 0.6931471805599453
# ln 2 in two parts; the first has 9 significant bits: its product with an exponent is exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.1219444005469057e-4
# Adding this to a small number leaves the nearest whole number in the low bits of the mantissa; the
# nine lowest bits of the sum are those of the number itself.
_ROUNDER = 12582912.0  # 1.5 * 2^23
_EXP_LOW, _EXP_HIGH = -104.0, 89.0  # beyond them e^x is 0 or infinite in f32
# e^r for |r| <= ln(2)/2: least squares of the relative error at Chebyshev's points, reweighted
# until it is even, 3.1e-9; the last two are kept as they are.
_EXP_FIT = (
    *(0.0013814539415761828, 0.00836874544620514, 0.04166838899254799),
    *(0.1666652113199234, 0.4999999403953552, 1.0, 1.0),
)
# e^-r likewise, and to one degree less, 9.2e-8, with the last kept as it is.
_DECAY_FIT = tuple(-f if k % 2 else f for k, f in enumerate(_EXP_FIT))
_SHORT_DECAY_FIT = (
    *(-0.008290297492878438, 0.04189802150515843, -0.1666763697036764),
    *(0.4999914885419846, -0.9999997068383163, 1.0),
)
# Of e^-x: the exponent field is that of infinity at the first and 0 at the second.
_LOGISTIC_LOW, _LOGISTIC_HIGH = -88.75, 88.0
# 2^(j/32) over a divisor for which f32 rounds all quotients by less than 2.7e-8, and the products
# of e^-r with it, all below 2, by less than 3.2e-8; less j in those bits that the index adds again.
_POWER_BITS = 5
_POWERS = 1 << _POWER_BITS
_POWER_DIVISOR = 1.9002314805984497
_POWER_TABLE = tuple(
    (
        np.array(2.0 ** (np.arange(_POWERS) / _POWERS) / _POWER_DIVISOR, np.float32).view(np.int32)
        - (np.arange(_POWERS, dtype=np.int32) << 23 - _POWER_BITS)
    )
    .view(np.float32)
    .tolist()
)
# e^-r times that divisor for |r| <= ln(2)/64, as above, 5.3e-8.
_LOOKUP_FIT = (0.950116113590465, -1.900259308733617, _POWER_DIVISOR)
# Of e^-x: below, e^-x/1.9 is finite and e^-x is not; above, 1 + e^-x is 1.
_LOOKUP_LOW, _LOOKUP_HIGH = -89.0, 64.0
_DECAY_LOW = -87.33654  # the least number whose exponential is normal
_ATANH_SERIES = (1 / 9, 1 / 7, 1 / 5, 1 / 3)  # of (atanh(s)/s - 1) / s^2, in powers of s^2
_TANH_TOP = 9.2  # beyond it the hyperbolic tangent is 1 in f32
# ((e^2r - 1)/2 - r)/r^2 for |r| <= ln(2)/4: least squares of the relative error of e^2r - 1 at
# Chebyshev's points, reweighted until it is even, 1.3e-8.
_TANH_FIT = (
    *(0.04442405184572733, 0.1338647542884803, 0.3333376057241504),
    *(0.6666617369657377, 0.999999962992184),
)
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
_TANH_PIECES = pieces_of(math.tanh, 0.75, _TANH_TOP)
_ERF_PIECES = pieces_of(math.erf, 0.5, _ERF_TOP)


class ElementaryFunctions(ScalarArithmetic[V]):
    """The functions that need no more than f32."""

    def exp(self, a: V) -> V:
        """e^a = 2^n·e^r with n = round(a/ln 2), |r| <= ln(2)/2 (Cody and Waite's reduction).

        Overflow gives infinity; underflow passes through the subnormal numbers to 0.
        """
        low, high = self.const(_EXP_LOW), self.const(_EXP_HIGH)
        x = self.select(self.lt(high, a), high, a)
        x = self.select(self.lt(x, low), low, x)
        power, bits = self._reduced_power(x, _ROUNDER + 2 * _EXPONENT_BIAS)
        # In two factors, since 2^n alone may be infinite or subnormal where the product is not.
        half = self._integer("shr", bits, 1)
        power = self.mul(power, self._power_of_two(half))
        return self.mul(power, self._power_of_two(self.sub(bits, half)))

    def decay(self, a: V) -> V:
        """e^a of numbers that are not positive, with 0 for subnormal results.

        Those would be of no use, and CPUs take a hundred cycles over each.
        """
        power, bits = self._reduced_power(a, _ROUNDER + _EXPONENT_BIAS)
        scaled = self.mul(power, self._power_of_two(bits))
        return self.select(self.lt(a, self.const(_DECAY_LOW)), self.const(0.0), scaled)

    def _reduced_power(self, x: V, rounder: float) -> tuple[V, V]:
        """e^r of the reduction of `exp`, and the bits of n + `rounder`."""
        shifted = self.fma(x, self.const(_LOG2_E), self.const(rounder))
        n = self.sub(shifted, self.const(rounder))
        r = self.fma(n, self.const(-_LN2_HIGH), x)
        r = self.fma(n, self.const(-_LN2_LOW), r)
        return self._polynomial(_EXP_FIT, r), self._bits(shifted)

    def _power_of_two(self, bits: V) -> V:
        """2^(k - 127) for k in the nine lowest bits of an integer, 0 <= k < 256.

        The ends are 0 and infinity.
        """
        return self._from_bits(self._integer("shl", bits, _MANTISSA_BITS))

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
        """h/(h + 1) with h = (e^2|a| - 1)/2, in which nothing cancels.

        With 2|a| = n·ln 2 + 2r and n whole, h = 2^n·(e^2r - 1)/2 + (2^n - 1)/2. Where n is so large
        that n·ln 2 is rounded, h hardly matters to the quotient.
        """
        if self.looks_up:
            return self._looked_up(_TANH_PIECES, a)
        size, top = self.abs(a), self.const(_TANH_TOP)
        x = self.select(self.lt(top, size), top, size)
        rounder = _ROUNDER + _EXPONENT_BIAS
        shifted = self.fma(x, self.const(2 * _LOG2_E), self.const(rounder))
        n = self.sub(shifted, self.const(rounder))
        r = self.fma(n, self.const(-_LN2 / 2), x)
        part = self.fma(self.mul(r, r), self._polynomial(_TANH_FIT, r), r)
        power = self._power_of_two(self._bits(shifted))
        h = self.fma(power, part, self.fma(power, self.const(0.5), self.const(-0.5)))
        return self.copysign(self.div(h, self.add(h, self.const(1.0))), a)

    def sigmoid(self, a: V) -> V:
        """1/(1 + e^-a); 0 where e^-a is infinite."""
        return self.div(self.const(1.0), self._one_and_decay(a, _DECAY_FIT))

    def silu(self, a: V) -> V:
        """a/(1 + e^-a), to 3.3 ulp: without a rounding between, a shorter polynomial will do."""
        if self.looks_up:
            return self.div(a, self._one_and_looked_up(a))
        return self.div(a, self._one_and_decay(a, _SHORT_DECAY_FIT))

    def _one_and_looked_up(self, a: V) -> V:
        """1 + e^-a, with e^-a = 2^(k/32)·e^-r and k = round(-32a/ln 2), |r| <= ln(2)/64.

        A table has 2^(j/32) for the low bits of k; an integer addition gives it the exponent. At
        the upper end the sum is 1, at the lower one it overflows.
        """
        low, high = self.const(_LOOKUP_LOW), self.const(_LOOKUP_HIGH)
        x = self.select(self.lt(high, a), high, a)
        x = self.select(self.lt(x, low), low, x)
        shifted, r = self._reduced(x, _ROUNDER / _POWERS)
        bits = self._bits(shifted)
        power = self._bits(self._lookup(_POWER_TABLE, bits))
        exponent = self._integer("shl", bits, _MANTISSA_BITS - _POWER_BITS)
        power = self._from_bits(self.add(power, exponent))
        return self.fma(self._polynomial(_LOOKUP_FIT, r), power, self.const(1.0))

    def _reduced(self, x: V, rounder: float) -> tuple[V, V]:
        """The sum n + `rounder`, where its rounding makes n of -x/ln 2; and r = x + n·ln 2."""
        shifted = self.fma(x, self.const(-_LOG2_E), self.const(rounder))
        n = self.sub(shifted, self.const(rounder))
        r = self.fma(n, self.const(_LN2_HIGH), x)
        return shifted, self.fma(n, self.const(_LN2_LOW), r)

    def _one_and_decay(self, a: V, fit: tuple[float, ...]) -> V:
        """1 + e^-a, with e^-a = 2^n·e^-r and n = round(-a/ln 2), |r| <= ln(2)/2.

        One factor 2^n is enough: where it is subnormal the sum is 1 without it, so 0 will do, and
        where e^-a overflows 2^n is infinite, as it should be. Both ends are within nine bits.
        """
        low, high = self.const(_LOGISTIC_LOW), self.const(_LOGISTIC_HIGH)
        x = self.select(self.lt(high, a), high, a)
        x = self.select(self.lt(x, low), low, x)
        shifted, r = self._reduced(x, _ROUNDER + _EXPONENT_BIAS)
        power = self._polynomial(fit, r)
        return self.fma(power, self._power_of_two(self._bits(shifted)), self.const(1.0))

    def erf(self, a: V) -> V:
        """The error function: below 1 a·P(a²), above 1 - 1/Q(|a|)^8 (cf. A. & S. 7.1.28)."""
        if self.looks_up:
            return self._looked_up(_ERF_PIECES, a)
        one, size = self.const(1.0), self.abs(a)
        small = self.mul(a, self._polynomial(_ERF_SMALL, self.mul(a, a)))
        root = self._polynomial(_ERF_LARGE, self.min(size, self.const(_ERF_TOP)))
        for _ in range(3):
            root = self.mul(root, root)
        large = self.sub(one, self.div(one, root))
        return self.select(self.lt(size, one), small, self.copysign(large, a))

    def _looked_up(self, pieces: Pieces, a: V) -> V:
        """An odd function by its pieces: a polynomial in the way from the beginning of one.

        Both are exact. For NaN the way is NaN.
        """
        size, top, shift = self.abs(a), self.const(pieces.top), self.const(pieces.shift)
        x = self.select(self.lt(top, size), top, size)
        bits = self._bits(self.add(x, shift))
        edge = self._from_bits(self._integer("and", bits, -1 << LOW_BITS))
        way = self.sub(x, self.sub(edge, shift))
        number = self._integer("shr", bits, LOW_BITS)
        result, *factors = (self._lookup(table, number) for table in pieces.tables)
        for factor in factors:
            result = self.fma(result, way, factor)
        return self.copysign(result, a)

    def _polynomial(self, factors: tuple[float, ...], x: V) -> V:
        """Horner's scheme in the type of `x`, highest power first."""
        dtype = self.dtype_of(x)
        result = self.const(factors[0], dtype)
        for factor in factors[1:]:
            result = self.fma(result, x, self.const(factor, dtype))
        return result

    def _integer(self, op: str, a: V, number: int) -> V:
        """`a op number` on i32; `op` is add, and, shl or shr (arithmetic)."""
        return self._binary(op, a, self.const(number, DType.I32))
