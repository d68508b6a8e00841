"""Joining lanes: every lane of every vector counts once."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels.scalars.lane_sums import across_lanes
from cnncc.loopir import interp
from cnncc.loopir.build import Builder


@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_lane_counts_once(count, lanes):
    b = Builder("f")
    x, out = b.buffer("x", extent=count * lanes), b.buffer("out", extent=1, writable=True)
    values = [b.load(x, k * lanes, lanes) for k in range(count)]
    b.store(out, 0, across_lanes(b, lambda p, q: b.binary("add", p, q), values))
    numbers = np.arange(1, count * lanes + 1, dtype=np.float32)
    found = np.zeros(1, np.float32)
    interp.run(b.func, [numbers, found])
    assert found[0] == numbers.sum()
