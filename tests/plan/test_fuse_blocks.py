"""Blocks of two convolutions: when they are made, what they compute, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from cnncc import driver
from cnncc.kernels.convolution.conv_block import ConvBlock
from cnncc.options import Options
from cnncc.plan.fuse_blocks import FuseBlocks
from cnncc.plan.site import steps_of
from cnncc.targets import find
from tests.passes.nets import Net
from tests.plan.planning import SSE, by, check, laid_out

SAME = {"pads": (1, 1, 1, 1)}


def inverted(strides=(2, 2), *, read_twice=False, residual=False):
    """Stem, expansion, depthwise, projection."""
    net = Net()
    stem = net.add("relu", net.conv(net.input(1, 3, 11, 12), 4, 3, **SAME))
    wide = net.add("hard_swish", net.conv(stem, 12, 1))
    deep = net.add("hard_swish", net.conv(wide, 12, 3, groups=12, strides=strides, **SAME))
    out = net.conv(deep, 4, 1)
    if residual:
        out = net.add("add", out, stem)
    return net.outputs(out, net.add("tanh", wide)) if read_twice else net.outputs(out)


@pytest.fixture(autouse=True)
def always_quicker(monkeypatch):
    """These maps are so small that either way may win: what is tested is the block."""
    estimate = ConvBlock.estimate
    made = "cnncc.plan.fuse_blocks.ConvBlock.estimate"
    monkeypatch.setattr(made, lambda self, site: replace(estimate(self, site), seconds=1e-9))


def blocks(graph):
    return [n for n, node in graph.nodes() if node.notes.get("kernel") == "conv_block"]


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_block_computes_what_its_parts_did(target, threads):
    plan = check(inverted(), find(target), threads=threads)
    (block, *_) = blocks(plan.graph)
    names = [step.op for step in steps_of(plan.graph, block)]
    assert names == ["conv2d", "hard_swish", "conv2d", "hard_swish"]
    assert len(plan.graph[block].notes["members"]) == 4


def test_a_residual_around_the_block_outlives_it():
    plan = check(inverted((1, 1), residual=True), threads=2)
    assert blocks(plan.graph)


def test_what_others_read_stays_a_node():
    plan = check(inverted(read_twice=True))
    assert not blocks(plan.graph)


def test_the_switch():
    options = Options(without=frozenset({"conv-block"}))
    plan = driver.plan_model(driver.Model(inverted(), ()), SSE, options=options).plan
    assert not blocks(plan.graph)


def test_both_predictions_are_in_the_record():
    decision = by(check(inverted()).graph, "fuse-blocks")[-1]
    assert "one node, predicted" in decision.choice
    assert decision.rejected[0][0] == "apart"
    assert decision.figures["bytes_saved"] == 2 * 4 * 12 * 11 * 12


def test_the_slower_way_is_rejected_with_its_time(monkeypatch):
    slow = SimpleNamespace(seconds=1.0)
    monkeypatch.setattr("cnncc.plan.fuse_blocks.ConvBlock.estimate", lambda self, site: slow)
    net = Net()
    x = net.conv(net.input(1, 5, 4, 4), 8, 1)
    graph = net.outputs(net.conv(x, 8, 3, groups=8, **SAME))
    laid_out(graph)
    FuseBlocks(SSE).run(graph)
    (decision,) = by(graph, "fuse-blocks")
    assert "a node each" in decision.choice
    assert decision.rejected == (("a block", "one node, predicted 1000000.0 us"),)


def test_a_block_writes_where_its_result_is_joined():
    net = Net()
    x = net.conv(net.input(1, 5, 6, 6), 8, 1)
    deep = net.conv(net.conv(x, 8, 1), 8, 3, groups=8, **SAME)
    joined = net.add("concat", net.conv(x, 8, 1), deep)
    plan = check(net.outputs(net.conv(joined, 4, 3, **SAME)))
    (block,) = blocks(plan.graph)
    assert plan.graph[block].notes["alias"][1] == 2


def test_slices_of_a_blocks_result_lie_in_it():
    net = Net()
    x = net.conv(net.conv(net.input(1, 5, 6, 6), 8, 1), 8, 1)
    deep = net.conv(x, 8, 3, groups=8, **SAME)
    halves = [net.add("slice_channels", deep, start=s, stop=s + 4) for s in (0, 4)]
    graph = net.outputs(net.add("concat", net.conv(halves[1], 4, 3), net.conv(halves[0], 4, 3)))
    plan = check(graph)
    (block,) = blocks(plan.graph)
    slices = [n for _, n in plan.graph.nodes() if n.op == "slice_channels"]
    assert [n.notes["alias"] for n in slices] == [(block, 0), (block, 1)]


def test_channels_of_a_blocks_result_are_found_in_it():
    net = Net()
    x = net.conv(net.conv(net.input(1, 5, 6, 6), 8, 1), 8, 1)
    deep = net.conv(x, 8, 3, groups=8, **SAME)
    plan = check(net.outputs(net.conv(net.add("channel_shuffle", deep, groups=2), 4, 1)))
    (block,) = blocks(plan.graph)
    (mixed,) = [n for _, n in plan.graph.nodes() if n.op == "channel_shuffle"]
    assert mixed.notes["picks"] == (block,)


def test_a_sum_of_what_both_convolutions_give_keeps_them_apart():
    net = Net()
    stem = net.add("relu", net.conv(net.input(1, 3, 7, 9), 5, 3, **SAME))
    deep = net.add("add", net.conv(stem, 5, 3, groups=5, **SAME), stem)
    assert blocks(check(net.outputs(deep)).graph) == []


def squeezed(channels=32, filters=4, *, residual=False, read_twice=False):
    """A map, its gate, and the convolution behind both."""
    net = Net()
    x = net.add("relu", net.conv(net.input(1, 3, 12, 12), channels, 3, **SAME))
    mean = net.add("global_avg_pool", x)
    gate = net.add("sigmoid", net.conv(net.add("relu", net.conv(mean, 4, 1)), channels, 1))
    product = net.add("mul", x, gate)
    out = net.conv(product, filters, 1)
    if residual:
        out = net.add("add", out, net.conv(net.input(1, 2, 12, 12), filters, 1))
    return net.outputs(out, net.add("tanh", product)) if read_twice else net.outputs(out)


def gates(graph):
    return [n for n, node in graph.nodes() if node.notes.get("kernel") == "conv_gated"]


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_gate_is_multiplied_into_few_filters(target, threads):
    plan = check(squeezed(), find(target), threads=threads)
    (node,) = gates(plan.graph)
    assert [step.op for step in steps_of(plan.graph, node)] == ["mul", "conv2d"]
    assert by(plan.graph, "fuse-blocks")[-1].reason == "filters are fewer than the map's numbers"


def test_the_map_is_multiplied_where_it_is_less():
    assert not gates(check(squeezed(32, 256)).graph)


def test_a_gated_map_that_is_read_twice_is_written():
    assert not gates(check(squeezed(read_twice=True)).graph)


def test_a_residual_behind_the_gated_convolution():
    plan = check(squeezed(residual=True), threads=2)
    (node,) = gates(plan.graph)
    assert [step.op for step in steps_of(plan.graph, node)] == ["mul", "conv2d", "add"]


def test_gates_have_a_switch():
    options = Options(without=frozenset({"gates"}))
    plan = driver.plan_model(driver.Model(squeezed(), ()), SSE, options=options).plan
    assert not gates(plan.graph)
