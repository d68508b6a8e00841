"""Pointwise operators on operands that broadcast, and those that do nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, Op, ScalarBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check

UNBOUNDED = float(np.finfo(np.float32).max)
"""An error bound where operands that move within their errors may give any number."""


def widened(array: Array) -> Array:
    """Floats in float64; whole numbers and truth values stay."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def real(array: Array) -> F64:
    """Numbers of any type in float64, for bounds."""
    return np.asarray(array, np.float64)


def spread(bound: Array, result_of: Sequence[Array]) -> F64:
    """A bound for each element of the result of broadcast operands; NaN counts as no error.

    Infinite and undefined results are judged by their class.
    """
    shape = np.broadcast_shapes(*(np.shape(a) for a in result_of))
    known = np.where(np.isnan(bound), 0.0, np.minimum(bound, UNBOUNDED))
    return np.broadcast_to(np.asarray(known, np.float64), shape)


class Numeric(Op):
    """Base of operators whose results of whole numbers and truth values are exact."""

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: Any) -> F64:
        """The operator's bound for floats, else 0."""
        if result.dtype.kind != "f":
            return np.zeros(result.shape)
        return super().rounding(arrays, result, attrs)


class Join(Numeric):
    """Base of the operators on two operands of one type, which broadcast by NumPy's rule.

    Attributes:
        legal: element types of the operands.
    """

    arity = (2, 2)
    traits = frozenset({Trait.POINTWISE})
    operand_names = ("a", "b")
    legal: ClassVar[Sequence[DType]] = check.NUMBERS

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The operands' type, of the shape to which they broadcast."""
        check.arity(cls, types)
        dtype = check.one_type(cls, types, cls.legal)
        cls.check_attrs(attrs)
        return check.result(cls, dtype, check.broadcast(cls, types))

    @classmethod
    def check_attrs(cls, attrs: Any) -> None:
        """By default there is nothing to check."""


class Add(Join):
    """a + b of any numbers; whole numbers wrap around."""

    name = "add"
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})
    accuracy = Accuracy(ulps=1)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.add(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.add(operands[0], operands[1])

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Errors add up."""
        return np.asarray(errors[0] + errors[1])


class Sub(Join):
    """A - b of any numbers; whole numbers wrap around."""

    name = "sub"
    accuracy = Accuracy(ulps=1)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.subtract(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.sub(operands[0], operands[1])

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Errors add up."""
        return np.asarray(errors[0] + errors[1])


class Mul(Join):
    """a·b of any numbers; whole numbers wrap around."""

    name = "mul"
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})
    accuracy = Accuracy(ulps=1)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.multiply(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.mul(operands[0], operands[1])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """|a|·eb + |b|·ea + ea·eb."""
        a, b = (np.abs(real(x)) for x in arrays)
        return np.asarray(a * errors[1] + b * errors[0] + errors[0] * errors[1])


class Nothing(Op):
    """Base of the operators that hand on their operand."""

    traits = frozenset({Trait.POINTWISE, Trait.SHAPE_ONLY})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x."""
        check.arity(cls, types)
        check.positive_shape(cls, types[0])
        return types[0]

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The operand."""
        return arrays[0]

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """No work: passes remove it."""
        return Cost()

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The operand."""
        return operands[0]


class Identity(Nothing):
    """The operand itself."""

    name = "identity"


@dataclass(frozen=True, slots=True)
class DropoutAttrs:
    """What training did; it does not compute.

    Attributes:
        rate: share of values that training set to zero, at least 0 and below 1.
    """

    rate: float = 0.5


class Dropout(Nothing):
    """The operand itself: dropout works in training only."""

    name = "dropout"
    Attrs = DropoutAttrs

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: DropoutAttrs) -> TensorType:
        """The type of x."""
        if not 0 <= check.finite(cls, "rate", attrs.rate) < 1:
            raise TypeInferenceError(f"`dropout` wants rate from 0 to below 1, got {attrs.rate!r}")
        return super().infer(types, attrs)
