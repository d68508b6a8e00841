"""Normalisations: opsets, parameters that are computed, ranks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, run

X = f32(2, 4, 5, 3)
SCALE, BIAS, MEAN, VAR = f32(4, seed=1), f32(4, seed=2), f32(4, seed=3), f32(4, low=0.5, high=2)
ALL = [SCALE, BIAS, MEAN, VAR]


@pytest.mark.parametrize("constant", [(), (1, 2, 3, 4)])
@pytest.mark.parametrize("x", [X, X[:, :, 0, 0], X[:, :, 0], f32(1, 4, 2, 3, 2)])
def test_batches(x: np.ndarray, constant: tuple[int, ...]) -> None:
    for opset in (7, 9, 14, 15):
        check("BatchNormalization", [x, *ALL], opset=opset, epsilon=1e-3, constant=constant)


def test_opset_6_says_that_it_is_no_training() -> None:
    wanted = run("BatchNormalization", [X, *ALL], opset=9)[0]
    equal("BatchNormalization", [X, *ALL], wanted, opset=6, is_test=1, spatial=1)


def test_what_is_no_inference_is_refused() -> None:
    with pytest.raises(Refused, match="training mode"):
        run("BatchNormalization", [X, *ALL], opset=14, training_mode=1)
    with pytest.raises(Refused, match="spatial=0"):
        run("BatchNormalization", [X, *ALL], opset=7, spatial=0)


def test_instances() -> None:
    for x in (X, X[:, :, 0], f32(2, 4, 3, 2, 2)):
        check("InstanceNormalization", [x, SCALE, BIAS], opset=7, limit=1e-4)
        check("InstanceNormalization", [x, SCALE, BIAS], opset=22, limit=1e-4, epsilon=1e-2)


def test_groups_of_channels() -> None:
    grouped = X.reshape(2, 2, -1)
    off = grouped - grouped.mean(axis=2, keepdims=True)
    normal = off / np.sqrt((off**2).mean(axis=2, keepdims=True) + 1e-5)
    of_group = normal * SCALE[:2, None] + BIAS[:2, None]
    whole = [X, SCALE[:2], BIAS[:2]]
    equal("GroupNormalization", whole, of_group.reshape(X.shape), opset=18, num_groups=2)
    of_channel = normal.reshape(X.shape) * SCALE[:, None, None] + BIAS[:, None, None]
    equal("GroupNormalization", [X, SCALE, BIAS], of_channel, opset=21, num_groups=2)
    with pytest.raises(Refused, match="does not divide"):
        run("GroupNormalization", whole, opset=18, num_groups=3)


@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
def test_layers(axis: int) -> None:
    sizes = X.shape[axis:]
    operands = [X, f32(*sizes), f32(*sizes, seed=1)]
    check("LayerNormalization", operands, opset=17, limit=1e-4, axis=axis)
    check("LayerNormalization", operands[:2], opset=17, limit=1e-4, axis=axis, epsilon=1e-2)
    check("LayerNormalization", operands, opset=17, limit=1e-4, outputs=3, axis=axis)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_neighbouring_channels(size: int) -> None:
    for x in (X, X[:, :, 0], f32(1, 4, 2, 3, 2)):
        if x.ndim == 4:
            check("LRN", [x], opset=7, size=size)
        how = {"size": size, "alpha": 0.1, "beta": 0.5, "bias": 2.0}
        pad = np.pad(x**2, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)])
        squares = sum(pad[:, k : k + 4] for k in range(size))
        equal("LRN", [x], x / (2 + 0.1 / size * squares) ** 0.5, opset=13, **how)


@pytest.mark.parametrize("p", [1, 2])
def test_norms(p: int) -> None:
    check("LpNormalization", [X], opset=7, p=p)
    check("LpNormalization", [X], opset=22, p=p, axis=1)
    equal("LpNormalization", [np.zeros((1, 3), np.float32)], np.zeros((1, 3)), opset=7, p=p)


def test_mean_and_variance_over_given_axes() -> None:
    check("MeanVarianceNormalization", [X], opset=9, limit=1e-4)
    check("MeanVarianceNormalization", [X], opset=13, limit=1e-4, axes=[1, 2, 3])
