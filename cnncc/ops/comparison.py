"""Comparisons: questions to numbers, which errors may answer the other way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Array, Op, ScalarBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import Join, real, spread, widened


class Comparison(Join):
    """Base of the comparisons: two broadcast operands of one type, a truth value; false on NaN."""

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: Any) -> TensorType:
        """Truth values of the shape to which the operands broadcast."""
        return check.result(cls, DType.BOOL, super().infer(types, attrs).shape)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """1 where a and b lie within their errors of each other: the answer may flip."""
        reach = errors[0] + errors[1]
        near = np.abs(real(arrays[0]) - real(arrays[1])) <= reach
        return spread(1.0 * (near & (reach > 0)), arrays)


class Equal(Comparison):
    """Whether a = b; also of truth values."""

    name = "equal"
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})
    legal = check.ANY

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.equal(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.eq(operands[0], operands[1])


class Less(Comparison):
    """Whether a < b."""

    name = "less"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.less(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.lt(operands[0], operands[1])


class LessEqual(Comparison):
    """Whether a <= b."""

    name = "less_equal"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.less_equal(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.le(operands[0], operands[1])


class Greater(Comparison):
    """Whether a > b."""

    name = "greater"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.greater(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.gt(operands[0], operands[1])


class GreaterEqual(Comparison):
    """Whether a >= b."""

    name = "greater_equal"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.greater_equal(*map(widened, arrays)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.ge(operands[0], operands[1])


class IsNan(Op):
    """Whether a float is no number."""

    name = "is_nan"
    traits = frozenset({Trait.POINTWISE})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: Any) -> TensorType:
        """Truth values of the shape of x, which holds floats."""
        check.arity(cls, types)
        check.one_type(cls, types, check.FLOATS)
        return check.result(cls, DType.BOOL, check.broadcast(cls, types))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.isnan(arrays[0]))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """NaN is what differs from itself."""
        return b.ne(operands[0], operands[0])

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """None: errors never make a number of NaN."""
        return np.zeros(np.shape(arrays[0]))


@dataclass(frozen=True, slots=True)
class IsInfAttrs:
    """Which infinities count.

    Attributes:
        positive: whether +Inf does.
        negative: whether -Inf does.
    """

    positive: bool = True
    negative: bool = True


class IsInf(Op):
    """Whether a float is an infinity."""

    name = "is_inf"
    Attrs = IsInfAttrs
    traits = frozenset({Trait.POINTWISE})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: IsInfAttrs) -> TensorType:
        """Truth values of the shape of x, which holds floats."""
        check.flag(cls, "positive", attrs.positive)
        check.flag(cls, "negative", attrs.negative)
        check.arity(cls, types)
        check.one_type(cls, types, check.FLOATS)
        return check.result(cls, DType.BOOL, check.broadcast(cls, types))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: IsInfAttrs) -> Array:
        """The definition."""
        x = arrays[0]
        return np.asarray((attrs.positive & np.isposinf(x)) | (attrs.negative & np.isneginf(x)))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: IsInfAttrs) -> Any:
        """The definition; with neither, what is never true."""
        x, dtype = operands[0], b.dtype_of(operands[0])
        high = b.eq(x, b.const(float("inf"), dtype))
        low = b.eq(x, b.const(float("-inf"), dtype))
        if attrs.positive and attrs.negative:
            return b.bit_or(high, low)
        if attrs.positive or attrs.negative:
            return high if attrs.positive else low
        return b.bit_and(high, low)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """None: bounds are finite."""
        return np.zeros(np.shape(arrays[0]))
