"""Functions at the ends of their domains, and where their errors have no bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops import unary
from cnncc.ops.elementwise import UNBOUNDED
from cnncc.ops.unary import Abs, Floor, Function, Log, Neg, Reciprocal, Round, Sign, Sqrt, Tan
from tests.numpy_scalar import NumpyScalar

NAN, INF = math.nan, math.inf
# At -Inf, -2, 0, 2, Inf, NaN.
LIMITS = {
    "neg": (INF, 2, 0, -2, -INF),
    "abs": (INF, 2, 0, 2, INF),
    "sign": (-1, -1, 0, 1, 1),
    "floor": (-INF, -2, 0, 2, INF),
    "ceil": (-INF, -2, 0, 2, INF),
    "round": (-INF, -2, 0, 2, INF),
    "reciprocal": (0, -0.5, INF, 0.5, 0),
    "sqrt": (NAN, NAN, 0, math.sqrt(2), INF),
    "exp": (0, math.exp(-2), 1, math.exp(2), INF),
    "log": (NAN, NAN, -INF, math.log(2), INF),
    "erf": (-1, math.erf(-2), 0, math.erf(2), 1),
    "sin": (NAN, math.sin(-2), 0, math.sin(2), NAN),
    "cos": (NAN, math.cos(-2), 1, math.cos(2), NAN),
    "tan": (NAN, math.tan(-2), 0, math.tan(2), NAN),
    "asin": (NAN, NAN, 0, NAN, NAN),
    "acos": (NAN, NAN, math.pi / 2, NAN, NAN),
    "atan": (-math.pi / 2, math.atan(-2), 0, math.atan(2), math.pi / 2),
    "sinh": (-INF, math.sinh(-2), 0, math.sinh(2), INF),
    "cosh": (INF, math.cosh(-2), 1, math.cosh(2), INF),
    "asinh": (-INF, math.asinh(-2), 0, math.asinh(2), INF),
    "acosh": (NAN, NAN, NAN, math.acosh(2), INF),
    "atanh": (NAN, NAN, 0, NAN, NAN),
}
FUNCTIONS = {
    op.name: op
    for op in vars(unary).values()
    if isinstance(op, type) and issubclass(op, Function) and hasattr(op, "name")
}


def test_every_function_has_limits() -> None:
    assert set(FUNCTIONS) == set(LIMITS)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_limits_and_nan(name: str) -> None:
    x = np.array([-INF, -2.0, 0.0, 2.0, INF, NAN])
    for made in (
        FUNCTIONS[name].reference([x], NoAttrs()),
        FUNCTIONS[name].scalar(NumpyScalar(), [x], NoAttrs()),
    ):
        np.testing.assert_allclose(made, [*LIMITS[name], NAN], rtol=1e-15)


def test_halves_are_rounded_to_even() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    for made in (Round.reference([x], NoAttrs()), Round.scalar(NumpyScalar(), [x], NoAttrs())):
        assert made.tolist() == [-2, -2, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("op", "expected"), [(Neg, [-128, -5, 0]), (Abs, [-128, 5, 0]), (Sign, [-1, 1, 0])]
)
def test_whole_numbers_stay_in_their_type(op: type[Function], expected: list[int]) -> None:
    x = np.array([-128, 5, 0], np.int8)
    for made in (op.reference([x], NoAttrs()), op.scalar(NumpyScalar(), [x], NoAttrs())):
        assert made.dtype == np.int8
        assert made.tolist() == expected


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_which_types_a_function_takes(name: str) -> None:
    op = FUNCTIONS[name]
    for dtype in DType:
        found = TensorType(dtype, (2, 3))
        if dtype in op.legal:
            assert op.infer([found], NoAttrs()) == found
            continue
        with pytest.raises(TypeInferenceError, match=f"`{name}` computes in"):
            op.infer([found], NoAttrs())
    assert DType.F32 in op.legal
    assert op.infer([f32()], NoAttrs()) == f32()


def test_a_rounding_jumps_only_near_its_threshold() -> None:
    x, error = np.array([1.5, 1.9, -0.1]), np.full(3, 0.25)
    assert Floor.propagate([x], [error], NoAttrs()).tolist() == [0, 1, 1]
    assert Round.propagate([x], [error], NoAttrs()).tolist() == [1, 0, 0]
    assert Sign.propagate([x], [error], NoAttrs()).tolist() == [0, 0, 2]


def test_poles_within_the_error_bound_nothing() -> None:
    x, error = np.array([0.2, 1.0]), np.full(2, 0.25)
    reciprocal = Reciprocal.propagate([x], [error], NoAttrs())
    assert reciprocal[0] == UNBOUNDED
    assert reciprocal[1] == pytest.approx(1 / 0.75 - 1)
    tangent = Tan.propagate([np.array([1.5, 1.0]) + math.pi], [error], NoAttrs())
    assert tangent[0] == UNBOUNDED
    assert tangent[1] == pytest.approx(math.tan(1.25) - math.tan(1.0))
    assert Log.propagate([x], [error], NoAttrs())[0] == UNBOUNDED


def test_errors_lead_no_further_than_the_domain() -> None:
    bound = Sqrt.propagate([np.array([0.01])], [np.array([0.25])], NoAttrs())
    assert bound.item() == pytest.approx(math.sqrt(0.26) - 0.1)
