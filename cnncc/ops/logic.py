"""Logic: arithmetic of truth values, and the choice by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Array, Op, ScalarBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import Join, real, spread, widened


class _Logic(Join):
    """Base of the junctions of truth values."""

    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})
    legal = (DType.BOOL,)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """An answer may flip where an operand may."""
        return np.asarray(np.maximum(errors[0], errors[1]))


class LogicalAnd(_Logic):
    """Whether both a and b hold."""

    name = "logical_and"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.logical_and(*arrays))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_and(operands[0], operands[1])


class LogicalOr(_Logic):
    """Whether a or b holds, or both."""

    name = "logical_or"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.logical_or(*arrays))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_or(operands[0], operands[1])


class LogicalXor(_Logic):
    """Whether just one of a and b holds."""

    name = "logical_xor"

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.logical_xor(*arrays))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_xor(operands[0], operands[1])


class LogicalNot(Op):
    """Whether x does not hold."""

    name = "logical_not"
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x, truth values."""
        check.arity(LogicalNot, types)
        check.one_type(LogicalNot, types, (DType.BOOL,))
        return check.result(LogicalNot, DType.BOOL, check.broadcast(LogicalNot, types))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.logical_not(arrays[0]))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_not(operands[0])


class Where(Op):
    """`a` where the condition holds, else `b`; all three broadcast."""

    name = "where"
    arity = (3, 3)
    traits = frozenset({Trait.POINTWISE})
    operand_names = ("cond", "a", "b")

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of a and b, of the shape to which all three broadcast."""
        check.arity(Where, types)
        cond, *values = types
        if cond.dtype is not DType.BOOL:
            raise TypeInferenceError(f"`where` wants `cond` of bool, got {cond}")
        check.positive_shape(Where, cond, "cond")
        if values[0].dtype is not values[1].dtype:
            raise TypeInferenceError(
                f"`where` wants `a` and `b` of one element type, got {check.listed(values)}"
            )
        dtype = check.one_type(Where, values, check.ANY)
        return check.result(Where, dtype, check.broadcast(Where, types))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.where(arrays[0], *map(widened, arrays[1:]))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.select(operands[0], operands[1], operands[2])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The chosen one's; where the condition may flip, the way to the other one too."""
        cond, a, b = arrays
        chosen = np.where(cond, errors[1], errors[2])
        apart = np.abs(real(a) - real(b)) + np.maximum(errors[1], errors[2])
        return spread(np.where(errors[0] > 0, apart, chosen), arrays)
