"""Convolutions against loops written from the definition, and their type rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.conv import Conv2d, Conv2dAttrs, Conv2dTranspose, Conv2dTransposeAttrs

GEOMETRIES = [
    Conv2dAttrs(),
    Conv2dAttrs((2, 1), (1, 2, 0, 1), (1, 1), 1),
    Conv2dAttrs((1, 2), (0, 1, 3, 2), (2, 1), 2),
    Conv2dAttrs((3, 3), (1, 1, 1, 1), (1, 2), 4),
]


def integers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


@pytest.mark.parametrize("attrs", GEOMETRIES)
def test_conv2d_is_its_definition(attrs: Conv2dAttrs) -> None:
    x, w, b = integers(1, 2, 4, 5, 6), integers(2, 8, 4 // attrs.groups, 3, 2), integers(3, 8)
    batch, filters, height, width = Conv2d.infer([f32(*a.shape) for a in (x, w, b)], attrs).shape
    expected = np.zeros((batch, filters, height, width))
    (sh, sw), (dh, dw), (top, left, *_) = attrs.strides, attrs.dilations, attrs.pads
    depth = w.shape[1]
    for n, o, i, j in np.ndindex(*expected.shape):
        group = o // (filters // attrs.groups)
        expected[n, o, i, j] = b[o]
        for c, p, q in itertools.product(range(depth), range(3), range(2)):
            row, column = i * sh + p * dh - top, j * sw + q * dw - left
            if 0 <= row < 5 and 0 <= column < 6:
                expected[n, o, i, j] += x[n, group * depth + c, row, column] * w[o, c, p, q]
    np.testing.assert_array_equal(Conv2d.reference([x, w, b], attrs), expected)


DECONVOLUTIONS = [
    Conv2dTransposeAttrs(),
    Conv2dTransposeAttrs((2, 1), (1, 2, 0, 1), (1, 1), 1, (1, 0)),
    Conv2dTransposeAttrs((3, 2), (0, 1, 2, 0), (2, 1), 2, (2, 1)),
    Conv2dTransposeAttrs((4, 4), (1, 1, 1, 1), (1, 2), 4, (3, 0)),
]


@pytest.mark.parametrize("attrs", DECONVOLUTIONS)
def test_conv2d_transpose_is_its_definition(attrs: Conv2dTransposeAttrs) -> None:
    x, w = integers(1, 2, 4, 5, 3), integers(2, 4, 2, 3, 2)
    b = integers(3, 2 * attrs.groups)
    expected = np.zeros(Conv2dTranspose.infer([f32(*a.shape) for a in (x, w, b)], attrs).shape)
    expected += b[:, None, None]
    (sh, sw), (dh, dw), (top, left, *_) = attrs.strides, attrs.dilations, attrs.pads
    for n, c, i, j in np.ndindex(*x.shape):
        group = c // (4 // attrs.groups)
        for o, p, q in np.ndindex(2, 3, 2):
            row, column = i * sh + p * dh - top, j * sw + q * dw - left
            if 0 <= row < expected.shape[2] and 0 <= column < expected.shape[3]:
                expected[n, group * 2 + o, row, column] += x[n, c, i, j] * w[c, o, p, q]
    np.testing.assert_array_equal(Conv2dTranspose.reference([x, w, b], attrs), expected)


def test_transposed_convolution_is_the_adjoint() -> None:
    """⟨conv(x), y⟩ = ⟨x, deconv(y)⟩ with the same filters."""
    attrs = Conv2dAttrs((2, 3), (1, 0, 1, 2), (2, 1), 2)
    x, w = integers(1, 1, 4, 9, 8), integers(2, 6, 2, 3, 3)
    forward = Conv2d.reference([x, w], attrs)
    y = integers(3, *forward.shape)
    spans = [(n - 1) * s + d * 2 + 1 for n, s, d in zip(y.shape[2:], (2, 3), (2, 1), strict=True)]
    extra = (9 + 1 + 1 - spans[0], 8 + 2 - spans[1])
    back = Conv2dTransposeAttrs((2, 3), (1, 0, 1, 2), (2, 1), 2, extra)
    assert (forward * y).sum() == (x * Conv2dTranspose.reference([y, w], back)).sum()


@pytest.mark.parametrize(
    ("types", "attrs", "words"),
    [
        ([f32(1, 3, 8, 8)], Conv2dAttrs(), "2 to 3 operands, got 1"),
        ([f32(1, 3, 8), f32(4, 3, 3, 3)], Conv2dAttrs(), "rank 4"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3)], Conv2dAttrs(), "`w` of rank 4"),
        ([f32(1, 3, 8, 8), f32(4, 2, 3, 3)], Conv2dAttrs(), "filters over 3 channels"),
        ([f32(1, 64, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(groups=3), "1, 2, 4"),
        ([f32(1, 6, 8, 8), f32(4, 2, 3, 3)], Conv2dAttrs(groups=3), "4 filters"),
        ([f32(1, 3, 3, 3), f32(4, 3, 5, 5)], Conv2dAttrs(), "5 does not fit the height"),
        ([f32(1, 3, 9, 4), f32(4, 3, 3, 3)], Conv2dAttrs(dilations=(1, 2)), "spans 5 pixels"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3), f32(3)], Conv2dAttrs(), "`b` of shape [4]"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(strides=(0, 1)), "strides"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(strides=(True, 1)), "strides"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(pads=(0, -1, 0, 0)), "pads"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(pads=(0, 0)), "pads"),  # type: ignore[arg-type]
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(dilations=(1, 0)), "dilations"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(groups=0), "groups"),
        ([f32(1, 3, 0, 8), f32(4, 3, 3, 3)], Conv2dAttrs(), "at least 1"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(pads=(2**31,) * 4), "pads"),
        ([f32(1, 3, 8, 8), f32(4, 3, 3, 3)], Conv2dAttrs(pads=(2**30,) * 4), "elements"),
        ([TensorType(DType.U8, (1, 3, 8, 8)), f32(4, 3, 3, 3)], Conv2dAttrs(), "`x` is u8"),
    ],
)
def test_conv2d_refuses(types: list[TensorType], attrs: Conv2dAttrs, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        Conv2d.infer(types, attrs)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("w", "attrs", "words"),
    [
        (f32(4, 2, 3, 3), Conv2dTransposeAttrs(output_pads=(1, 0)), "below the stride"),
        (f32(4, 2, 3, 3), Conv2dTransposeAttrs(pads=(5, 0, 5, 0)), "cut everything off"),
        (f32(3, 2, 3, 3), Conv2dTransposeAttrs(), "C = 4"),
        (f32(4, 2, 3, 3), Conv2dTransposeAttrs(groups=3), "does not divide 4"),
    ],
)
def test_conv2d_transpose_refuses(w: TensorType, attrs: Conv2dTransposeAttrs, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        Conv2dTranspose.infer([f32(1, 4, 5, 5), w], attrs)
    assert words in caught.value.message


def test_cost_counts_multiply_adds() -> None:
    types = [f32(1, 64, 56, 56), f32(64, 64, 3, 3), f32(64)]
    attrs = Conv2dAttrs(pads=(1, 1, 1, 1))
    cost = Conv2d.cost(types, Conv2d.infer(types, attrs), attrs)
    assert cost.macs == 64 * 64 * 9 * 56 * 56
    assert Conv2d.terms(types, attrs) == 64 * 9 + 1
