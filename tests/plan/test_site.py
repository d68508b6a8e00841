"""Sites: what a kernel sees of a node, and which nodes run at all."""

from __future__ import annotations

import pytest

from cnncc.errors import InternalError
from cnncc.ops.fused import Step
from cnncc.plan.site import is_computed, joins_channels, layout_of, site_of, steps_of
from tests.passes.nets import Net
from tests.plan.planning import SSE, laid_out, plan_of


def test_a_single_node_is_one_step():
    net = Net()
    y = net.conv(net.input(1, 3, 4, 4), 5, 1)
    graph = laid_out(net.outputs(y))
    assert steps_of(graph, y) == (Step("conv2d", graph[y].attrs, (0, 1, 2)),)
    site = site_of(graph, y, SSE)
    assert site.name == "conv2d1"
    assert [c is None for c in site.constants] == [True, False, False]
    assert site.layouts[1:] == (None, None)
    assert site.out == graph[y].notes["layout"]
    assert site.result == graph.type_of(y)


def test_a_group_keeps_its_steps():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 5, 1)
    summed = net.add("add", net.conv(net.add("tanh", x), 5, 3, pads=(1,) * 4), x)
    plan = plan_of(net.outputs(net.add("relu", summed)))
    fused = [i for i, n in plan.graph.nodes() if n.op == "fused"][-1]
    site = site_of(plan.graph, fused, SSE, in_place=plan.graph[fused].notes["in_place"])
    assert [s.op for s in site.steps] == ["conv2d", "add", "relu"]
    assert site.blocked(site.in_place) == site.blocked_out


def test_what_does_not_run():
    net = Net()
    x = net.input(1, 3, 4, 4)
    a, b = net.conv(x, 8, 1), net.conv(x, 4, 1)
    joined = net.add("concat", a, b)
    view = net.add("slice_channels", joined, start=8, stop=12)
    graph = laid_out(net.outputs(net.add("relu", view)))
    assert [is_computed(graph, i) for i in (x, a, b, joined, view)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert joins_channels(steps_of(graph, joined)[0])
    assert not joins_channels(steps_of(graph, view)[0])


def test_layouts_must_be_chosen_first():
    net = Net()
    y = net.conv(net.input(1, 3, 4, 4), 5, 1)
    graph = net.outputs(y)
    with pytest.raises(InternalError, match="no layout yet"):
        site_of(graph, y, SSE)
    assert layout_of(graph, graph.operands(y)[1]) is None  # constants have none
