"""Moves of elements, at every opset's form."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

X = f32(2, 3, 4)


@pytest.mark.parametrize("opset", [7, 13, 21])
@pytest.mark.parametrize("shape", [[6, -1], [0, -1], [0, 0, 4], [24], [1, 2, 3, 4]])
def test_reshape(opset: int, shape: list[int]) -> None:
    check("Reshape", [X, i64(*shape)], opset=opset)


def test_reshape_to_no_axes() -> None:
    equal("Reshape", [f32(1, 1), np.zeros(0, np.int64)], f32(1, 1)[0, 0], opset=13)


@pytest.mark.parametrize("shape", [[5, -1], [-1, -1], [2, 3, 0, 0], [0, 0, 0, 0]])
def test_reshape_refuses(shape: list[int]) -> None:
    with pytest.raises(Refused, match="shape"):
        run("Reshape", [X, i64(*shape)], opset=14, allowzero=int(shape[-1] == 0))


@pytest.mark.parametrize(("opset", "axis"), [(7, 0), (9, 1), (11, -1), (13, 3), (21, -2)])
def test_flatten(opset: int, axis: int) -> None:
    check("Flatten", [X], opset=opset, axis=axis)


@pytest.mark.parametrize("axes", [None, [1], [0, 2]])
def test_squeeze_by_attribute_and_by_operand(axes: list[int] | None) -> None:
    x = f32(1, 1, 1, 3)
    given = {} if axes is None else {"axes": axes}
    check("Squeeze", [x], opset=7, **given)
    check("Squeeze", [x], opset=11, **given)
    check("Squeeze", [x, None if axes is None else i64(*axes)], opset=13)


def test_axes_from_the_end() -> None:
    check("Squeeze", [f32(3, 1)], opset=11, axes=[-1])
    check("Squeeze", [f32(3, 1), i64(-1)], opset=13)
    check("Unsqueeze", [X], opset=11, axes=[-1, 0])
    check("Unsqueeze", [X, i64(-1, 0)], opset=13)


def test_unsqueeze_by_attribute_and_by_operand() -> None:
    check("Unsqueeze", [X], opset=7, axes=[0, 3])
    check("Unsqueeze", [X, i64(0, 3)], opset=13)
    with pytest.raises(Refused, match="axis twice"):
        run("Unsqueeze", [X, i64(0, 0)], opset=13)


def test_transpose() -> None:
    check("Transpose", [X], opset=7)
    check("Transpose", [X], opset=13, perm=[1, 2, 0])
    check("Transpose", [np.arange(6).reshape(2, 3)], opset=13)
    with pytest.raises(Refused, match="perm"):
        run("Transpose", [X], opset=13, perm=[0, 0, 1])


@pytest.mark.parametrize(("opset", "axis"), [(7, 1), (11, -1), (13, 0)])
def test_concat(opset: int, axis: int) -> None:
    other = f32(2, 3, 4, seed=1)
    check("Concat", [X, other, X], opset=opset, axis=axis)


def test_slices_by_attributes_and_by_operands() -> None:
    check("Slice", [X], opset=9, starts=[0, -2], ends=[1, 100], axes=[1, 2])
    check("Slice", [X], opset=7, starts=[1], ends=[2])
    check("Slice", [X, i64(0, -2), i64(1, 100), i64(1, 2)], opset=10)
    check("Slice", [X, i64(-1), i64(-100), i64(2), i64(-2)], opset=11)
    check("Slice", [X, i64(3, 0), i64(-(2**63), 2**63 - 1), i64(-1, 0), i64(-1, 1)], opset=13)


def test_what_is_left_of_an_empty_part_is_dropped_by_a_join() -> None:
    with pytest.raises(Refused, match="axes of at least 1"):
        run("Slice", [X, i64(2), i64(2), i64(1)], opset=13)
    with pytest.raises(Refused, match="step is 0"):
        run("Slice", [X, i64(0), i64(2), i64(1), i64(0)], opset=13)


def test_split_by_attribute_and_by_operand() -> None:
    check("Split", [X], opset=7, outputs=2, axis=2)
    check("Split", [X], opset=11, outputs=2, axis=-1, split=[1, 3])
    check("Split", [X, i64(1, 3)], opset=13, outputs=2, axis=2)
    check("Split", [X], opset=18, outputs=2, axis=2, num_outputs=2)
    check("Split", [f32(7)], opset=18, outputs=3, num_outputs=3)


def test_split_that_does_not_fit() -> None:
    with pytest.raises(Refused, match="do not fit 4"):
        run("Split", [X, i64(1, 1)], opset=13, outputs=2, axis=2)


@pytest.mark.parametrize("shape", [[2, 3, 4], [1, 4], [5, 2, 3, 1], [1]])
def test_expand(shape: list[int]) -> None:
    check("Expand", [X, i64(*shape)], opset=8)
    check("Expand", [f32(3, 1), i64(2, 3, 4)], opset=13)


def test_tile() -> None:
    check("Tile", [X, i64(1, 2, 3)], opset=7)
    check("Tile", [X.astype(np.int64), i64(3, 1, 1)], opset=13)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_borders_by_attributes_and_by_operands(mode: str) -> None:
    check("Pad", [X], opset=7, pads=[0, 1, 2, 1, 0, 3], mode=mode)
    check("Pad", [X, i64(0, 1, 2, 1, 0, 3)], opset=11, mode=mode)
    check("Pad", [X, i64(0, 1, 2, 1, 0, 3)], opset=13, mode=mode)
    check("Pad", [X, i64(1, 2), None, i64(-1)], opset=18, mode=mode)


def test_values_of_borders() -> None:
    check("Pad", [X], opset=10, pads=[0, 0, 1, 0, 0, 1], value=2.5)
    check("Pad", [X, i64(0, 0, 1, 0, 0, 1), np.float32(-1.5)], opset=13)
    whole = np.arange(6).reshape(2, 3)
    check("Pad", [whole, i64(1, 0, 0, 2), np.int64(7)], opset=13)
    flags = np.array([True, False])
    equal("Pad", [flags, i64(1, 1), np.bool_(True)], [True, True, False, True], opset=19)


def test_wrapped_and_negative_borders() -> None:
    check("Pad", [X, i64(0, 0, 3, 0, 0, 2)], opset=19, mode="wrap")
    check("Pad", [X, i64(0, -1, 2, 0, 0, -1)], opset=13)
    check("Pad", [X], opset=7, pads=[0, -1, 2, 0, 0, -1])
    with pytest.raises(Refused, match="leave nothing"):
        run("Pad", [X, i64(0, -3, 0, 0, 0, 0)], opset=13)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_depth_to_space(opset: int) -> None:
    x = f32(2, 12, 2, 3)
    check("DepthToSpace", [x], opset=opset, blocksize=2)
    if opset >= 11:
        check("DepthToSpace", [x], opset=opset, blocksize=2, mode="CRD")


@pytest.mark.parametrize("opset", [7, 13])
def test_space_to_depth(opset: int) -> None:
    check("SpaceToDepth", [f32(1, 3, 4, 6)], opset=opset, blocksize=2)
    with pytest.raises(Refused, match="does not divide"):
        run("SpaceToDepth", [f32(1, 3, 4, 5)], opset=opset, blocksize=2)
