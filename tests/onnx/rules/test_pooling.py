"""Pools: opsets, padding, rounding up, three axes, places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(2, 3, 9, 8)
LINE, BOX = f32(2, 3, 11), f32(2, 3, 5, 6, 7)
PLAIN: list[dict[str, Any]] = [
    {"kernel_shape": [3, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 4], "strides": [2, 3], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 4], "strides": [2, 3], "auto_pad": "VALID"},
]
CEIL: list[dict[str, Any]] = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [2, 3], "pads": [1, 1, 0, 1], "ceil_mode": 1},
]
DILATED = {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 1, 2, 0]}


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("how", PLAIN)
def test_windows(op: str, how: dict[str, Any]) -> None:
    check(op, [X], opset=7, **how)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("how", CEIL)
def test_incomplete_windows(op: str, how: dict[str, Any]) -> None:
    check(op, [X], opset=10, **how)
    check(op, [X], opset=19, **how)


def test_taps_apart() -> None:
    check("MaxPool", [X], opset=10, **DILATED)
    check("AveragePool", [X], opset=19, **DILATED)
    check("LpPool", [X], opset=18, **DILATED)
    check("LpPool", [X], opset=18, p=3, **CEIL[0])


@pytest.mark.parametrize("how", [*PLAIN[1:], *CEIL, DILATED])
def test_means_that_count_the_border(how: dict[str, Any]) -> None:
    check("AveragePool", [X], opset=19, count_include_pad=1, **how)
    if not {"ceil_mode", "dilations"} & set(how):
        check("AveragePool", [X], opset=7, count_include_pad=1, **how)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_one_axis_and_three(op: str) -> None:
    check(op, [LINE], opset=11, kernel_shape=[3], strides=[2], pads=[1, 1])
    volume = {"kernel_shape": [2, 3, 2], "strides": [2, 1, 3], "pads": [1, 0, 1, 0, 1, 1]}
    check(op, [BOX], opset=11, **volume)
    if op != "LpPool":
        check(op, [BOX], opset=11, ceil_mode=1, **volume)


def test_means_over_three_axes_with_the_border() -> None:
    volume = {"kernel_shape": [2, 3, 2], "strides": [2, 1, 3], "pads": [1, 0, 1, 0, 1, 1]}
    check("AveragePool", [BOX], opset=11, count_include_pad=1, **volume)
    check("MaxPool", [BOX], opset=11, kernel_shape=[2, 2, 2], dilations=[2, 1, 3])


def test_the_power_of_a_norm() -> None:
    for p in (1, 2, 3):
        check("LpPool", [X], opset=11, p=p, kernel_shape=[2, 3])
        check("GlobalLpPool", [X], opset=7, p=p)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_maxima_of_whole_numbers(dtype: type) -> None:
    x = np.random.default_rng(1).integers(-100 if dtype is np.int8 else 0, 100, (1, 2, 5, 5))
    check("MaxPool", [x.astype(dtype)], opset=12, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    with pytest.raises(Refused, match="a pool of i64"):
        run("MaxPool", [x], opset=12, kernel_shape=[3, 3])


@pytest.mark.parametrize("order", [0, 1])
def test_places(order: int) -> None:
    for how in (*PLAIN[:3], CEIL[1], DILATED):
        check("MaxPool", [X], opset=12, outputs=2, storage_order=order, **how)
    check("MaxPool", [LINE], opset=12, outputs=2, kernel_shape=[3])
    check("MaxPool", [np.zeros((1, 2, 4, 4), np.float32)], opset=8, outputs=2, kernel_shape=[2, 2])
    with pytest.raises(Refused, match="three axes"):
        run("MaxPool", [BOX], opset=12, outputs=2, kernel_shape=[2, 2, 2])


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_whole_maps(op: str) -> None:
    for x in (X, LINE, BOX):
        check(op, [x], opset=7)
    with pytest.raises(Refused, match="feature map"):
        run(op, [f32(2, 3)], opset=7)


def test_elements_go_back_to_their_places() -> None:
    x = f32(1, 2, 4, 6)
    pooled, places = run("MaxPool", [x], opset=12, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    back = {"kernel_shape": [2, 2], "strides": [2, 2]}
    check("MaxUnpool", [pooled, places], opset=11, **back)
    # Places count in the smaller map; the peer counts them in the larger one.
    wider = np.pad(
        run("MaxUnpool", [pooled, places], opset=11, **back)[0], [(0, 0)] * 2 + [(0, 1)] * 2
    )
    equal("MaxUnpool", [pooled, places, i64(1, 2, 5, 7)], wider, opset=11, **back)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"kernel_shape": [2]},
        {"kernel_shape": [0, 2]},
        {"kernel_shape": [2, 2], "pads": [1, 1]},
        {"kernel_shape": [2, 2], "strides": [0, 1]},
        {"kernel_shape": [2, 2], "auto_pad": "SAME"},
        {"kernel_shape": [2, 2], "auto_pad": "VALID", "pads": [1, 1, 1, 1]},
        {"kernel_shape": [20, 20]},
        {"kernel_shape": [2, 2], "round": 1},
    ],
)
def test_malformed_windows(how: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        run("MaxPool", [X], opset=12, **how)
    with pytest.raises(Refused, match="spatial axes"):
        run("MaxPool", [f32(2, 3, 2, 2, 2, 2)], opset=12, kernel_shape=[1, 1, 1, 1])
