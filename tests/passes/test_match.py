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
    y = net.add("relu", net.input(1, 4, 4, 4))
    add = net.add("add", y, net.param(1, 4, 1, 1))
    scale = net.add("scale", y, net.param(4))
    shapes = ((), (1,), (4, 1, 1), (1, 4, 1, 1), (4,), (1, 4, 4, 1), (1, 1, 1, 4))
    found = [match.channel_vector(net.graph, add, net.param(*s)) is not None for s in shapes]
    assert found == [True, True, True, True, False, False, False]
    assert match.channel_vector(net.graph, scale, net.param(4)) is not None
    assert match.channel_vector(net.graph, add, y) is None


def test_a_vector_of_channels_lies_along_the_last_axis() -> None:
    net = Net()
    row = net.add("add", net.input(1, 4), net.param(4))
    assert match.channel_vector(net.graph, row, net.param(4)).shape == (4,)
    cube = net.add("add", net.input(2, 4, 4), net.param(4, 1))
    assert match.channel_vector(net.graph, cube, net.param(4, 1)) is None


def test_nan_fills_with_nothing() -> None:
    net = Net()
    assert not match.filled_with(net.graph, net.array([np.nan]), np.nan)
    assert match.filled_with(net.graph, net.array([-0.0, 0.0]), 0.0)


def test_free_names_are_taken_afterwards() -> None:
    taken = {"a"}
    assert [match.free_name(taken, "a"), match.free_name(taken, "a")] == ["a_", "a__"]
