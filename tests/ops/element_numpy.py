"""An interpreter of `element` rules on NumPy numbers: one element of a result at a time.

It holds rules to what kernels take for granted: places are whole numbers, loads lie inside their
operands, operands of arithmetic have one type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from cnncc.ir.op import Op
from cnncc.ir.types import DType, TensorType
from tests.numpy_scalar import NumpyScalar


class NumpyElement(NumpyScalar):
    """An `ElementBuilder` on arrays; floats are computed in the type they come in."""

    def __init__(
        self, arrays: Sequence[np.ndarray], dtype: type[np.floating[Any]] = np.float32
    ) -> None:
        super().__init__(dtype)
        self.arrays = arrays

    def const(self, value: float, dtype: DType = DType.F32) -> Any:
        return dtype.numpy.type(value)

    def load(self, operand: int, index: Sequence[Any]) -> Any:
        array = self.arrays[operand]
        place = tuple(whole(i) for i in index)
        assert len(place) == array.ndim, f"{len(place)} places for rank {array.ndim}"
        inside = all(0 <= i < n for i, n in zip(place, array.shape, strict=True))
        assert inside, f"load outside of operand {operand}: {place} in {array.shape}"
        return array[place]

    def load_if(self, cond: Any, operand: int, index: Sequence[Any], otherwise: Any) -> Any:
        array = self.arrays[operand]
        assert np.asarray(otherwise).dtype == array.dtype, "the other value is of another type"
        return self.load(operand, index) if truth(cond) else otherwise

    def plus(self, *places: Any) -> int:
        return sum(whole(p) for p in places)

    def times(self, place: Any, factor: int) -> int:
        assert type(factor) is int
        return whole(place) * factor

    def quotient(self, place: Any, divisor: int) -> int:
        assert whole(place) >= 0
        assert whole(divisor) > 0
        return whole(place) // divisor

    def remainder(self, place: Any, divisor: int) -> int:
        assert whole(place) >= 0
        assert whole(divisor) > 0
        return whole(place) % divisor

    def within(self, place: Any, low: int, high: int) -> Any:
        return np.bool_(low <= whole(place) < high)

    def place_lt(self, a: Any, b: Any) -> Any:
        return np.bool_(whole(a) < whole(b))

    def clamp(self, place: Any, low: int, high: int) -> int:
        return min(max(whole(place), low), high)

    def place_of(self, value: Any) -> int:
        assert np.asarray(value).dtype.kind in "iu", "a place from something that is no number"
        return int(value)

    def value_of(self, place: Any, dtype: DType) -> Any:
        return dtype.numpy.type(whole(place))

    def loop(
        self, extent: Any, initial: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]
    ) -> list[Any]:
        values = list(initial)
        for k in range(whole(extent)):
            after = list(body(k, list(values)))
            assert [_type(v) for v in after] == [_type(v) for v in values], "carried types differ"
            values = after
        return values


def evaluate(
    op: type[Op],
    arrays: Sequence[np.ndarray],
    attrs: Any,
    places: Iterable[tuple[int, ...]] | None = None,
) -> np.ndarray:
    """The elements of a result at some places, in their order; the whole result without places."""
    types = [TensorType(DType.of(a.dtype), a.shape) for a in arrays]
    result = op.infer(types, attrs)
    builder = NumpyElement(arrays)
    wanted = list(np.ndindex(result.shape) if places is None else places)
    made = np.empty(len(wanted), result.dtype.numpy)
    for number, place in enumerate(wanted):
        value = np.asarray(op.element(builder, types, result, list(place), attrs))
        assert value.dtype == result.dtype.numpy, f"{value.dtype} instead of {result.dtype}"
        made[number] = value
    return made.reshape(result.shape) if places is None else made


def whole(place: Any) -> int:
    """A place; only Python's own whole numbers are."""
    assert type(place) is int, f"{place!r} is no place: `place_of` makes one of a value"
    return place


def truth(value: Any) -> bool:
    """A truth value; no number stands for one."""
    assert np.asarray(value).dtype == np.bool_, f"{value!r} is no truth value"
    return bool(value)


def _type(value: Any) -> Any:
    return int if type(value) is int else np.asarray(value).dtype
