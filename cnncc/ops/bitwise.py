"""Whole numbers bit by bit: junctions, complement, shifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Array, Op, ScalarBuilder, Trait
from cnncc.ir.types import TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import Join, spread


class Bits(Join):
    """Base of the operators on the bits of two broadcast operands."""

    legal = check.WHOLE

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The whole range of the type where an operand is not known exactly."""
        limits = np.iinfo(arrays[0].dtype.name)
        reach = float(limits.max) - float(limits.min)
        return spread(np.where(errors[0] + errors[1] > 0, reach, 0.0), arrays)


class BitAnd(Bits):
    """The bits that both a and b have."""

    name = "bit_and"
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.bitwise_and(*arrays))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_and(operands[0], operands[1])


class BitOr(Bits):
    """The bits that a or b has."""

    name = "bit_or"
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.bitwise_or(*arrays))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_or(operands[0], operands[1])


class BitXor(Bits):
    """The bits in which a and b differ."""

    name = "bit_xor"
    traits = frozenset({Trait.POINTWISE, Trait.COMMUTATIVE})

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.bitwise_xor(*arrays))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_xor(operands[0], operands[1])


class BitNot(Op):
    """Every bit of a whole number turned round: -1 - x, or the largest number minus x."""

    name = "bit_not"
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The type of x, whole numbers."""
        check.arity(BitNot, types)
        dtype = check.one_type(BitNot, types, check.WHOLE)
        return check.result(BitNot, dtype, check.broadcast(BitNot, types))

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.invert(arrays[0]))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The definition."""
        return b.bit_not(operands[0])


@dataclass(frozen=True, slots=True)
class ShiftAttrs:
    """Which way.

    Attributes:
        left: towards higher bits.
    """

    left: bool


class Shift(Bits):
    """a·2^b modulo the range of the type, or floor(a / 2^b).

    Shifts by the type's width or more, and by negative numbers of places (what ONNX says of them),
    leave nothing but the sign: 0, or -1 for negative numbers to the right.
    """

    name = "shift"
    Attrs = ShiftAttrs

    @classmethod
    def check_attrs(cls, attrs: ShiftAttrs) -> None:
        """`left` is a flag."""
        check.flag(cls, "left", attrs.left)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ShiftAttrs) -> Array:
        """The definition."""
        a, b = arrays
        fits = (b >= 0) & (b < 8 * a.dtype.itemsize)
        shift = np.left_shift if attrs.left else np.right_shift
        none = a.dtype.type(0)
        sign = none if attrs.left else np.where(a < 0, ~none, none)
        return np.where(fits, shift(a, np.where(fits, b, b.dtype.type(0))), sign)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: ShiftAttrs) -> Any:
        """The builder's own."""
        return (b.shl if attrs.left else b.shr)(operands[0], operands[1])
