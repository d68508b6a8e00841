"""Pools against loops written from the definition, their edges, and their type rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import f32
from cnncc.ops.pool import (
    AvgPool2d,
    AvgPool2dAttrs,
    GlobalMaxPool,
    MaxPool2d,
    MaxPool2dAttrs,
    window_counts,
)

FIELDS: list[dict[str, Any]] = [
    {"window": (2, 3), "strides": (2, 1)},
    {"window": (3, 3), "strides": (2, 2), "pads": (1, 2, 0, 1)},
    {"window": (3, 2), "strides": (2, 3), "pads": (1, 1, 2, 0), "ceil": True},
    {"window": (2, 2), "strides": (3, 3), "pads": (1, 1, 1, 1), "ceil": True},
    {"window": (1, 1), "strides": (4, 4), "ceil": True},
]


def clipped(start: int, window: int, n: int) -> range:
    return range(max(0, start), min(n, start + window))


@pytest.mark.parametrize("fields", FIELDS)
def test_pools_are_their_definitions(fields: dict[str, Any]) -> None:
    x = np.random.default_rng(5).normal(size=(2, 3, 7, 8))
    attrs = MaxPool2dAttrs(**fields)
    shape = MaxPool2d.infer([f32(*x.shape)], attrs).shape
    largest, mean, padded = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    top, left, bottom, right = attrs.pads
    (kh, kw), (sh, sw) = attrs.window, attrs.strides
    for i, j in np.ndindex(*shape[2:]):
        rows, columns = clipped(i * sh - top, kh, 7), clipped(j * sw - left, kw, 8)
        seen = x[:, :, rows.start : rows.stop, columns.start : columns.stop]
        largest[:, :, i, j] = seen.max(axis=(2, 3))
        mean[:, :, i, j] = seen.mean(axis=(2, 3))
        high = min(i * sh + kh, 7 + top + bottom) - i * sh
        wide = min(j * sw + kw, 8 + left + right) - j * sw
        padded[:, :, i, j] = seen.sum(axis=(2, 3)) / (high * wide)
    np.testing.assert_array_equal(MaxPool2d.reference([x], attrs), largest)
    for count_pad, expected in ((False, mean), (True, padded)):
        made = AvgPool2d.reference([x], AvgPool2dAttrs(**fields, count_pad=count_pad))
        np.testing.assert_allclose(made, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "k", "s", "pad", "ceil", "out"),
    [
        (112, 3, 2, 0, False, 55),
        (112, 3, 2, 0, True, 56),
        (113, 3, 2, 0, True, 56),
        (5, 2, 3, 1, True, 2),  # a third window would start in the far padding
        (4, 2, 2, 1, True, 3),
        (1, 1, 1, 0, True, 1),
    ],
)
def test_extents_follow_pytorch(n: int, k: int, s: int, pad: int, ceil: bool, out: int) -> None:
    attrs = MaxPool2dAttrs((k, k), (s, s), (pad,) * 4, ceil)
    assert MaxPool2d.infer([f32(1, 1, n, n)], attrs).shape == (1, 1, out, out)


def test_nan_wins_and_padding_is_never_chosen() -> None:
    x = np.full((1, 1, 3, 3), -np.inf)
    attrs = MaxPool2dAttrs((2, 2), (1, 1), (1, 1, 1, 1))
    assert np.all(MaxPool2d.reference([x], attrs) == -np.inf)
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(MaxPool2d.reference([x], attrs)).sum() == 4
    assert np.isnan(GlobalMaxPool.reference([x], NoAttrs())).all()


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        (MaxPool2dAttrs((5, 5), (1, 1)), "5 does not fit the height, which has 4+0+0 = 4"),
        (MaxPool2dAttrs((2, 2), (1, 1), (2, 0, 0, 0)), "wholly in the padding of the height"),
        (MaxPool2dAttrs((2, 2), (1, 1), (0, 0, 0, 2)), "wholly in the padding of the width"),
        (MaxPool2dAttrs((0, 2), (1, 1)), "window"),
        (MaxPool2dAttrs((2, 2), (1, 0)), "strides"),
        (MaxPool2dAttrs((2, 2), (1, 1), (-1, 0, 0, 0)), "pads"),
        (MaxPool2dAttrs((2, 2), (1, 1), ceil=1), "ceil"),  # type: ignore[arg-type]
    ],
)
def test_pools_refuse(attrs: MaxPool2dAttrs, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        MaxPool2d.infer([f32(1, 2, 4, 4)], attrs)
    assert words in caught.value.message


@pytest.mark.parametrize("count_pad", [False, True])
@pytest.mark.parametrize("fields", FIELDS)
def test_windows_count_pixels_one_by_one(fields: dict[str, Any], count_pad: bool) -> None:
    attrs = AvgPool2dAttrs(**fields, count_pad=count_pad)
    shape = AvgPool2d.infer([f32(1, 1, 7, 8)], attrs).shape
    for axis, extent in ((0, 7), (1, 8)):
        before, after = attrs.pads[axis], attrs.pads[2 + axis]
        low, high = (-before, extent + after) if count_pad else (0, extent)
        starts = [i * attrs.strides[axis] - before for i in range(shape[2 + axis])]
        expected = [sum(low <= s + t < high for t in range(attrs.window[axis])) for s in starts]
        assert window_counts(attrs, axis, extent, shape[2 + axis]).tolist() == expected
