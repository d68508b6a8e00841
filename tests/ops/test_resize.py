"""Upsampling: where bilinear taps lie, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import f32
from cnncc.ops.resize import Upsample2d, Upsample2dAttrs, bilinear_taps


def test_taps_lie_at_half_pixels_and_stop_at_the_edges() -> None:
    low, high, weight = bilinear_taps(3, 2)
    assert low == [0, 0, 0, 1, 1, 2]
    assert high == [1, 1, 1, 2, 2, 2]
    assert weight == [0, 0.25, 0.75, 0.25, 0.75, 0]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_one_pixel_spreads(mode: str) -> None:
    x = np.full((1, 2, 1, 1), 7.0)
    made = Upsample2d.reference([x], Upsample2dAttrs((3, 5), mode))
    np.testing.assert_array_equal(made, np.full((1, 2, 3, 5), 7.0))


def test_bound() -> None:
    x = np.ones((1, 1, 2, 2))
    for mode, largest in (("nearest", 0.0), ("bilinear", 1e-6)):
        attrs = Upsample2dAttrs((2, 2), mode)
        bound = Upsample2d.rounding([x], Upsample2d.reference([x], attrs), attrs)
        assert largest / 10 <= bound.max() <= largest


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        (Upsample2dAttrs((0, 1)), "factors"),
        (Upsample2dAttrs((2, 1.5)), "factors"),  # type: ignore[arg-type]
        (Upsample2dAttrs((2, 2), "cubic"), "nearest, bilinear"),
        (Upsample2dAttrs((2**20, 2**20)), "elements"),
    ],
)
def test_refused(attrs: Upsample2dAttrs, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        Upsample2d.infer([f32(1, 1, 2, 2)], attrs)
    assert words in caught.value.message
