"""Arithmetic on two broadcast operands beyond sums and products: quotients, powers, extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Accuracy, Array, ScalarBuilder, Trait
from cnncc.ir.types import DType
from cnncc.ops import check
from cnncc.ops.elementwise import UNBOUNDED, Join, real, spread, widened


def _truncated(a: Array, b: Array) -> Array:
    """Quotients of whole numbers towards zero; 0 where b is 0."""
    safe = np.where(b == 0, b.dtype.type(1), b)
    quotient = a // safe
    # `//` rounds down: one too low where signs differ and something is left.
    low = (a - quotient * safe != 0) & ((a < 0) != (safe < 0))
    return np.asarray(np.where(b == 0, a.dtype.type(0), quotient + low.astype(a.dtype)))


def _quotient_error(arrays: Sequence[Array], errors: Sequence[F64]) -> F64:
    """How far a/b may move: (ea + |a/b|·eb) / (|b| - eb), and without bound where b may be 0."""
    a, b = (np.abs(real(x)) for x in arrays)
    moved = (errors[0] + a / b * errors[1]) / np.maximum(b - errors[1], 0.0)
    moves = (errors[0] > 0) | (errors[1] > 0)
    return np.where(moves & (b <= errors[1]), UNBOUNDED, np.where(moves, moved, 0.0))


class Div(Join):
    """A / b; of whole numbers truncated towards zero, and 0 where b is 0."""

    name = "div"
    accuracy = Accuracy(ulps=2)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        a, b = map(widened, arrays)
        return np.asarray(a / b if a.dtype.kind == "f" else _truncated(a, b))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.div(operands[0], operands[1])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The quotient's, and 1 more where it is truncated."""
        moved = _quotient_error(arrays, errors)
        if arrays[0].dtype.kind != "f":
            moved = np.where(moved > 0, moved + 1, 0.0)
        return spread(moved, arrays)


class Pow(Join):
    """a^b as C's powf defines it: 1 for b = 0 whatever a, NaN for negative a and fractional b."""

    name = "pow"
    legal = (DType.F32,)
    accuracy = Accuracy(ulps=4)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.power(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.pow(operands[0], operands[1])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Through b·log|a|; where a may change its sign, both ends, or anything for b < 0."""
        (a, b), (ea, eb) = (np.abs(real(arrays[0])), real(arrays[1])), errors
        shift = -np.log1p(-ea / a)  # of log|a|, the larger of both ways
        log = np.abs(np.log(a))
        moved = a**b * np.expm1(np.abs(b) * shift + log * eb + shift * eb)
        crossing = np.where((eb == 0) & (b > 0), (a + ea) ** b + a**b, UNBOUNDED)
        moved = np.where((ea > 0) & (ea >= a), crossing, moved)
        undefined = (real(arrays[0]) <= 0) & (eb > 0)  # b may become fractional
        return spread(np.where(undefined, UNBOUNDED, moved), arrays)


@dataclass(frozen=True, slots=True)
class ModAttrs:
    """Which remainder.

    Attributes:
        fmod: true for C's, with the sign of a; false for the one with the sign of b.
    """

    fmod: bool = False


class Mod(Join):
    """What division leaves: a - b·floor(a/b), or a - b·trunc(a/b) with `fmod`.

    Of whole numbers 0 where b is 0.
    """

    name = "mod"
    Attrs = ModAttrs

    @classmethod
    def check_attrs(cls, attrs: ModAttrs) -> None:
        """`fmod` is a flag."""
        check.flag(cls, "fmod", attrs.fmod)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: ModAttrs) -> Array:
        """The definition."""
        a, b = map(widened, arrays)
        return np.asarray(np.fmod(a, b) if attrs.fmod else np.mod(a, b))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: ModAttrs) -> Any:
        """C's remainder, and the divisor added where signs differ."""
        x, divisor = operands
        rest = b.rem(x, divisor)
        if attrs.fmod:
            return rest
        zero = b.const(0, b.dtype_of(x))
        apart = b.bit_xor(b.lt(rest, zero), b.lt(divisor, zero))
        return b.select(b.bit_and(b.ne(rest, zero), apart), b.add(rest, divisor), rest)

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: ModAttrs) -> F64:
        """C's remainder of floats is exact; the other one adds once, to no more than |b|."""
        if attrs.fmod or result.dtype.kind != "f":
            return np.zeros(result.shape)
        return spread(2.0**-23 * np.minimum(np.abs(arrays[1]), UNBOUNDED), arrays)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: ModAttrs) -> F64:
        """Both errors, and a jump of |b| + eb where the quotient may be another one."""
        quotient = real(arrays[0]) / real(arrays[1])
        moved = _quotient_error(arrays, errors)
        whole = np.trunc if attrs.fmod else np.floor
        turns = np.maximum(np.abs(whole(quotient - moved)), np.abs(whole(quotient + moved)))
        jumps = whole(quotient - moved) != whole(quotient + moved)
        jump = np.where(jumps, np.abs(real(arrays[1])) + errors[1], 0.0)
        drift = errors[0] + np.where(errors[1] > 0, turns * errors[1], 0.0)
        return spread(drift + jump, arrays)


class _Extreme(Join):
    """Base of the smaller and the larger of two numbers."""

    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The larger error."""
        return np.asarray(np.maximum(errors[0], errors[1]))


class Minimum(_Extreme):
    """The smaller of a and b; NaN if either is."""

    name = "minimum"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.minimum(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.min(operands[0], operands[1])


class Maximum(_Extreme):
    """The larger of a and b; NaN if either is."""

    name = "maximum"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.maximum(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.max(operands[0], operands[1])
