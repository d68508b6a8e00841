"""Functions of one number: signs, roundings to whole numbers, roots, and those of a calculator.

The latter are for f32 (`ScalarBuilder` has no others); roots, reciprocals and roundings take f64
too, signs any number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from cnncc.ir.op import F64, Accuracy, Array, ScalarBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import UNBOUNDED, Numeric, real, spread, widened


class Function(Numeric):
    """Base of the functions of one operand of any shape; the result has its type.

    Attributes:
        legal: element types of the operand.
        definition: the function on NumPy arrays.
    """

    traits = frozenset({Trait.POINTWISE})
    legal: ClassVar[Sequence[DType]] = (DType.F32,)
    definition: ClassVar[Callable[..., Any]]

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x."""
        check.arity(cls, types)
        dtype = check.one_type(cls, types, cls.legal)
        return check.result(cls, dtype, check.broadcast(cls, types))

    @classmethod
    @np.errstate(all="ignore")
    def reference(cls, arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(cls.definition(widened(arrays[0])))

    @classmethod
    def scalar(cls, b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own function of that name."""
        return getattr(b, cls.name)(operands[0])


class Monotone(Function):
    """Base of the functions that never fall, or never rise, between two ends.

    Attributes:
        domain: where they are defined; errors lead no further.
    """

    domain: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The larger of |f(x + e) - f(x)| and |f(x - e) - f(x)|."""
        x, middle = real(arrays[0]), real(cls.reference(arrays, attrs))
        ends = (np.clip(x + way * errors[0], *cls.domain) for way in (-1, 1))
        moved = [np.abs(real(cls.reference([end], attrs)) - middle) for end in ends]
        return spread(np.fmax(*moved), arrays)


class Neg(Function):
    """-x of any number; whole numbers wrap around."""

    name = "neg"
    legal = check.NUMBERS
    definition = np.negative


class Abs(Function):
    """|x| of any number; whole numbers wrap around."""

    name = "abs"
    legal = check.NUMBERS
    definition = np.abs


class Sign(Monotone):
    """-1, 0 or 1 of any number; NaN stays."""

    name = "sign"
    legal = check.NUMBERS
    definition = np.sign

    @classmethod
    def scalar(cls, b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """Two comparisons; what is neither above nor below 0 is its own sign."""
        x, dtype = operands[0], b.dtype_of(operands[0])
        zero, one = b.const(0, dtype), b.const(1, dtype)
        above = b.select(b.gt(x, zero), one, x)
        return b.select(b.lt(x, zero), b.sub(zero, one), above)


class Floor(Monotone):
    """The largest whole number not above x."""

    name = "floor"
    legal = check.FLOATS
    definition = np.floor


class Ceil(Monotone):
    """The smallest whole number not below x."""

    name = "ceil"
    legal = check.FLOATS
    definition = np.ceil


class Round(Monotone):
    """The nearest whole number, the even one of two."""

    name = "round"
    legal = check.FLOATS
    definition = np.rint

    @classmethod
    def scalar(cls, b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The builder's own."""
        return b.round_even(operands[0])


class Reciprocal(Function):
    """1 / x."""

    name = "reciprocal"
    legal = check.FLOATS
    accuracy = Accuracy(ulps=2)
    definition = np.reciprocal

    @classmethod
    def scalar(cls, b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.div(b.const(1.0, b.dtype_of(operands[0])), operands[0])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """E / (|x|·(|x| - e)); without bound where x may be 0."""
        size, error = np.abs(arrays[0]), errors[0]
        moved = error / (size * (size - error))
        return spread(np.where((error > 0) & (error >= size), UNBOUNDED, moved), arrays)


class Sqrt(Monotone):
    """The square root; NaN below 0."""

    name = "sqrt"
    legal = check.FLOATS
    accuracy = Accuracy(ulps=1)
    domain = (0.0, math.inf)
    definition = np.sqrt


class Exp(Monotone):
    """e^x."""

    name = "exp"
    accuracy = Accuracy(ulps=4, tiny=True)
    definition = np.exp


class Log(Monotone):
    """The natural logarithm: -Inf for 0, NaN below."""

    name = "log"
    accuracy = Accuracy(ulps=4)
    domain = (0.0, math.inf)
    definition = np.log


def _erf(x: F64) -> F64:
    return np.array([math.erf(v) for v in x.ravel()], np.float64).reshape(x.shape)


class Erf(Monotone):
    """The error function, 2/√π · ∫ e^-t² dt from 0 to x."""

    name = "erf"
    accuracy = Accuracy(ulps=4)
    definition = _erf


class Sin(Function):
    """The sine of x in radians."""

    name = "sin"
    accuracy = Accuracy(ulps=4)
    definition = np.sin


class Cos(Function):
    """The cosine of x in radians."""

    name = "cos"
    accuracy = Accuracy(ulps=4)
    definition = np.cos


class Tan(Function):
    """The tangent of x in radians."""

    name = "tan"
    accuracy = Accuracy(ulps=4)
    definition = np.tan

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """It rises between poles; without bound where one lies within the error."""
        x, error = arrays[0], errors[0]
        middle = np.tan(x)
        angle = np.arctan(middle)  # x less a multiple of π
        moved = [np.abs(np.tan(angle + way * error) - middle) for way in (-1, 1)]
        pole = (error > 0) & (np.abs(angle) + error >= math.pi / 2)
        return spread(np.where(pole, UNBOUNDED, np.maximum(*moved)), arrays)


class Asin(Monotone):
    """The arc sine; NaN outside of [-1, 1]."""

    name = "asin"
    accuracy = Accuracy(ulps=4)
    domain = (-1.0, 1.0)
    definition = np.arcsin


class Acos(Monotone):
    """The arc cosine; NaN outside of [-1, 1]."""

    name = "acos"
    accuracy = Accuracy(ulps=4)
    domain = (-1.0, 1.0)
    definition = np.arccos


class Atan(Monotone):
    """The arc tangent."""

    name = "atan"
    accuracy = Accuracy(ulps=4)
    definition = np.arctan


class Sinh(Monotone):
    """The hyperbolic sine."""

    name = "sinh"
    accuracy = Accuracy(ulps=4)
    definition = np.sinh


class Cosh(Function):
    """The hyperbolic cosine."""

    name = "cosh"
    accuracy = Accuracy(ulps=4)
    definition = np.cosh

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Cosh(|x| + e) - cosh(x): it is steepest outwards."""
        size = np.abs(arrays[0])
        return spread(np.cosh(size + errors[0]) - np.cosh(size), arrays)


class Asinh(Monotone):
    """The inverse hyperbolic sine."""

    name = "asinh"
    accuracy = Accuracy(ulps=4)
    definition = np.arcsinh


class Acosh(Monotone):
    """The inverse hyperbolic cosine; NaN below 1."""

    name = "acosh"
    accuracy = Accuracy(ulps=4)
    domain = (1.0, math.inf)
    definition = np.arccosh


class Atanh(Monotone):
    """The inverse hyperbolic tangent; NaN outside of [-1, 1]."""

    name = "atanh"
    accuracy = Accuracy(ulps=4)
    domain = (-1.0, 1.0)
    definition = np.arctanh
