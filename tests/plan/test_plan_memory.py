"""Memory planning: who may be written over, and how long buffers live."""

from __future__ import annotations

import pytest

from cnncc.abi import ALIGNMENT
from tests.passes.nets import Net, random_net
from tests.plan.planning import SSE, by, check, placed, plan_of

SAME = {"pads": (1, 1, 1, 1)}

# -- whole graphs --------------------------------------------------------------------------------


def in_place(graph):
    return {n.op: n.notes["in_place"] for _, n in graph.nodes() if "in_place" in n.notes}


def test_residual_chain():
    """Each sum is written over the branch that dies with it: two buffers for any depth."""
    net = Net()
    x = net.conv(net.input(1, 4, 6, 6), 4, 3, **SAME)
    for _ in range(5):
        x = net.add("add", net.conv(net.add("relu", x), 4, 3, **SAME), x)
    plan = check(net.outputs(x))
    sums = [n for _, n in plan.graph.nodes() if n.op == "fused" and "in_place" in n.notes]
    assert len(sums) == 5
    assert len(by(plan.graph, "plan-memory")) >= 5
    places = {n.notes["place"] for _, n in plan.graph.nodes() if n.op == "fused"}
    assert len(places) <= 3


def test_written_over_only_when_dead():
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4, 1)
    y = net.add("tanh", x)
    graph = placed(net.outputs(net.pool(y, 2, 1), net.add("relu", y)))
    assert in_place(graph) == {"tanh": 0, "relu": 0}  # the pool ran before
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4, 1)
    y = net.add("tanh", x)
    first = net.add("relu", y)
    graph = placed(net.outputs(first, net.pool(y, 2, 1)))
    assert "relu" not in in_place(graph)


def test_never_over_an_input_of_a_window():
    net = Net()
    x = net.add("tanh", net.conv(net.input(1, 4, 5, 5), 4, 1))
    graph = placed(net.outputs(net.pool(x, 3, 1, 1)))
    assert "max_pool2d" not in in_place(graph)
    # An anchor's input and a residual in one, and another convolution asks for the same halo.
    total = net.add("add", net.conv(x, 4, 3, **SAME), x)
    check(net.outputs(net.conv(total, 4, 3, **SAME)))


def test_never_over_another_layout():
    """The operand has a halo for its other reader, the result has none."""
    net = Net()
    x = net.add("tanh", net.conv(net.input(1, 4, 5, 5), 4, 1))
    windows = net.conv(x, 4, 3, **SAME)
    graph = placed(net.outputs(windows, net.add("relu", x)))
    assert "relu" not in in_place(graph)


def test_never_over_a_view():
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 8, 1)
    low = net.add("slice_channels", x, start=0, stop=4)
    graph = placed(net.outputs(net.add("tanh", low), net.add("relu", x)))
    assert in_place(graph) == {}


def test_never_over_an_output_or_an_input():
    net = Net()
    x = net.input(1, 4, 5, 5)
    y = net.add("tanh", x)
    plan = check(net.outputs(y, net.add("relu", y), net.add("sigmoid", x)))
    assert plan.graph.meta["arena_elems"] > 0


@pytest.mark.parametrize("op", ["add", "mul"])
def test_a_value_with_itself(op):
    net = Net()
    x = net.conv(net.input(1, 5, 4, 4), 5, 1)
    y = net.add("tanh", net.pool(x, 2, 1))
    check(net.outputs(net.pool(y, 2, 1), net.add(op, y, y)))


def test_gates_are_not_written_over_maps():
    """A gate's buffer is one pixel: it cannot hold the map that it scales."""
    net = Net()
    x = net.conv(net.input(1, 5, 4, 4), 5, 1)
    gate = net.add("sigmoid", net.add("global_avg_pool", x))
    check(net.outputs(net.add("mul", x, gate), net.pool(x, 2, 1)))


def test_places_are_aligned_and_the_arena_is_full():
    net = Net()
    x = net.input(1, 3, 7, 5)
    graph = placed(net.outputs(net.conv(net.conv(x, 5, 3, **SAME), 7, 3, **SAME)))
    places = [n.notes["place"] for _, n in graph.nodes() if "place" in n.notes]
    assert all(p * 4 % ALIGNMENT == 0 for p in places)
    assert graph.meta["arena_live_elems"] <= graph.meta["arena_elems"]


def test_a_long_chain():
    """300 layers: two buffers, and work that grows with the number of layers only."""
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 4, 1)
    for _ in range(299):
        x = net.conv(x, 4, 1)
    plan = plan_of(net.outputs(x))
    assert len(plan.stages) == 302
    one = 4 * 4 * 4
    assert plan.graph.meta["arena_elems"] == 2 * one
    assert len({n for s in plan.stages for n in s.functions}) <= 4


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed):
    check(random_net(seed), layers=seed < 8)


def test_the_host_has_more_lanes_than_the_tests():
    assert SSE.lanes() == 4
