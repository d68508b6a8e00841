"""Extents of windows against counting, over all small cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ops.conv import Conv2d
from cnncc.ops.pool import MaxPool2d
from cnncc.ops.window import conv_extent, pool_extent, windows


def test_conv_extent_counts_the_windows_that_fit() -> None:
    for n, k, s, d, before, after in itertools.product(
        range(1, 8), range(1, 4), range(1, 4), range(1, 3), range(3), range(3)
    ):
        room = n + before + after
        starts = [i for i in range(0, room, s) if i + d * (k - 1) < room]
        if starts:
            assert conv_extent(Conv2d, "it", n, k, s, d, before, after) == len(starts)
        else:
            with pytest.raises(TypeInferenceError):
                conv_extent(Conv2d, "it", n, k, s, d, before, after)


def test_pool_extent_counts_the_windows_that_start_inside() -> None:
    """With ceil, one more window where pixels are left over and it would start before the end."""
    for n, k, s, before, after in itertools.product(
        range(1, 9), range(1, 5), range(1, 5), range(3), range(3)
    ):
        if before >= k or after >= k or k > n + before + after:
            continue
        whole = [i for i in range(0, n + before + after, s) if i + k <= n + before + after]
        assert pool_extent(MaxPool2d, "it", n, k, s, before, after, False) == len(whole)
        more = whole[-1] + s
        reaches = whole[-1] + k >= n + before + after
        overhang = not reaches and more < n + before
        expected = len(whole) + overhang
        assert pool_extent(MaxPool2d, "it", n, k, s, before, after, True) == expected


def test_windows_view() -> None:
    x = np.arange(30.0).reshape(1, 1, 5, 6)
    view = windows(x, (2, 3), (2, 1), (2, 3))
    assert view.shape == (1, 1, 2, 3, 2, 3)
    assert view[0, 0, 1, 2].tolist() == x[0, 0, 2:4, 2:5].tolist()
