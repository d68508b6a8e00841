"""Pointwise operators that join feature maps, and those that do nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, Op, ScalarBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


def _infer_join(op: type[Op], types: Sequence[TensorType]) -> TensorType:
    """Equal shapes, or one operand [N,C,1,1] that spreads over H and W of the other."""
    check.arity(op, types)
    check.floats(op, types)
    a, b = types
    check.positive_shape(op, a, "a")
    check.positive_shape(op, b, "b")
    if a.shape == b.shape:
        return a
    for wide, narrow in ((a, b), (b, a)):
        if len(wide.shape) == 4 and narrow.shape == (*wide.shape[:2], 1, 1):
            return TensorType(DType.F32, wide.shape)
    raise TypeInferenceError(
        f"`{op.name}` wants equal shapes, or one operand [N,C,1,1] for a map [N,C,H,W];"
        f" got {a} and {b}"
    )


class Add(Op):
    """a + b; shapes are equal, or one operand is [N,C,1,1] and spreads over H and W."""

    name = "add"
    arity = (2, 2)
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})
    operand_names = ("a", "b")
    accuracy = Accuracy(ulps=1)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The wider operand's type."""
        return _infer_join(Add, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(arrays[0].astype(np.float64) + arrays[1])

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.add(operands[0], operands[1])

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Errors add up."""
        return np.asarray(errors[0] + errors[1])


class Mul(Op):
    """a·b; shapes are equal, or one operand is [N,C,1,1] and spreads over H and W."""

    name = "mul"
    arity = (2, 2)
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})
    operand_names = ("a", "b")
    accuracy = Accuracy(ulps=1)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The wider operand's type."""
        return _infer_join(Mul, types)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(arrays[0].astype(np.float64) * arrays[1])

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.mul(operands[0], operands[1])

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """|a|·eb + |b|·ea + ea·eb."""
        a, b = np.abs(arrays[0]), np.abs(arrays[1])
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
