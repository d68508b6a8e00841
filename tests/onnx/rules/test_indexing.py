"""Gathers, scatters, samples, selections."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(3, 4, 5)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("constant", [(), (1,)])
def test_slices_at_places(axis: int, constant: tuple[int, ...]) -> None:
    for places in (i64(0, 2, -1), np.array([[1], [0]], np.int32), np.array(2, np.int64)):
        for opset in (7, 11, 13):
            if opset >= 11 or places.min() >= 0:
                check("Gather", [X, places], opset=opset, axis=axis, constant=constant)


def test_constant_places_must_exist() -> None:
    with pytest.raises(Refused, match="places from 3 to 3 of 3"):
        run("Gather", [X, i64(3)], opset=13, constant=(1,))


def test_elements_and_tuples_at_places() -> None:
    places = np.random.default_rng(1).integers(-3, 3, (3, 2, 5))
    check("GatherElements", [X, places], opset=11)
    check("GatherElements", [X, places], opset=13, axis=-2)
    check("GatherND", [X, np.array([[0, 1], [2, -1]])], opset=11)
    check("GatherND", [X, np.array([[[1]], [[0]], [[3]]])], opset=12, batch_dims=1)


def test_elements_written_to_places() -> None:
    places, updates = np.array([[[1, 0, 2, -1, 0]]]), f32(1, 1, 5, seed=1)
    check("Scatter", [X, np.abs(places), updates], opset=9, axis=1)
    check("ScatterElements", [X, places, updates], opset=11, axis=1)
    check("ScatterElements", [X, places, updates], opset=13)
    twice = np.array([[[1, 1, 1, 1, 1]], [[1, 1, 1, 1, 1]]])
    for reduction in ("add", "mul", "max", "min"):
        how = {"opset": 18, "axis": 0, "reduction": reduction}
        check("ScatterElements", [X, twice, f32(2, 1, 5, seed=2)], **how)


def test_slices_written_to_tuples_of_places() -> None:
    places, updates = np.array([[0, 1], [2, -1]]), f32(2, 5, seed=1)
    for opset in (11, 13):
        check("ScatterND", [X, places, updates], opset=opset)
    twice = np.array([[1, 1], [1, 1]])
    for reduction in ("add", "mul", "max", "min"):
        check("ScatterND", [X, twice, updates], opset=18, reduction=reduction)
    with pytest.raises(Refused, match="reduction"):
        run("ScatterND", [X, twice, updates], opset=18, reduction="mean")


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_one_hot(axis: int, dtype: type) -> None:
    values = np.array([2, 5], dtype)
    check("OneHot", [i64(0, 2, -1), np.array([4]), values], opset=9, axis=axis)
    check("OneHot", [np.array([[1, 9]]), np.array(3), values], opset=11, axis=axis)


def test_sequences_in_reverse() -> None:
    check("ReverseSequence", [f32(4, 3, 2), i64(1, 3, 4)], opset=10)
    check("ReverseSequence", [f32(3, 4), i64(1, 2, 4)], opset=10, batch_axis=0, time_axis=1)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_pixels_at_places_of_a_grid(padding: str, corners: int) -> None:
    operands = [f32(2, 3, 5, 6), f32(2, 4, 3, 2, low=-1.3, high=1.3)]
    how = {"padding_mode": padding, "align_corners": corners}
    for old, new in (("bilinear", "linear"), ("bicubic", "cubic"), ("nearest", "nearest")):
        check("GridSample", operands, opset=16, limit=1e-4, mode=old, **how)
        check("GridSample", operands, opset=20, limit=1e-4, mode=new, **how)


def test_the_grid_of_an_affine_transform() -> None:
    theta = f32(2, 2, 3)
    for corners in (0, 1):
        check("AffineGrid", [theta, i64(2, 3, 4, 5)], opset=20, align_corners=corners)
        volume = [f32(1, 3, 4), i64(1, 2, 3, 4, 5)]
        check("AffineGrid", volume, opset=20, align_corners=corners)
    with pytest.raises(Refused, match="matrices"):
        run("AffineGrid", [theta, i64(1, 3, 4, 5)], opset=20)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_regions(mode: str) -> None:
    regions = np.array([[0.5, 1, 6, 7], [2, 2, 3, 3]], np.float32)
    operands = [f32(2, 3, 8, 8), regions, i64(0, 1)]
    how = {"mode": mode, "output_height": 2, "output_width": 3, "sampling_ratio": 2}
    check("RoiAlign", operands, opset=10, limit=1e-4, **how)
    check("RoiAlign", operands, opset=16, limit=1e-4, spatial_scale=0.5, **how)


@pytest.mark.parametrize("center", [0, 1])
def test_boxes_that_no_better_one_overlaps(center: int) -> None:
    rng = np.random.default_rng(4)
    corners = rng.uniform(0, 5, (2, 12, 2))
    boxes = np.concatenate([corners, corners * (1 - center) + rng.uniform(1, 4, (2, 12, 2))], 2)
    operands = [boxes.astype(np.float32), rng.random((2, 3, 12)).astype(np.float32)]
    limits = [i64(4), np.array([0.3], np.float32), np.array([0.4], np.float32)]
    for opset in (10, 11):
        check("NonMaxSuppression", [*operands, *limits], opset=opset, center_point_box=center)
    check("NonMaxSuppression", [*operands, i64(2)], opset=11)
    with pytest.raises(Refused, match="nothing is selected"):
        run("NonMaxSuppression", operands, opset=11)


def test_blocks_put_back_into_an_image() -> None:
    x = f32(2, 3 * 2 * 2, 9)
    check("Col2Im", [x, i64(4, 4), i64(2, 2)], opset=18)
    how = {"strides": [2, 1], "pads": [1, 0, 1, 2], "dilations": [1, 2]}
    image = i64(6, 5)
    count = ((6 + 2 - 2) // 2 + 1) * (5 + 2 - 3 + 1)
    check("Col2Im", [f32(1, 12, count), image, i64(2, 2)], opset=18, **how)
    with pytest.raises(Refused, match="9 blocks given"):
        run("Col2Im", [x, i64(5, 5), i64(2, 2)], opset=18)


def test_new_rows_of_a_cache() -> None:
    cache, rows = f32(2, 3, 4, 5), f32(2, 3, 2, 5, seed=1)
    wanted = cache.copy()
    wanted[0, :, 1:3], wanted[1, :, 2:4] = rows[0], rows[1]
    equal("TensorScatter", [cache, rows, i64(1, 2)], wanted, opset=24)
    wanted = cache.copy()
    wanted[0, :, 3], wanted[0, :, 0], wanted[1, :, 0:2] = rows[0, :, 0], rows[0, :, 1], rows[1]
    equal("TensorScatter", [cache, rows, i64(3, 0)], wanted, opset=24, mode="circular")
    wanted = cache.copy()
    wanted[:, :, :2] = rows
    equal("TensorScatter", [cache, rows], wanted, opset=24)
