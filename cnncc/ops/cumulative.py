"""Running sums and products along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Trait, ulp
from cnncc.ir.types import TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import UNBOUNDED, Numeric, real, widened


@dataclass(frozen=True, slots=True)
class CumulativeAttrs:
    """Which elements come together.

    Attributes:
        axis: the axis.
        exclusive: all before an element, without itself.
        reverse: those behind it instead of those before it.
    """

    axis: int = 0
    exclusive: bool = False
    reverse: bool = False


class _Cumulative(Numeric):
    """Base of both: the type rule, and the loop over the elements that come together."""

    Attrs = CumulativeAttrs
    traits = frozenset({Trait.ELEMENT})

    @classmethod
    def infer(cls, types: Sequence[TensorType], attrs: CumulativeAttrs) -> TensorType:
        """The type of x, any numbers."""
        check.flag(cls, "exclusive", attrs.exclusive)
        check.flag(cls, "reverse", attrs.reverse)
        check.arity(cls, types)
        check.one_type(cls, types, check.NUMBERS)
        check.axis(cls, attrs.axis, types[0])
        return check.result(cls, types[0].dtype, types[0].shape)

    @classmethod
    @np.errstate(all="ignore")
    def reference(cls, arrays: Sequence[Array], attrs: CumulativeAttrs) -> Array:
        """The definition."""
        x = np.moveaxis(widened(arrays[0]), attrs.axis, -1)
        x = x[..., ::-1] if attrs.reverse else x
        join = np.cumsum if cls is CumSum else np.cumprod
        made = np.asarray(join(x, axis=-1, dtype=x.dtype))
        if attrs.exclusive:
            start = np.full((*x.shape[:-1], 1), cls is CumProd, x.dtype)
            made = np.concatenate([start, made[..., :-1]], axis=-1)
        made = made[..., ::-1] if attrs.reverse else made
        return np.moveaxis(made, -1, attrs.axis)

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: CumulativeAttrs) -> Cost:
        """Half an axis of operations an element, as each is computed on its own."""
        flops = result.elems * (result.shape[attrs.axis] + 1) // 2
        return Cost(0, flops, types[0].size_bytes + result.size_bytes)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: CumulativeAttrs) -> int:
        """All of the axis at most."""
        return types[0].shape[attrs.axis]

    @classmethod
    def element(
        cls,
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: CumulativeAttrs,
    ) -> Any:
        """One loop from the axis's start, or from the element to its end."""
        axis, dtype = attrs.axis, types[0].dtype
        here, extent = index[axis], types[0].shape[axis]
        own = 0 if attrs.exclusive else 1
        first: Any = 0
        count = b.plus(here, own)
        if attrs.reverse:
            first = b.plus(here, 1 - own)
            count = b.plus(extent - 1 + own, b.times(here, -1))
        join = b.add if cls is CumSum else b.mul

        def step(k: Any, carried: list[Any]) -> list[Any]:
            place = [b.plus(first, k) if a == axis else i for a, i in enumerate(index)]
            return [join(carried[0], b.load(0, place))]

        return b.loop(count, [b.const(0 if cls is CumSum else 1, dtype)], step)[0]


class CumSum(_Cumulative):
    """The sum of the elements up to each one along an axis; whole numbers wrap around."""

    name = "cumsum"
    accuracy = Accuracy(sums=True)

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: CumulativeAttrs
    ) -> F64:
        """Errors add up as values do."""
        return cls.reference([np.asarray(errors[0], np.float64)], attrs)


class CumProd(_Cumulative):
    """The product of the elements up to each one along an axis; whole numbers wrap around."""

    name = "cumprod"

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: CumulativeAttrs) -> F64:
        """An ulp a factor."""
        if result.dtype.kind != "f":
            return np.zeros(result.shape)
        return np.asarray(result.shape[attrs.axis] * ulp(result))

    @classmethod
    @np.errstate(all="ignore")
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: CumulativeAttrs
    ) -> F64:
        """∏(|x| + e) - ∏|x|."""
        size = np.abs(real(arrays[0]))
        moved = cls.reference([size + errors[0]], attrs) - cls.reference([size], attrs)
        return np.where(np.isnan(moved), 0.0, np.minimum(moved, UNBOUNDED))
