"""The halo is cleared, all of it and nothing else, whatever the split."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels.layout import Layout
from cnncc.kernels.moves.fill_halo import fill_halo
from cnncc.kernels.template import ResultArg
from cnncc.targets import find
from tests.kernels.harness import interpret, verify_launches
from tests.kernels.native import Native

HALOS = [(1, 1, 1, 1), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (3, 2, 0, 1)]
SHAPES = [((1,), 1, 1), ((5,), 2, 3), ((3, 6), 3, 1), ((16,), 1, 4)]


@pytest.mark.parametrize("halo", HALOS)
@pytest.mark.parametrize(("segments", "height", "width"), SHAPES)
@pytest.mark.parametrize(("block", "lanes"), [(4, 4), (8, 8), (16, 16), (3, 8), (2, 16)])
def test_only_the_halo(halo, segments, height, width, block, lanes):
    layout = Layout(block, segments, height, width, halo)
    expected = np.full(layout.elems, 7, np.float32)
    picture = layout.with_halo((0, 0, 0, 0))
    inside = np.full((picture.blocks, height, width, block), 7, np.float32)
    top, left, bottom, right = halo
    border = ((0, 0), (top, bottom), (left, right), (0, 0))
    expected = np.pad(inside, border).reshape(-1)
    launch = fill_halo(layout, lanes)
    assert launch.args == (ResultArg(),)
    assert launch.work == layout.blocks
    verify_launches([launch])
    for parts in (1, launch.work):
        buffer = np.full(layout.elems, 7, np.float32)
        for i in range(parts):
            lo, hi = launch.work * i // parts, launch.work * (i + 1) // parts
            interpret(launch.func, [buffer, lo, hi])
        assert np.array_equal(buffer, expected)


@pytest.mark.native
def test_machine_code():
    layout = Layout(8, (20,), 5, 7, (2, 1, 0, 3))
    launch = fill_halo(layout, 8)
    mine, theirs = (np.full(layout.elems, 7, np.float32) for _ in range(2))
    Native(find("x86-64"))(launch.func, [mine, 0, launch.work])
    interpret(launch.func, [theirs, 0, launch.work])
    assert np.array_equal(mine, theirs)


def test_small_halos_stay_on_one_thread():
    assert fill_halo(Layout(16, (64,), 7, 7, (1, 1, 1, 1)), 16).grain >= 4
    assert fill_halo(Layout(16, (64,), 224, 224, (8, 8, 8, 8)), 16).grain == 1
