"""Means of rows that a depthwise convolution gives beside its result."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc import driver
from cnncc.ir import interp
from cnncc.options import Options
from cnncc.plan.plan_memory import lies_in_arena
from cnncc.plan.verify import verify_plan
from cnncc.targets import find
from cnncc.verification import check_layers, interpreter_engine, observe, random_inputs
from tests.passes.nets import Net
from tests.plan.planning import SSE, by, plan_of

SAME = {"pads": (1, 1, 1, 1)}


def excited(step="hard_swish", *, expand=True, width=9):
    """Stem, perhaps an expansion, depthwise, squeeze-and-excitation, projection."""
    net = Net()
    x = net.add("relu", net.conv(net.input(1, 3, 7, width), 13, 3, **SAME))
    if expand:
        x = net.add("relu", net.conv(x, 13, 1))
    deep = net.add(step, net.conv(x, 13, 3, groups=13, **SAME))
    average = net.add("global_avg_pool", deep)
    gate = net.add("hard_sigmoid", net.conv(net.add("relu", net.conv(average, 4, 1)), 13, 1))
    return net.outputs(net.conv(net.add("mul", deep, gate), 5, 1))


def means(graph):
    return [n for n, node in graph.nodes() if "made_by" in node.notes]


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("step", ["relu", "silu"])
def test_the_average_of_the_means_is_the_average(step, expand, target):
    """With short steps and with long ones, in a block and alone; the same bits for all threads."""
    graph = excited(step, expand=expand)
    expected = interp.run(graph.copy(), {0: inputs(graph)})
    plan = plan_of(graph, find(target))
    assert len(means(plan.graph)) == 1
    verify_plan(plan.graph, find(target))
    sample = {plan.interface.inputs[0].name: inputs(graph)[0].transpose(1, 2, 0)}
    seen = []
    for threads in (1, 2, 3):
        engine = interpreter_engine(plan.program, threads)
        values = observe(plan, engine, sample)
        for layer in check_layers(plan, engine, sample):
            assert layer.mismatch is None, f"{layer.path} ({layer.op}): {layer.mismatch}"
        seen.append(values[plan.graph.outputs[0][1]])
    assert np.allclose(seen[0], expected[0], rtol=1e-4, atol=1e-4)
    assert all(np.array_equal(seen[0].view(np.uint32), s.view(np.uint32)) for s in seen)


def inputs(graph):
    shape = graph[graph.inputs[0]].attrs.shape
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def test_the_means_are_judged_as_a_layer():
    plan = plan_of(excited())
    sample = random_inputs(plan.interface.inputs)
    layers = check_layers(plan, interpreter_engine(plan.program, 1), sample)
    assert "avg_pool2d" in [layer.op for layer in layers]


def test_the_means_live_from_their_writer_on():
    plan = plan_of(excited())
    (mean,) = means(plan.graph)
    assert lies_in_arena(plan.graph, mean)
    maker = plan.graph[mean].notes["made_by"]
    assert plan.graph[maker].notes["kernel"] in ("conv_block", "conv_depthwise")
    (decision,) = by(plan.graph, "share-means")
    assert "means of rows" in decision.choice


def test_narrow_maps_and_other_convolutions_are_left_alone():
    assert not means(plan_of(excited(width=3)).graph)
    net = Net()
    x = net.conv(net.input(1, 3, 6, 6), 8, 3, **SAME)
    assert not means(plan_of(net.outputs(net.add("tanh", x), net.add("global_avg_pool", x))).graph)


def test_the_switch():
    options = Options(without=frozenset({"row-means"}))
    plan = driver.plan_model(driver.Model(excited(), ()), SSE, options=options).plan
    assert not means(plan.graph)
