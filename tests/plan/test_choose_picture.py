"""Pictures of few channels: narrow blocks, planes, and the caller's own array."""

from __future__ import annotations

import pytest

from cnncc import driver
from cnncc.ir.types import DType
from cnncc.kernels.layout import Layout
from cnncc.options import Options
from cnncc.targets import find
from tests.passes.nets import Net
from tests.plan.planning import check

SAME = {"pads": (1, 1, 1, 1)}


def layout_of(graph, node_id):
    return graph[node_id].notes["layout"]


def test_pictures_of_few_channels_stay_narrow():
    net = Net()
    x = net.input(1, 3, 8, 8)
    plan = check(net.outputs(net.conv(x, 4, 3, **SAME)), find("x86-64-v4"))
    first = plan.graph.users(plan.graph.inputs[0])[0][0]
    assert layout_of(plan.graph, first).block == 3
    readers = (
        lambda net, x: net.add("tanh", x),
        lambda net, x: net.conv(x, 3, 3, groups=3),
        lambda net, x: net.add("add", net.conv(x, 3, 3, **SAME), x),
        lambda net, x: x,
    )
    for reader in readers:
        net = Net()
        x = net.input(1, 3, 8, 8)
        ends = [net.conv(x, 4, 3), reader(net, x)]
        plan = check(net.outputs(*ends), find("x86-64-v4"))
        assert 3 not in {
            n.notes["layout"].block
            for _, n in plan.graph.nodes()
            if isinstance(n.notes.get("layout"), Layout)
        }


STEM = {"strides": (2, 2), "pads": (3, 3, 3, 3)}


def _stem(memory="chw", dtype=DType.F32):
    """A first convolution of 7x7, stride 2, and a pool whose windows overlap."""
    net = Net()
    x = net.add("input", dtype=dtype, shape=(1, 3, 30, 34), memory=memory)
    if dtype is DType.U8:
        x = net.add("normalize", x, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    y = net.conv(x, 64, 7, **STEM)
    return net, x, net.pool(net.add("relu", y), 3, 2, 1)


def _blocks(graph):
    return {n.notes["layout"].block for n in _in_blocks(graph)}


def _in_blocks(graph):
    return [n for _, n in graph.nodes() if isinstance(n.notes.get("layout"), Layout)]


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4", "aarch64"])
def test_large_windows_read_the_callers_planes(name):
    net, x, y = _stem()
    plan = check(net.outputs(y), find(name))
    assert [plan.graph[u].notes["kernel"] for u, _ in plan.graph.users(plan.graph.inputs[0])] == [
        "conv_phases"
    ]
    assert "relayout" not in [plan.graph[u].op for u, _ in plan.graph.users(x)]
    assert {d.choice for d in plan.graph.meta["decisions"]} >= {"no copy"}


def test_large_windows_get_planes_of_other_pictures():
    """In hwc order, or in bytes: one copy, to planes without a halo."""
    for more in ({"memory": "hwc"}, {"dtype": DType.U8}):
        net, _, y = _stem(**more)
        plan = check(net.outputs(y), find("x86-64-v4"))
        assert _blocks(plan.graph) == {1, 16}
        first = next(n for n in _in_blocks(plan.graph) if n.notes["layout"].block == 1)
        assert first.notes["layout"].halo == (0, 0, 0, 0)


def test_planes_are_for_all_readers_or_none():
    net, x, y = _stem()
    plan = check(net.outputs(y, net.conv(x, 4, 3, **SAME)), find("x86-64-v4"))
    assert _blocks(plan.graph) == {3, 16}
    net, x, y = _stem()
    plan = check(net.outputs(y, net.add("tanh", x)), find("x86-64-v4"))
    assert _blocks(plan.graph) == {16}
    net, _, y = _stem()
    options = Options(frozenset({"winograd"}))
    model = driver.Model(net.outputs(y), ())
    plan = driver.plan_model(model, find("x86-64-v4"), options=options).plan
    assert _blocks(plan.graph) == {3, 16}
