"""Small operators for tests of kernels that run any operator's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cnncc.ir import op as ops
from cnncc.ir.op import Op, Trait
from cnncc.ir.types import DType, TensorType


class Join(Op):
    """a·a + b, broadcast, in any type."""

    name = "test_join"
    arity = (2, 2)
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        return TensorType(types[0].dtype, np.broadcast_shapes(*(t.shape for t in types)))

    @staticmethod
    def reference(arrays: Sequence[Any], attrs: Any) -> Any:
        return np.asarray(arrays[0] * arrays[0] + arrays[1])

    @staticmethod
    def scalar(b: Any, operands: Sequence[Any], attrs: Any) -> Any:
        return b.add(b.mul(operands[0], operands[0]), operands[1])

    @classmethod
    def rounding(cls, arrays: Sequence[Any], result: Any, attrs: Any) -> Any:
        return np.full(np.shape(result), 1e-5)


class Pick(Op):
    """A where a < b, else c: a truth value in the middle of an expression."""

    name = "test_pick"
    arity = (3, 3)
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        return TensorType(types[0].dtype, np.broadcast_shapes(*(t.shape for t in types)))

    @staticmethod
    def reference(arrays: Sequence[Any], attrs: Any) -> Any:
        return np.where(arrays[0] < arrays[1], arrays[0], arrays[2])

    @staticmethod
    def scalar(b: Any, operands: Sequence[Any], attrs: Any) -> Any:
        return b.select(b.lt(operands[0], operands[1]), operands[0], operands[2])


class ToType(Op):
    """The numbers in the type `attrs`."""

    name = "test_to_type"
    traits = frozenset({Trait.POINTWISE})

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: DType) -> TensorType:
        return TensorType(attrs, types[0].shape)

    @staticmethod
    def reference(arrays: Sequence[Any], attrs: DType) -> Any:
        return np.asarray(arrays[0]).astype(attrs.numpy)

    @staticmethod
    def scalar(b: Any, operands: Sequence[Any], attrs: DType) -> Any:
        return b.cast(operands[0], attrs)


@pytest.fixture
def small_ops(monkeypatch):
    """The operators of this file, registered for one test."""
    for op in (Join, Pick, ToType):
        monkeypatch.setitem(ops._REGISTRY, op.name, op)
