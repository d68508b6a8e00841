"""Random chains of moves: the equations of `simplify_moves` keep every element in its place."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.passes import Simplify
from cnncc.passes.simplify_moves import MOVES
from tests.passes.nets import Net, ops, values

SHAPES = ((-1, 4, 3, 2), (-1, 6, 2, 2), (-1, 24), (-1, 24, 1, 1), (-1, 2, 12, 1), (-1, 12, 2))


def _moves(net: Net, x: int) -> int:
    """One random move of x; x itself where the drawn one does not fit."""
    rng, shape = net.rng, net.shape(x)
    pick = int(rng.integers(8))
    try:
        if pick == 0:
            return net.add("reshape", x, shape=SHAPES[int(rng.integers(len(SHAPES)))])
        if pick == 1:
            return net.add("flatten", x, order=("hwc", "chw")[int(rng.integers(2))])
        if pick == 2:
            perm = (0, *(int(p) + 1 for p in rng.permutation(len(shape) - 1)))
            return net.add("transpose", x, perm=perm)
        if pick == 3:
            pads = tuple(int(p) for p in rng.integers(0, 2, 4))
            padded = net.add("pad2d", x, pads=pads, value=float(rng.integers(2)))
            return net.add("crop2d", padded, pads=pads if rng.integers(2) else (0, 0, 0, 0))
        if pick == 4:
            return net.add("crop2d", x, pads=tuple(int(p) for p in rng.integers(0, 2, 4)))
        if pick == 5:
            start = int(rng.integers(shape[1]))
            stop = int(rng.integers(start + 1, shape[1] + 1))
            return net.add("slice_channels", x, start=start, stop=stop)
        if pick == 6:
            inner = net.add("concat", x, x) if shape[1] < 50 else x
            return net.add("concat", inner, x)
        return net.add("channel_shuffle", x, groups=int(rng.integers(1, 4)))
    except TypeInferenceError:
        return x


@pytest.mark.parametrize("first_seed", range(0, 400, 100))
def test_chains_of_moves_keep_every_element_in_its_place(first_seed: int) -> None:
    shorter = 0
    for seed in range(first_seed, first_seed + 100):
        net = Net(seed)
        x = net.input(1, 4, 3, 2)
        for _ in range(8):
            x = _moves(net, x)
        graph = net.outputs(x)
        want, before = values(graph), len(ops(graph))
        Simplify().run(graph)
        np.testing.assert_array_equal(values(graph)[0], want[0], err_msg=f"seed {seed}")
        assert len(ops(graph)) <= before
        shorter += len(ops(graph)) < before
    assert shorter > 50


def test_equations_have_different_names() -> None:
    assert len({rule.equation for rule in MOVES}) == len(MOVES)
