"""Kernel choice: the quickest that can, with what it beat; one message for all that none can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnncc import driver
from cnncc.errors import UnsupportedError
from cnncc.kernels import KERNELS
from cnncc.kernels.convolution.conv_block import ConvBlock
from cnncc.kernels.rows.row_nms import RowNms
from cnncc.options import Options
from cnncc.passes.fuse_pool import MAX_HELD_PIXELS, MAX_WINDOW_IN_REGISTERS
from cnncc.plan.choose_kernel import ChooseKernel, candidates, kernel_named
from cnncc.plan.site import is_computed, site_of
from cnncc.targets import TARGETS, find
from tests.passes.nets import Net
from tests.plan.planning import SSE, by, placed, plan_of

SAME = {"pads": (1, 1, 1, 1)}


def kernels(graph):
    return [n.notes["kernel"] for _, n in graph.nodes() if n.op not in ("input", "constant")]


def test_each_operator_gets_its_kernel():
    net = Net()
    x = net.input(1, 3, 8, 8)
    c = net.conv(x, 8, 3, **SAME)
    d = net.conv(c, 8, 3, groups=8, **SAME)
    e = net.deconv(d, 5, 2, strides=(2, 2))
    f = net.dense(net.add("flatten", net.add("global_avg_pool", e)), 4)
    model = driver.Model(net.outputs(net.add("softmax", f)), ())
    apart = Options(frozenset({ConvBlock.switch}))
    plan = driver.plan_model(model, SSE, options=apart).plan
    chosen = [n.notes["kernel"] for _, n in plan.graph.nodes() if "kernel" in n.notes]
    assert chosen == [
        "relayout",
        "conv_direct",
        "conv_depthwise",
        "conv_transposed",
        "global_pool",
        "dense",
        "softmax",
        "relayout",
    ]


def test_a_pool_behind_a_convolution():
    """Windows that do not overlap go to tiles, those that overlap to bands."""
    for window, stride, kernel in ((2, 2, "conv_pool_tile"), (3, 2, "conv_pool_band")):
        net = Net()
        x = net.add("relu", net.conv(net.input(1, 3, 24, 24), 8, 3, **SAME))
        plan = plan_of(net.outputs(net.pool(x, window, stride)))
        (node,) = [n for _, n in plan.graph.nodes() if n.op == "fused"]
        assert node.notes["kernel"] == kernel


def test_the_quickest_wins_and_the_others_are_told():
    net = Net()
    x = net.conv(net.input(1, 3, 1, 1), 64, 1)
    graph = placed(net.outputs(net.conv(x, 64, 1)))
    last = [i for i, n in graph.nodes() if n.op == "conv2d"][-1]
    offers, refusals = candidates(site_of(graph, last, SSE))
    assert [e.seconds for _, e in offers] == sorted(e.seconds for _, e in offers)
    assert {k.name for k, _ in offers} == {"dense", "conv_direct"}
    assert graph[last].notes["kernel"] == offers[0][0].name
    (decision,) = [d for d in by(graph, "choose-kernel") if d.subject == graph[last].name]
    told = [name for name, _ in decision.rejected]
    assert told == [offers[1][0].name, *(name for name, _ in refusals)]
    assert all(reason for _, reason in decision.rejected)
    assert decision.figures


def test_every_node_that_runs_has_one():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 8, 1)
    y = net.add("concat", x, net.add("slice_channels", net.pool(x, 3, 1, 1), start=0, stop=4))
    graph = placed(net.outputs(y))
    for node_id, node in graph.nodes():
        assert ("kernel" in node.notes) == is_computed(graph, node_id)
        if "kernel" in node.notes:
            assert node.notes["predicted_us"] >= 0
            assert kernel_named(node.notes["kernel"]).name == node.notes["kernel"]


def test_names_are_unique():
    assert len({k.name for k in KERNELS}) == len(KERNELS)


def test_all_that_no_kernel_can_do_is_told_at_once(monkeypatch):
    monkeypatch.setattr(RowNms, "refuses", lambda self, site: "takes no boxes")
    net = Net()
    boxes, scores = net.input(1, 7, 4), net.input(1, 1, 7)
    bad = net.add("non_max_suppression", boxes, scores, name="bad", max_output=1)
    worse = net.add("non_max_suppression", boxes, scores, name="worse", max_output=2)
    with pytest.raises(UnsupportedError) as caught:
        placed(net.outputs(bad, worse))
    message = str(caught.value)
    assert "no kernel for 2 node(s)" in message
    assert "bad (non_max_suppression): row_nms: takes no boxes" in message
    assert "worse (non_max_suppression): row_nms: takes no boxes" in message


def test_filters_that_are_computed_leave_a_convolution_to_its_definition():
    net = Net()
    x = net.input(1, 4, 4, 4)
    weights = net.add("reshape", net.add("tanh", x), shape=(4, 4, 2, 2))
    graph = placed(net.outputs(net.add("conv2d", x, weights, name="conv")))
    assert [n.notes["kernel"] for _, n in graph.nodes() if n.op == "conv2d"] == ["row_element"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("k", "s", "pad"), [(2, 2, 0), (3, 3, 0), (3, 2, 0), (3, 2, 1), (2, 1, 0)])
def test_a_pool_that_is_fused_has_a_kernel_on_every_target(name, k, s, pad):
    """`fuse` decides without a machine; rows as wide as it lets pass, and the next wider ones."""
    edge = MAX_HELD_PIXELS // k
    for width in (edge - 2 * pad, edge - 2 * pad + 1, 3000):
        net = Net()
        x = net.conv(net.input(1, 3, 6, width), 4, 1)
        net.outputs(net.pool(x, k, s, pad))
        plan = plan_of(net.graph, find(name))
        fused = [n.notes["kernel"] for _, n in plan.graph.nodes() if n.op == "fused"]
        assert all(kernel.startswith("conv_pool") for kernel in fused)
        apart = k == s == 2
        assert len(fused) == (apart or width + 2 * pad <= edge)


def test_register_tiles_hold_the_windows_that_fuse_thinks_they_hold():
    for target in TARGETS.values():
        assert max(pixels for pixels, _ in target.tiles) >= MAX_WINDOW_IN_REGISTERS


def test_a_tuner_decides_among_the_best_few():
    """It sees ways that differ, predicted about equally well, the best first."""
    net = Net()
    x = net.conv(net.input(1, 64, 14, 14), 64, 3, **SAME)
    graph = placed(net.outputs(net.conv(x, 64, 3, **SAME)))
    seen = []

    def tuner(ways):
        seen.append(ways)
        return [float(len(ways) - k) for k in range(len(ways))]

    ChooseKernel(SSE, tuner=tuner).run(graph)
    assert seen
    for ways in seen:
        times = [kernel.estimate(site).seconds for kernel, site in ways]
        assert times == sorted(times)
        assert 2 <= len(ways) == len({(k.name, s.pick) for k, s in ways})
        assert times[-1] <= 1.3 * times[0]
        kernel, site = ways[-1]
        (node,) = [n for _, n in graph.nodes() if n.name == site.name]
        assert (node.notes["kernel"], node.notes["pick"]) == (kernel.name, site.pick)
        assert node.notes["choice"] == kernel.estimate(site).choice
        told = by(graph, "choose-kernel")[-len(seen) :]
        assert any("measured" in d.reason for d in told)


def test_every_pick_has_a_time_and_can_be_lowered():
    net = Net()
    x = net.conv(net.input(1, 64, 14, 14), 64, 3, **SAME)
    graph = placed(net.outputs(net.conv(x, 64, 3, **SAME)))
    last = [i for i, n in graph.nodes() if n.op == "conv2d"][-1]
    site = site_of(graph, last, SSE)
    offers, _ = candidates(site)
    assert any(kernel.picks(site) > 1 for kernel, _ in offers)
    for kernel, best in offers:
        times = []
        for pick in range(min(3, kernel.picks(site))):
            way = replace(site, pick=pick)
            times.append(kernel.estimate(way).seconds)
            assert kernel.lower(way)
        assert times[0] == best.seconds
        assert times == sorted(times)
