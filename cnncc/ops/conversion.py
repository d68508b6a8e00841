"""The operator that changes element types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Array, Op, ScalarBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import real, spread


@dataclass(frozen=True, slots=True)
class CastAttrs:
    """The type to have.

    Attributes:
        to: the element type of the result.
    """

    to: DType


def saturated(values: Array, dtype: DType) -> Array:
    """Floats as whole numbers: truncated, the nearest one in the type's range, 0 for NaN."""
    limits = np.iinfo(dtype.numpy.name)
    whole = np.trunc(values)
    above, below = whole >= float(limits.max), whole <= float(limits.min)
    inside = np.where(above | below | np.isnan(whole), 0.0, whole).astype(dtype.numpy)
    low, high = (dtype.numpy.type(end) for end in (limits.min, limits.max))
    return np.where(above, high, np.where(below, low, inside))


class Cast(Op):
    """The number in another element type.

    To fewer bits floats are rounded to the nearest; to whole numbers they are truncated and
    saturate, NaN gives 0; whole numbers wrap around. To truth values it asks whether a number is
    not 0; those give 0 and 1.
    """

    name = "cast"
    Attrs = CastAttrs
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: CastAttrs) -> TensorType:
        """The shape of x in the other type."""
        if not isinstance(attrs.to, DType):
            raise TypeInferenceError(f"`cast` wants an element type, got {attrs.to!r}")
        check.arity(Cast, types)
        check.one_type(Cast, types, tuple(DType))
        return check.result(Cast, attrs.to, check.broadcast(Cast, types))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: CastAttrs) -> Array:
        """The definition; floats are rounded to the type, then held in float64."""
        x, to = arrays[0], attrs.to
        if to is DType.BOOL:
            return np.asarray(x != 0)
        if to.is_float:
            return np.asarray(x.astype(to.numpy).astype(np.float64))
        return saturated(x, to) if x.dtype.kind == "f" else np.asarray(x.astype(to.numpy))

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: CastAttrs) -> Any:
        """The builder's own."""
        return b.cast(operands[0], attrs.to)

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: CastAttrs) -> F64:
        """What both ends give; where whole numbers may wrap around, the range of the type."""
        x, error = real(arrays[0]), errors[0]
        if attrs.to is DType.BOOL:
            return spread(1.0 * ((error > 0) & (np.abs(x) <= error)), arrays)
        if not attrs.to.is_float and arrays[0].dtype.kind != "f":
            limits = np.iinfo(attrs.to.numpy.name)
            reach = float(limits.max) - float(limits.min)
            inside = (x - error >= float(limits.min)) & (x + error <= float(limits.max))
            return spread(np.where(error > 0, np.where(inside, error, reach), 0.0), arrays)
        middle = real(Cast.reference([x], attrs))
        ends = [real(Cast.reference([x + way * error], attrs)) for way in (-1, 1)]
        moved = np.maximum(*(np.abs(end - middle) for end in ends))
        return spread(np.where(error > 0, moved, 0.0), arrays)
