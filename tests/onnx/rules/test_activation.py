"""Activations, softmax at old and new semantics, and what does nothing at inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(2, 3, 4, 5, low=-4, high=4)


@pytest.mark.parametrize(
    ("op", "opset", "how"),
    [
        ("Sigmoid", 7, {}),
        ("Tanh", 7, {}),
        ("Softplus", 7, {}),
        ("Softsign", 7, {}),
        ("HardSwish", 14, {}),
        ("Mish", 18, {}),
        ("Relu", 7, {}),
        ("LeakyRelu", 7, {}),
        ("LeakyRelu", 16, {"alpha": 0.3}),
        ("Elu", 7, {"alpha": 1.7}),
        ("Selu", 7, {}),
        ("Selu", 7, {"alpha": 2.0, "gamma": 0.5}),
        ("Celu", 12, {"alpha": 0.4}),
        ("ThresholdedRelu", 10, {"alpha": 0.6}),
        ("Shrink", 9, {"lambd": 1.5}),
        ("Shrink", 9, {"lambd": 0.2, "bias": 0.7}),
        ("HardSigmoid", 7, {}),
        ("HardSigmoid", 7, {"alpha": 0.4, "beta": 0.3}),
        ("Gelu", 20, {}),
        ("Gelu", 20, {"approximate": "tanh"}),
    ],
)
def test_functions(op: str, opset: int, how: dict[str, Any]) -> None:
    check(op, [X], opset=opset, limit=2e-5, **how)


def test_old_attributes_that_mean_nothing() -> None:
    equal("Relu", [i64(-1, 2).astype(np.float32)], [0.0, 2.0], opset=6)
    with pytest.raises(Refused, match="slope"):
        run("Relu", [X], opset=13, slope=0.1)


def test_relu_of_whole_numbers() -> None:
    check("Relu", [np.array([-3, 4], np.int32)], opset=14)


def test_swish() -> None:
    for alpha in (1.0, 1.7):
        (found,) = run("Swish", [X], opset=24, alpha=alpha)
        np.testing.assert_allclose(found, X / (1 + np.exp(-alpha * X)), 1e-5, 1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1,), (3, 4, 5), (1, 3, 1, 1), (5,)])
@pytest.mark.parametrize("constant", [(), (1,)])
def test_slopes(shape: tuple[int, ...], constant: tuple[int, ...]) -> None:
    for opset in (7, 9, 16):
        check("PRelu", [X, f32(*shape)], opset=opset, constant=constant)


def test_slopes_of_opset_6_lie_along_the_channels() -> None:
    slope = f32(3)
    wanted = np.where(X < 0, X * slope[:, None, None], X)
    equal("PRelu", [X, slope], wanted, opset=6)
    equal("PRelu", [X, slope], wanted, opset=6, constant=(1,))


@pytest.mark.parametrize("given", [{}, {"min": -1.0}, {"max": 0.5}, {"min": -1.0, "max": 0.5}])
def test_bounds_by_attributes_and_by_operands(given: dict[str, float]) -> None:
    check("Clip", [X], opset=7, **given)
    bounds = [np.float32(given[w]) if w in given else None for w in ("min", "max")]
    for opset in (11, 12, 13):
        check("Clip", [X, *bounds], opset=opset)
    whole = (10 * X).astype(np.int64)
    check("Clip", [whole, *[None if b is None else np.int64(b * 4) for b in bounds]], opset=12)


def test_bounds_that_cross() -> None:
    equal("Clip", [X, np.float32(2), np.float32(-1)], np.full(X.shape, -1.0), opset=13)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_over_one_axis_or_all_from_it_on(op: str, axis: int | None) -> None:
    given = {} if axis is None else {"axis": axis}
    for opset in (11, 13):
        check(op, [X], opset=opset, **given)
        check(op, [X[:1, :, 0, 0]], opset=opset, **({} if axis == 2 else given))
    if axis is None or axis > 0:
        check(op, [X], opset=7, **given)


def test_the_largest_of_equal_ones_is_the_first() -> None:
    equal("Hardmax", [np.zeros((2, 3), np.float32)], [[1, 0, 0], [1, 0, 0]], opset=13)


def test_softmax_does_not_overflow() -> None:
    far = np.array([[1e4, 1e4, -1e4]], np.float32)
    equal("Softmax", [far], [[0.5, 0.5, 0.0]], opset=13)
    equal("LogSoftmax", [far], [[-np.log(2), -np.log(2), -2e4 - np.log(2)]], opset=13)


def test_dropout_does_nothing() -> None:
    for opset, how in ((6, {"is_test": 1}), (7, {}), (10, {"ratio": 0.3}), (12, {"seed": 3})):
        equal("Dropout", [X], X, opset=opset, **how)
    mask = np.ones(X.shape)
    for opset, dtype in ((7, np.float32), (10, np.bool_), (13, np.bool_)):
        found = run("Dropout", [X], opset=opset, outputs=2)
        assert found[1].dtype == dtype
        assert np.array_equal(found[1], mask.astype(dtype))
    equal("Dropout", [X, np.float32(0.5), np.bool_(False)], X, opset=13)
    with pytest.raises(Refused, match="training"):
        run("Dropout", [X, np.float32(0.5), np.bool_(True)], opset=13)
    equal("Identity", [X], X, opset=13)
