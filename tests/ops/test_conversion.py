"""Casts where types do not hold the number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import DType, f32
from cnncc.ops.conversion import Cast, CastAttrs
from tests.numpy_scalar import NumpyScalar

EDGES = np.array([np.nan, np.inf, -np.inf, -0.9, 1.9, 300.0, -300.0, 1e30])


@pytest.mark.parametrize(
    ("values", "to", "expected"),
    [
        (EDGES, DType.U8, [0, 255, 0, 0, 1, 255, 0, 255]),
        (EDGES, DType.I8, [0, 127, -128, 0, 1, 127, -128, 127]),
        (EDGES, DType.I64, [0, 2**63 - 1, -(2**63), 0, 1, 300, -300, 2**63 - 1]),
        (EDGES, DType.U64, [0, 2**64 - 1, 0, 0, 1, 300, 0, 2**64 - 1]),
        (EDGES, DType.BOOL, [True] * 8),
        (np.array([0.0, -0.0, 1e-40]), DType.BOOL, [False, False, True]),
        (np.array([300, -1, 2**40 + 5]), DType.U8, [44, 255, 5]),
        (np.array([2**24 + 1, 2**24 + 3]), DType.F32, [2.0**24, 2.0**24 + 4]),
        (np.array([True, False]), DType.F32, [1.0, 0.0]),
        (np.array([2049.0, 1e6, 1e-9]), DType.F16, [2048.0, np.inf, 0.0]),
    ],
)
def test_values(values: np.ndarray, to: DType, expected: list[Any]) -> None:
    attrs = CastAttrs(to)
    for made in (Cast.reference([values], attrs), Cast.scalar(NumpyScalar(), [values], attrs)):
        assert made.dtype == (np.float64 if to.is_float else to.numpy)
        assert made.tolist() == expected


def test_a_cast_wants_an_element_type() -> None:
    with pytest.raises(TypeInferenceError, match="`cast` wants an element type"):
        Cast.infer([f32(2)], CastAttrs("i32"))  # type: ignore[arg-type]


def test_errors_that_cross_a_whole_number_count_as_one() -> None:
    x, error = np.array([1.5, 1.9, 0.2, -0.1]), np.full(4, 0.25)
    bound = Cast.propagate([x], [error], CastAttrs(DType.I32))
    assert bound.tolist() == [0, 1, 0, 0]
    flips = Cast.propagate([x], [error], CastAttrs(DType.BOOL))
    assert flips.tolist() == [0, 0, 1, 1]


def test_errors_that_may_wrap_around_reach_over_the_type() -> None:
    x, error = np.array([100, 127, -5]), np.array([2.0, 2.0, 0.0])
    assert Cast.propagate([x], [error], CastAttrs(DType.I8)).tolist() == [2, 255, 0]
