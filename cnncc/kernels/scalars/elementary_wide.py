"""Power, circular and hyperbolic functions and their inverses, of f32 by way of f64.

With 29 bits to spare, short reductions do without error terms: each result is within 1 ulp of the
exact value for every f32 input. Half as many lanes fit a register, but these functions are rare in
networks. Series are Taylor's where nothing else is said.
"""

from __future__ import annotations

import math

from cnncc.ir.types import DType
from cnncc.kernels.scalars.elementary import ElementaryFunctions
from cnncc.kernels.scalars.scalar_operations import WIDE_ROUNDER, V

_MANTISSA_BITS = 52
_ONE_BITS = 0x3FF0000000000000
_ROUNDER_BITS = 0x4338000000000000  # of WIDE_ROUNDER; its low bits are free for a whole number
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_EXP_LIMIT = 200.0  # beyond, e^x is 0 or infinite in f32, and far from that in f64
_EXP_SERIES = tuple(1 / math.factorial(n) for n in range(9, -1, -1))
_ALL_EVEN = 2.0**25  # from here on every f32 is a multiple of two
_ATANH_SERIES = tuple(1 / n for n in range(15, 0, -2))  # of atanh(s)/s in s^2, for |s| < 0.1716
_SIN_SERIES = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(5, -1, -1))
_COS_SERIES = tuple((-1) ** n / math.factorial(2 * n) for n in range(6, -1, -1))
_SINH_SERIES = tuple(1 / math.factorial(2 * n + 1) for n in range(3, -1, -1))
_ASINH_SERIES = (-15 / 336, 3 / 40, -1 / 6, 1.0)  # of asinh(x)/x in x^2
_SMALL = 2.0**-4  # below, the series of asinh, atanh and sinh are used, which do not cancel
# atan(t)/t in t^2 for |t| <= tan(pi/8): least squares of the relative error at Chebyshev's points,
# reweighted until it is even, 2.1e-11.
_ATAN_FIT = (
    *(0.04713894938564, -0.08459590954382, 0.1104115100758, -0.1428164822318),
    *(0.1999988627342, -0.3333333213361, 0.9999999999793),
)
_TAN_PI_8, _TAN_3PI_8 = math.sqrt(2) - 1, math.sqrt(2) + 1
_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041  # times 2^192
_TWO_OVER_PI_BITS = 192
# Powers of two that are taken out of large angles; from 2^(23 + n) on an f32 is a multiple of 2^n.
_ANGLE_SCALES = (0, 27, 54, 81)


def quarter_turns(power: int) -> tuple[float, float, float]:
    """2^power·2/π modulo 4 as a sum of three f64, the first two of 29 bits."""
    rest = (_TWO_OVER_PI << power) % (4 << _TWO_OVER_PI_BITS)
    parts = []
    for end, bits in ((27, 29), (56, 29), (109, 53)):
        part = (rest >> (_TWO_OVER_PI_BITS - end)) % (1 << bits)
        parts.append(math.ldexp(part, -end))
    return parts[0], parts[1], parts[2]


