from __future__ import annotations

import numpy as np

from cnncc.passes import match
from tests.passes.nets import Net


def test_labels_are_names_or_operators_with_ids() -> None:
    net = Net()
    x, weights = net.input(1, 3), net.param(3)
    assert match.label(net.graph, x) == "input1"
    assert match.label(net.graph, weights) == f"constant#{weights}"


def test_a_sole_user_may_read_twice_but_callers_count_too() -> None:
    net = Net()
    x = net.input(1, 3)
    twice = net.add("add", x, x)
    net.outputs(twice)
    assert match.sole_user(net.graph, x) == twice
    assert match.sole_user(net.graph, twice) is None
    net.outputs(twice, x)
    assert match.sole_user(net.graph, x) is None
    net.outputs(net.add("tanh", x))
    assert match.sole_user(net.graph, x) is None


def test_channel_vectors_have_one_value_a_channel() -> None:
    net = Net()
    shapes = ((4,), (1, 4), (1, 4, 1, 1), (4, 1, 1), (1, 4, 2, 1), (2, 4))
    found = [match.channel_vector(net.graph, net.param(*s), 4) is not None for s in shapes]
    assert found == [True, True, True, False, False, False]
    assert match.channel_vector(net.graph, net.input(1, 4), 4) is None


def test_nan_fills_with_nothing() -> None:
    net = Net()
    assert not match.filled_with(net.graph, net.array([np.nan]), np.nan)
    assert match.filled_with(net.graph, net.array([-0.0, 0.0]), 0.0)
