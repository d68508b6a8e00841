"""Taps of a sampling grid: the rule on one element gives the weights of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ops.grid_taps import OFFSETS, GridSampleAttrs, axis_taps
from tests.ops.element_numpy import NumpyElement


@pytest.mark.parametrize("mode", list(OFFSETS))
def test_weights_add_up_to_one(mode: str) -> None:
    for place in np.linspace(-1, 1, 9, dtype=np.float32):
        b = NumpyElement([np.zeros((1, 1, 8), np.float32), np.array([[[place]]])])
        taps = axis_taps(b, [0, 0, 0], 0, (8,), GridSampleAttrs(mode, "border"))
        assert len(taps) == len(OFFSETS[mode])
        assert np.isclose(sum(tap.weight for tap in taps), 1, atol=1e-6)


def test_a_cubic_at_a_pixel_is_that_pixel() -> None:
    b = NumpyElement([np.zeros((1, 1, 5), np.float32), np.zeros((1, 1, 1), np.float32)])
    taps = axis_taps(b, [0, 0, 0], 0, (5,), GridSampleAttrs("cubic", align_corners=True))
    assert [(tap.place, float(tap.weight)) for tap in taps] == [(1, 0), (2, 1), (3, 0), (4, 0)]
