"""Bounds of the error of tiles."""

from __future__ import annotations

import numpy as np

from cnncc.kernels.winograd.tile_rounding import tile_rounding
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import find

SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
WIDE = find("x86-64-v4")


def test_the_bound_grows_with_the_tile():
    shape = WinogradShape(8, 8, 2, 1, 1, (3, 3))
    large = max(winograd_choices(WIDE, shape), key=lambda c: c.planes)
    x, w = np.zeros((1, 1, 8, 8)), np.ones((1, 1, 3, 3))
    x[0, 0, 7, 0] = 2.0
    bound = tile_rounding(large, SAME, x, w)
    assert bound.shape == (1, 1, 8, 8)
    assert bound[0, 0, 7, 3] == 2.0**-24 * large.rounding * 18  # the same tile, another window
    assert bound[0, 0, 0, 7] == 0.0
    x[0, 0, 0, 7] = np.nan
    assert np.isposinf(tile_rounding(large, SAME, x, w)[0, 0, 3, 4])