class WideFunctions(ElementaryFunctions[V]):
    """The functions whose work is done in f64."""

    # -- powers ------------------------------------------------------------------------------------

    def pow(self, a: V, b: V) -> V:
        """|a|^b = e^(b·log|a|), with C's special cases (ISO C, annex F, 10.4.4)."""
        zero, one, infinity = self.const(0.0), self.const(1.0), self.const(math.inf)
        wide = self.cast(b, DType.F64)
        logarithm = self._log(self.cast(self.abs(a), DType.F64))
        power = self.cast(self._exp(self.mul(wide, logarithm)), DType.F32)

        count = self.min(self.abs(wide), self.const(_ALL_EVEN, DType.F64))
        half = self.mul(count, self.const(0.5, DType.F64))
        whole = self.eq(self.nearest_whole(count), count)
        odd = self.bit_and(whole, self.ne(self.nearest_whole(half), half))
        negative = self.lt(self._bits(a), self.const(0, DType.I32))
        power = self.select(self.bit_and(negative, odd), self.neg(power), power)

        finite_below = self.bit_and(self.lt(a, zero), self.gt(a, self.neg(infinity)))
        undefined = self.bit_and(finite_below, self.bit_not(whole))
        power = self.select(undefined, self.const(math.nan), power)

        endless = self.eq(self.abs(b), infinity)
        always_one = self.bit_or(self.eq(b, zero), self.eq(a, one))
        swinging = self.bit_and(self.eq(a, self.neg(one)), endless)
        return self.select(self.bit_or(always_one, swinging), one, power)

    def _exp(self, x: V) -> V:
        """e^x of f64 = 2^n·e^r, n = round(x/ln 2), for |x| <= 200; beyond, e^±200."""
        high = self.const(_EXP_LIMIT, DType.F64)
        low = self.const(-_EXP_LIMIT, DType.F64)
        x = self.select(self.gt(x, high), high, x)
        x = self.select(self.lt(x, low), low, x)
        rounder = self.const(WIDE_ROUNDER, DType.F64)
        shifted = self.fma(x, self.const(1 / math.log(2), DType.F64), rounder)
        n = self.sub(shifted, rounder)
        r = self.fma(n, self.const(-math.log(2), DType.F64), x)
        exponent = self._wide_integer("shl", self._bits(shifted), _MANTISSA_BITS)
        scale = self._from_bits(self._wide_integer("add", exponent, _ONE_BITS))
        return self.mul(self._polynomial(_EXP_SERIES, r), scale)

    def _log(self, x: V) -> V:
        """Natural logarithm of a normal f64, k·ln 2 + 2·atanh(s) as in `log`; -Inf for 0."""
        bits = self._bits(x)
        above = self._wide_integer("add", bits, -_SQRT_HALF_BITS)
        k = self._wide_integer("shr", above, _MANTISSA_BITS)
        m = self._from_bits(self.sub(bits, self._wide_integer("shl", k, _MANTISSA_BITS)))
        rounder = self.const(WIDE_ROUNDER, DType.F64)
        exponent = self.sub(self._from_bits(self._wide_integer("add", k, _ROUNDER_BITS)), rounder)
        one, infinity = self.const(1.0, DType.F64), self.const(math.inf, DType.F64)
        s = self.div(self.sub(m, one), self.add(m, one))
        half = self.mul(s, self._polynomial(_ATANH_SERIES, self.mul(s, s)))
        result = self.fma(exponent, self.const(math.log(2), DType.F64), self.add(half, half))
        result = self.select(self.lt(x, infinity), result, x)
        nothing = self.eq(x, self.const(0.0, DType.F64))
        return self.select(nothing, self.neg(infinity), result)

    def _wide_integer(self, op: str, a: V, number: int) -> V:
        """`a op number` on i64; `op` is add, and, shl or shr (arithmetic)."""
        return self._binary(op, a, self.const(number, DType.I64))

    # -- circular functions ------------------------------------------------------------------------

    def sin(self, a: V) -> V:
        """The sine; NaN for infinities."""
        quadrant, sine, cosine = self._circle(a)
        return self._turned(quadrant, sine, cosine)

    def cos(self, a: V) -> V:
        """The cosine, a sine a quarter turn on; NaN for infinities."""
        quadrant, sine, cosine = self._circle(a)
        return self._turned(self._wide_integer("add", quadrant, 1), sine, cosine)

    def tan(self, a: V) -> V:
        """The tangent: sine by cosine, or minus cosine by sine in odd quadrants."""
        quadrant, sine, cosine = self._circle(a)
        odd = self._is_odd(quadrant)
        size = self.div(self.select(odd, cosine, sine), self.select(odd, sine, cosine))
        sign = self._wide_integer("shl", quadrant, 63)
        signed = self._from_bits(self.bit_xor(self._bits(size), sign))
        return self.cast(signed, DType.F32)

    def _turned(self, quadrant: V, sine: V, cosine: V) -> V:
        size = self.select(self._is_odd(quadrant), cosine, sine)
        sign = self._wide_integer("shl", self._wide_integer("and", quadrant, 2), 62)
        return self.cast(self._from_bits(self.bit_xor(self._bits(size), sign)), DType.F32)

    def _is_odd(self, quadrant: V) -> V:
        parity = self._wide_integer("and", quadrant, 1)
        return self.ne(parity, self.const(0, DType.I64))

    def _circle(self, a: V) -> tuple[V, V, V]:
        """The quadrant of an angle (an i64, in its two low bits), and what lies beyond: sin, cos.

        Payne and Hanek's idea: with 2^n taken out of the angle, 2^n·2/π counts modulo 4 only. In
        parts of 29 bits its products with an f32 are exact, so the reduction is good for every f32.
        """
        wide, parts = self._scaled_angle(self.cast(a, DType.F64))
        first, second = (self._modulo_4(self.mul(wide, part)) for part in parts[:2])
        third = self.mul(wide, parts[2])
        rounder = self.const(WIDE_ROUNDER, DType.F64)
        shifted = self.add(self.add(self.add(first, second), third), rounder)
        turn = self.add(self.add(self.sub(first, self.sub(shifted, rounder)), second), third)
        r = self.mul(turn, self.const(math.pi / 2, DType.F64))
        z = self.mul(r, r)
        sine = self.mul(r, self._polynomial(_SIN_SERIES, z))
        return self._bits(shifted), sine, self._polynomial(_COS_SERIES, z)

    def _scaled_angle(self, x: V) -> tuple[V, list[V]]:
        """`x` divided by a power of two, below 2^50, and 2/π times that power modulo 4."""
        size = self.abs(x)
        chosen = [self.const(part, DType.F64) for part in (1.0, *quarter_turns(0))]
        for power in _ANGLE_SCALES[1:]:
            large = self.ge(size, self.const(2.0 ** (23 + power), DType.F64))
            numbers = (2.0**-power, *quarter_turns(power))
            chosen = [
                self.select(large, self.const(number, DType.F64), previous)
                for number, previous in zip(numbers, chosen, strict=True)
            ]
        return self.mul(x, chosen[0]), chosen[1:]

    def _modulo_4(self, a: V) -> V:
        """The number in [-2, 2] that is `a` modulo 4, exactly, for |a| < 2^52."""
        quarters = self.nearest_whole(self.mul(a, self.const(0.25, DType.F64)))
        return self.sub(a, self.mul(quarters, self.const(4.0, DType.F64)))

    # -- arc functions -----------------------------------------------------------------------------

    def atan(self, a: V) -> V:
        """The arc tangent."""
        wide = self.cast(a, DType.F64)
        angle = self._arc(self.abs(wide), self.const(1.0, DType.F64))
        return self.cast(self.copysign(angle, wide), DType.F32)

    def asin(self, a: V) -> V:
        """The arc sine, whose tangent is a/√(1 - a²); NaN beyond 1."""
        wide = self.cast(a, DType.F64)
        angle = self._arc(self.abs(wide), self._other_leg(wide))
        return self.cast(self.copysign(angle, wide), DType.F32)

    def acos(self, a: V) -> V:
        """The arc cosine, whose tangent is √(1 - a²)/a; NaN beyond 1."""
        wide = self.cast(a, DType.F64)
        angle = self._arc(self._other_leg(wide), self.abs(wide))
        obtuse = self.sub(self.const(math.pi, DType.F64), angle)
        below = self.lt(wide, self.const(0.0, DType.F64))
        return self.cast(self.select(below, obtuse, angle), DType.F32)

    def _other_leg(self, a: V) -> V:
        """√(1 - a²)."""
        return self.sqrt(self.sub(self.const(1.0, DType.F64), self.mul(a, a)))

    def _arc(self, y: V, x: V) -> V:
        """The angle of [0, π/2] whose tangent is y/x, for x and y >= 0; NaN gives NaN.

        Beyond π/8 as π/4 + atan((y - x)/(y + x)), beyond 3π/8 as π/2 + atan(-x/y).
        """
        steep = self.gt(y, self.mul(x, self.const(_TAN_3PI_8, DType.F64)))
        middle = self.gt(y, self.mul(x, self.const(_TAN_PI_8, DType.F64)))
        above = self.select(middle, self.sub(y, x), y)
        below = self.select(middle, self.add(y, x), x)
        t = self.div(self.select(steep, self.neg(x), above), self.select(steep, y, below))
        zero, eighth = self.const(0.0, DType.F64), self.const(math.pi / 4, DType.F64)
        base = self.select(middle, eighth, zero)
        base = self.select(steep, self.const(math.pi / 2, DType.F64), base)
        return self.fma(t, self._polynomial(_ATAN_FIT, self.mul(t, t)), base)

    # -- hyperbolic functions ----------------------------------------------------------------------

    def sinh(self, a: V) -> V:
        """The hyperbolic sine: (e^x - e^-x)/2, near 0 its series."""
        wide = self.cast(a, DType.F64)
        power = self._exp(wide)
        difference = self.sub(power, self.div(self.const(1.0, DType.F64), power))
        large = self.mul(difference, self.const(0.5, DType.F64))
        return self._joined(wide, _SINH_SERIES, large)

    def cosh(self, a: V) -> V:
        """The hyperbolic cosine: (e^x + e^-x)/2."""
        power = self._exp(self.cast(a, DType.F64))
        total = self.add(power, self.div(self.const(1.0, DType.F64), power))
        return self.cast(self.mul(total, self.const(0.5, DType.F64)), DType.F32)

    def asinh(self, a: V) -> V:
        """The inverse hyperbolic sine: log(|a| + √(a² + 1)) with the sign of a, near 0 a series."""
        wide, one = self.cast(a, DType.F64), self.const(1.0, DType.F64)
        root = self.sqrt(self.fma(wide, wide, one))
        large = self._log(self.add(self.abs(wide), root))
        return self._joined(wide, _ASINH_SERIES, self.copysign(large, wide))

    def acosh(self, a: V) -> V:
        """The inverse hyperbolic cosine: log(a + √(a² - 1)); NaN below 1."""
        wide, one = self.cast(a, DType.F64), self.const(1.0, DType.F64)
        root = self.sqrt(self.mul(self.sub(wide, one), self.add(wide, one)))
        result = self.cast(self._log(self.add(wide, root)), DType.F32)
        return self.select(self.ge(a, self.const(1.0)), result, self.const(math.nan))

    def atanh(self, a: V) -> V:
        """The inverse hyperbolic tangent: log((1 + |a|)/(1 - |a|))/2 signed, near 0 its series."""
        wide, one = self.cast(a, DType.F64), self.const(1.0, DType.F64)
        size = self.abs(wide)
        ratio = self.div(self.add(one, size), self.sub(one, size))
        large = self.mul(self._log(ratio), self.const(0.5, DType.F64))
        result = self._joined(wide, _ATANH_SERIES[-4:], self.copysign(large, wide))
        return self.select(self.le(self.abs(a), self.const(1.0)), result, self.const(math.nan))

    def _joined(self, x: V, series: tuple[float, ...], large: V) -> V:
        """As f32 x·series(x²) near 0, else `large`."""
        near = self.lt(self.abs(x), self.const(_SMALL, DType.F64))
        small = self.mul(x, self._polynomial(series, self.mul(x, x)))
        return self.cast(self.select(near, small, large), DType.F32)
