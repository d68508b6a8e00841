"""Convolutions: padding, groups, one to three axes, transposed and moved ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, f32, run

X, W, B = f32(1, 4, 9, 8), f32(6, 4, 3, 2), f32(6)
HOW: list[dict[str, Any]] = [
    {},
    {"pads": [1, 0, 2, 1], "strides": [2, 1]},
    {"dilations": [2, 3], "kernel_shape": [3, 2]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
    {"auto_pad": "VALID"},
]


@pytest.mark.parametrize("constant", [(), (1, 2)])
@pytest.mark.parametrize("how", HOW)
def test_convolutions(how: dict[str, Any], constant: tuple[int, ...]) -> None:
    check("Conv", [X, W, B], opset=11, limit=1e-4, constant=constant, **how)


def test_groups() -> None:
    check("Conv", [X, f32(6, 2, 3, 3)], opset=7, limit=1e-4, group=2)
    check("Conv", [X, f32(4, 1, 3, 3), f32(4)], opset=22, limit=1e-4, group=4, constant=(1, 2))


def test_one_axis_and_several_samples() -> None:
    check("Conv", [f32(3, 4, 10), f32(6, 4, 3), B], opset=11, limit=1e-4, pads=[1, 2], strides=[2])
    check("Conv", [f32(3, 4, 6, 6), W, B], opset=11, limit=1e-4, constant=(1, 2))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"pads": [1, 0, 1, 2, 1, 0], "strides": [2, 1, 2]},
        {"dilations": [2, 1, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2, 1]},
        {"group": 2},
    ],
)
def test_three_axes(how: dict[str, Any]) -> None:
    w = f32(6, 2 if "group" in how else 4, 2, 3, 2)
    check("Conv", [f32(2, 4, 5, 6, 7), w, B], opset=11, limit=1e-4, constant=(1, 2), **how)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"strides": [2, 3], "pads": [1, 0, 2, 1]},
        {"strides": [2, 3], "output_padding": [1, 2]},
        {"strides": [2, 2], "output_shape": [18, 16]},
        {"strides": [2, 2], "output_shape": [17, 15], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
        {"dilations": [2, 1]},
    ],
)
def test_transposed(how: dict[str, Any]) -> None:
    w, bias = f32(4, 5, 3, 2), f32(5)
    check("ConvTranspose", [X, w, bias], opset=11, limit=1e-4, constant=(1, 2), **how)


def test_transposed_groups_and_one_axis() -> None:
    check("ConvTranspose", [X, f32(4, 3, 3, 3)], opset=11, limit=1e-4, group=2, constant=(1,))
    line = [f32(1, 4, 7), f32(4, 3, 4)]
    check("ConvTranspose", line, opset=11, limit=1e-4, strides=[2], pads=[1, 1], constant=(1,))
    with pytest.raises(Refused, match="3 spatial axes"):
        run("ConvTranspose", [f32(1, 2, 3, 3, 3), f32(2, 2, 2, 2, 2)], opset=11)


@pytest.mark.parametrize("mask", [False, True])
def test_moved_taps(mask: bool) -> None:
    x, w = f32(1, 2, 6, 6), f32(4, 2, 3, 3)
    operands = [x, w, f32(1, 18, 4, 4), f32(4), f32(1, 9, 4, 4) if mask else None]
    check("DeformConv", operands, opset=19, limit=1e-4)
    plain = run("DeformConv", [x, w, np.zeros((1, 18, 4, 4), np.float32)], opset=19)
    still = run("Conv", [x, w], opset=11)
    np.testing.assert_allclose(plain[0], still[0], 1e-4, 1e-5)


def test_refused_by_name() -> None:
    with pytest.raises(Refused, match="Conv of f64"):
        run("Conv", [X.astype(np.float64), W.astype(np.float64)], opset=11)
    with pytest.raises(Refused, match="kernel_shape"):
        run("Conv", [X, W], opset=11, kernel_shape=[3, 3])
    with pytest.raises(Refused, match="different numbers of axes"):
        run("Conv", [X, f32(6, 4, 3)], opset=11)
    with pytest.raises(Refused, match="planes of results"):
        run("Conv", [f32(1, 1, 600, 2, 2), f32(1, 1, 1, 1, 1)], opset=11)
