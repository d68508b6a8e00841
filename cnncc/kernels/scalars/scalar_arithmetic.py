"""Arithmetic that LoopIR has not or not everywhere: guarded division and shifts, casts.

What LoopIR leaves undefined (a zero divisor, a shift by the width) is guarded here, once, so that
generated code and NumPy agree.
"""

from __future__ import annotations

import math

from cnncc.ir.types import DType
from cnncc.kernels.scalars.scalar_operations import SIGNED, ScalarOperations, V

_BEYOND_F32 = 2.0**200
# |a| / |b| of two f32 is below 2^277; a step of `rem` divides it by 2^28.
_REM_SCALES = tuple(2.0**power for power in range(252, -1, -28))
# Moves an f32's exponent to f16's, and rounds the 13 bits that go (less one for the odd).
_HALF_ROUNDING = -((127 - 15) << 23) + 0xFFF
_HALF_BITS = 0x3F000000  # of 1/2 as f32
_HALF_INFINITY, _HALF_NAN = 0x7C00, 0x7E00
_SPLITTER = 2.0**27 + 1


class ScalarArithmetic(ScalarOperations[V]):
    """`ScalarBuilder` without its functions (`cnncc.kernels.scalars.elementary` has them)."""

    def div(self, a: V, b: V) -> V:
        """A / b; of whole numbers truncated, 0 where b is 0, and the least number by -1 itself."""
        dtype = self.dtype_of(a)
        if not dtype.is_integer:
            return self._plain("div", a, b)
        by_zero = self._compare("eq", b, self.const(0, dtype))
        quotient = self._binary("div", a, self._divisor(b, dtype))
        if dtype in SIGNED:
            negated = self._compare("eq", b, self.const(-1, dtype))
            quotient = self.select(negated, self._unary("neg", a), quotient)
        return self.select(by_zero, self.const(0, dtype), quotient)

    def rem(self, a: V, b: V) -> V:
        """A - b·trunc(a/b), with the sign of a; of whole numbers 0 where b is 0.

        Exact for f32 and whole numbers; for f64 where |a/b| < 2^50 and |a|, |b| and the remainder's
        last place lie between 2^-900 and 2^900. NaN for a infinite or b zero.
        """
        dtype = self.dtype_of(a)
        if dtype.is_integer:
            return self._binary("rem", a, self._divisor(b, dtype))
        size, divisor = self.abs(a), self.abs(b)
        if dtype is DType.F32:
            left = self.cast(self._rem_narrow(size, divisor), dtype)
        else:
            left = self._rem_wide(size, divisor)
        return self.copysign(left, a)

    def _divisor(self, b: V, dtype: DType) -> V:
        """`b`, but 1 where LoopIR's division by it is undefined."""
        one = self.const(1, dtype)
        safe = self.select(self._compare("eq", b, self.const(0, dtype)), one, b)
        if dtype in SIGNED:
            safe = self.select(self._compare("eq", b, self.const(-1, dtype)), one, safe)
        return safe

    def _rem_narrow(self, size: V, divisor: V) -> V:
        """The remainder of two f32 >= 0, in f64.

        Long division by 2^k·b for falling k. A quotient of two numbers of 24 bits is below 2^29 in
        each step, so that its product with b is exact; what it leaves has 24 bits again.
        """
        rest, step = self.cast(size, DType.F64), self.cast(divisor, DType.F64)
        step = self.min(step, self.const(_BEYOND_F32, DType.F64))  # infinity times 0 were NaN
        for scale in _REM_SCALES:
            part = self.mul(step, self.const(scale, DType.F64))
            count = self.nearest_whole(self.div(rest, part))
            rest = self.sub(rest, self.mul(count, part))
        return self._lifted(rest, step)

    def _rem_wide(self, size: V, divisor: V) -> V:
        """The remainder of two f64 >= 0, with the product in two parts (Dekker's, 1971)."""
        count = self.nearest_whole(self.div(size, divisor))
        product = self.mul(count, divisor)
        (a, b), (c, d) = self._halves(count), self._halves(divisor)
        low = self.sub(self.mul(a, c), product)
        low = self.add(self.add(low, self.mul(a, d)), self.mul(b, c))
        low = self.add(low, self.mul(b, d))
        rest = self._lifted(self.sub(self.sub(size, product), low), divisor)
        endless = self._compare("eq", divisor, self.const(math.inf, DType.F64))
        return self.select(endless, self.add(size, self.sub(size, size)), rest)

    def _halves(self, a: V) -> tuple[V, V]:
        """An f64 as a sum of two numbers of 26 bits (Veltkamp's splitting)."""
        scaled = self.mul(a, self.const(_SPLITTER, DType.F64))
        high = self.sub(scaled, self.sub(scaled, a))
        return high, self.sub(a, high)

    def _lifted(self, rest: V, divisor: V) -> V:
        """`rest`, or the number between 0 and `divisor` that it is modulo that if negative."""
        below = self._compare("lt", rest, self.const(0, DType.F64))
        return self.select(below, self.add(rest, divisor), rest)

    def shl(self, a: V, b: V) -> V:
        """a·2^b modulo the type's range; 0 for b of the type's width or more, or negative."""
        zero = self.const(0, self.dtype_of(a))
        inside = self._shift_fits(b)
        return self.select(inside, self._binary("shl", a, self.select(inside, b, zero)), zero)

    def shr(self, a: V, b: V) -> V:
        """floor(a / 2^b); for b of the type's width or more, or negative, 0 or -1 by a's sign."""
        dtype = self.dtype_of(a)
        zero, last = self.const(0, dtype), self.const(8 * dtype.size_bytes - 1, dtype)
        inside = self._shift_fits(b)
        if dtype in SIGNED:
            return self._binary("shr", a, self.select(inside, b, last))
        return self.select(inside, self._binary("shr", a, self.select(inside, b, zero)), zero)

    def _shift_fits(self, b: V) -> V:
        dtype = self.dtype_of(b)
        narrow = self._compare("lt", b, self.const(8 * dtype.size_bytes, dtype))
        if dtype not in SIGNED:
            return narrow
        return self._binary("and", narrow, self._compare("ge", b, self.const(0, dtype)))

    # -- types -------------------------------------------------------------------------------------

    def cast(self, a: V, dtype: DType) -> V:
        """The number in another type: floats to whole numbers truncate and saturate, NaN gives 0.

        Whole numbers wrap around; to truth values it asks whether a number is not 0. The way to and
        from f16 leads through f32, so that other numbers may be rounded twice.
        """
        source = self.dtype_of(a)
        if source is dtype:
            return a
        if dtype is DType.F16:
            return self._half(self.cast(a, DType.F32))
        if source is DType.F16 and dtype is not DType.F32:
            a = self._convert(a, DType.F32)
        return self._convert(a, dtype)

    def _half(self, a: V) -> V:
        """The f16 nearest to an f32, of two the even one: in integers, as not all targets have it.

        A normal number is rounded by adding half a last place, less one bit where that is even.
        A subnormal one is rounded by adding 1/2, whose last place is that of subnormal f16.
        """
        size = self.abs(a)
        bits = self._bits(size)

        def number(value: int) -> V:
            return self.const(value, DType.I32)

        odd = self._binary("and", self._binary("shr", bits, number(13)), number(1))
        rounded = self.add(self.add(bits, odd), number(_HALF_ROUNDING))
        normal = self._binary("shr", rounded, number(13))
        counted = self._bits(self.add(size, self.const(0.5)))
        subnormal = self.sub(counted, number(_HALF_BITS))
        half = self.select(self.lt(size, self.const(2.0**-14)), subnormal, normal)
        half = self.min(half, number(_HALF_INFINITY))
        half = self.select(self.ne(a, a), number(_HALF_NAN), half)
        sign = self._binary("and", self._binary("shr", self._bits(a), number(16)), number(-0x8000))
        return self._from_bits(self.cast(self._binary("or", half, sign), DType.I16))
