"""The operator that copies: how a value gets memory of its own, such as a caller's array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnncc.ir.op import F64, Array, Op, ScalarBuilder, Trait
from cnncc.ir.types import TensorType
from cnncc.ops import check


class Copy(Op):
    """The same elements in memory of their own; plans insert it before outputs."""

    name = "copy"
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x."""
        check.arity(Copy, types)
        check.positive_shape(Copy, types[0])
        return types[0]

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The operand."""
        return arrays[0]

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The operand."""
        return operands[0]

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """Errors stay."""
        return errors[0]
