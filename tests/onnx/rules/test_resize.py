"""Resize and Upsample: opsets, coordinates, modes, sizes, axes, crops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(1, 2, 5, 6)
UP, DOWN = np.float32([1, 1, 2, 3]), np.float32([1, 1, 0.6, 0.5])
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_enlargement_by_attribute_and_by_operand(mode: str) -> None:
    old = {"height_scale": 2.0, "width_scale": 3.0}
    wanted = run("Upsample", [X], opset=7, scales=[1.0, 1.0, 2.0, 3.0], mode=mode)[0]
    equal("Upsample", [X], wanted, opset=6, mode=mode, **old)
    check("Upsample", [X], opset=7, scales=[1.0, 1.0, 2.0, 3.0], mode=mode)
    check("Upsample", [X, UP], opset=9, mode=mode)
    check("Upsample", [X, np.float32([1, 1, 1.5, 1.3])], opset=9, mode=mode)
    for scales in (UP, np.float32([1, 1, 1.5, 0.5])):
        check("Resize", [X, scales], opset=10, mode=mode)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_coordinates(mode: str, coordinates: str) -> None:
    how = {"mode": mode, "coordinate_transformation_mode": coordinates, "limit": 1e-4}
    check("Resize", [X, np.zeros(0, np.float32), UP], opset=11, **how)
    for opset in (13, 19):
        check("Resize", [X, None, UP], opset=opset, **how)
    check("Resize", [X, None, None, i64(1, 2, 3, 11)], opset=13, **how)
    if coordinates != "align_corners":
        check("Resize", [X, None, DOWN], opset=13, **how)


def test_what_scales_leave_over_of_a_pixel_counts_for_corners() -> None:
    x = np.arange(4, dtype=np.float32)
    how = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    equal("Resize", [x, None, np.float32([0.6])], [0, 3 / 1.4], opset=19, **how)
    equal("Resize", [x, None, None, i64(2)], [0, 3], opset=19, **how)


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest(nearest: str) -> None:
    for coordinates in ("half_pixel", "asymmetric"):
        how = {"nearest_mode": nearest, "coordinate_transformation_mode": coordinates}
        for scales in (UP, DOWN, np.float32([1, 1, 1.25, 4])):
            check("Resize", [X, None, scales], opset=13, **how)


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "cubic", "cubic_coeff_a": -0.5},
        {"mode": "cubic", "exclude_outside": 1},
        {"mode": "linear", "antialias": 1},
        {"mode": "cubic", "antialias": 1, "exclude_outside": 1},
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
    ],
)
def test_other_interpolations(how: dict[str, Any]) -> None:
    for scales in (DOWN, UP):
        check("Resize", [X, None, scales], opset=19, limit=1e-4, **how)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_sizes_of_some_axes(policy: str) -> None:
    how = {"axes": [3, 2], "keep_aspect_ratio_policy": policy, "mode": "linear"}
    check("Resize", [X, None, None, i64(9, 8)], opset=18, limit=1e-4, **how)
    check("Resize", [X, None, np.float32([2, 1.5])], opset=18, axes=[3, 2], mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_crops(mode: str) -> None:
    how = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
    roi = np.float32([0, 0, 0.2, 0.1, 1, 1, 0.8, 1.3])
    sizes = i64(1, 2, 4, 7)
    check("Resize", [X, roi, None, sizes], opset=13, extrapolation_value=7.5, limit=1e-4, **how)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_whole_numbers(dtype: type) -> None:
    x = (30 * X).astype(dtype)
    check("Resize", [x, None, UP], opset=13)
    check("Resize", [x, None, DOWN], opset=13, mode="linear", steps=1)


@pytest.mark.parametrize(
    ("operands", "words"),
    [
        ([X, None, np.float32([1, 1, 2])], "scales"),
        ([X, None, np.float32([1, 1, -2, 1])], "scales"),
        ([X, None, None, i64(1, 2, 0, 4)], "sizes"),
        ([X, None, np.float32([1, 1, 0.1, 1])], "extents"),
        ([X.astype(np.float64), None, UP], "interpolation of f64"),
    ],
)
def test_refused(operands: list[Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        run("Resize", operands, opset=13)
