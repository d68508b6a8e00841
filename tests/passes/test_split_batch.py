"""Layers on several samples: the same numbers, and nothing left that a kernel for one cannot do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import driver
from cnncc.driver import Model
from cnncc.ir import interp
from cnncc.ir.decisions import decisions
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.ir.verify import verify
from cnncc.passes import Simplify, SplitBatch
from cnncc.passes.split_batch import LAYERS
from cnncc.plan.site import steps_of
from cnncc.targets import find
from tests.passes.nets import Net, assert_same_numbers, ops

Build = Callable[[Net], int]


def _split(net: Net, *outputs: int) -> Graph:
    graph = net.outputs(*outputs)
    graph.meta["batched"] = False
    rng = np.random.default_rng(1)
    inputs = {p: rng.standard_normal(graph[i].attrs.shape) for p, i in enumerate(graph.inputs)}
    want = interp.run(graph, inputs)
    SplitBatch().run(graph)
    verify(graph, "typed", spans=True)
    assert_same_numbers(want, interp.run(graph, inputs), 1e-9)
    version = graph.version
    SplitBatch().run(graph)
    assert graph.version == version
    return graph


def _layers(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.type_of(i).shape for i, n in graph.nodes() if n.op in LAYERS]


def test_samples_stay_apart_from_layer_to_layer() -> None:
    net = Net()
    h = net.add("relu", net.conv(net.input(3, 2, 6, 5), 4, 3, pads=(1, 1, 1, 1)))
    h = net.add("pad", h, mode="edge", before=(0, 0, 1, 0), after=(0, 0, 0, 1))
    h = net.add("tanh", net.add("add", net.conv(h, 4, 3), net.param(3, 4, 1, 1)))
    graph = _split(net, net.add("reduce", h, kind="mean", axes=(0,)))
    assert ops(graph).count("conv2d") == 6
    assert ops(graph).count("slice") == 3
    assert ops(graph)[-2:] == ["concat", "reduce"]
    assert {s[0] for s in _layers(graph)} == {1}
    weights = {graph.operands(i)[1] for i, n in graph.nodes() if n.op == "conv2d"}
    assert len(weights) == 2, "samples share the filters"


def test_rows_of_fully_connected_layers_are_a_product() -> None:
    net = Net()
    h = net.pool(net.conv(net.input(2, 2, 4, 4), 3, 1), 2, 2)
    flat = net.add("flatten", h, order="chw")
    y = net.add("softmax", net.dense(net.add("relu", net.dense(flat, 5)), 4))
    graph = _split(net, net.add("reduce", y, kind="max", axes=(0,)))
    behind = ["concat", "matmul", "add", "relu", "matmul", "add", "softmax", "reduce"]
    assert [op for op in ops(graph) if op in behind] == behind
    assert ops(graph).count("flatten") == 2


@pytest.mark.parametrize("op", sorted(LAYERS - {"normalize"}))
def test_every_layer_is_written_out(op: str) -> None:
    net = Net()
    x = net.input(2, 4, 4, 4)
    attrs = {
        "upsample2d": {"factors": (2, 1)},
        "pad2d": {"pads": (1, 0, 0, 1)},
        "crop2d": {"pads": (1, 0, 0, 1)},
        "slice_channels": {"start": 1, "stop": 3},
        "channel_shuffle": {"groups": 2},
        "flatten": {"order": "hwc"},
        "lrn": {"size": 3},
        "conv2d": {},
        "conv2d_transpose": {},
    }.get(op, {})
    special = {
        "conv2d": lambda: net.conv(x, 3, 3),
        "conv2d_transpose": lambda: net.deconv(x, 3),
        "max_pool2d": lambda: net.pool(x, 2, 2),
        "avg_pool2d": lambda: net.pool(x, 2, 2, op="avg_pool2d"),
        "batch_norm": lambda: net.batch_norm(x),
        "scale": lambda: net.scale(x),
        "prelu": lambda: net.add("prelu", x, net.param(4)),
    }
    y = special[op]() if op in special else net.add(op, x, **attrs)
    graph = _split(net, y)
    assert sorted(ops(graph)) == sorted(["slice", op, "slice", op, "concat"])
    (decision,) = decisions(graph)
    assert decision.choice == "written out for 2 samples"


STAYS: dict[str, Build] = {
    "one sample": lambda n: n.conv(n.input(1, 3, 4, 4), 2, 1),
    "no layer": lambda n: n.add("relu", n.add("softmax", n.input(3, 4), axis=0)),
    "filters that are computed": lambda n: n.add(
        "conv2d", n.input(2, 3, 4, 4), n.add("tanh", n.input(2, 3, 1, 1))
    ),
    "a pool with gaps": lambda n: n.pool(n.input(2, 3, 5, 5), 2, 1, dilations=(2, 2)),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_has_kernels_or_one_sample_stays(case: str) -> None:
    net = Net()
    y = STAYS[case](net)
    before = ops(net.outputs(y))
    assert ops(_split(net, y)) == before


def test_a_free_batch_is_left_alone() -> None:
    net = Net()
    graph = net.outputs(net.conv(net.input(1, 3, 4, 4), 2, 1))
    version = graph.version
    SplitBatch().run(graph)
    assert graph.version == version


def test_such_networks_compile_to_kernels_for_one_sample() -> None:
    net = Net()
    x = net.add("input", dtype=DType.F32, shape=(3, 2, 6, 5), memory="chw")
    h = net.add("relu", net.batch_norm(net.conv(x, 8, 3)))
    h = net.add("reduce", net.pool(h, 2, 2), kind="mean", axes=(2, 3), keepdims=False)
    scores = net.dense(h, 4)
    graph = net.outputs(net.add("reduce", scores, kind="max", axes=(0,)))
    graph.meta["batched"] = False
    plan = driver.plan_model(Model(graph, ()), find("x86-64-v3"), checks=2).plan
    kernels = [n.notes["kernel"] for _, n in plan.graph.nodes() if "kernel" in n.notes]
    assert sum(name.startswith("conv_pool") for name in kernels) == 3
    firsts = [steps_of(plan.graph, i)[0].op for i, n in plan.graph.nodes() if "kernel" in n.notes]
    assert firsts.count("matmul") == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_graphs_of_several_samples_keep_their_numbers(data: st.DataObject) -> None:
    net = Net(data.draw(st.integers(0, 999)))
    values = [net.input(2, 3, 4, 4)]
    kinds = ["conv", "conv", "pool", "unary", "join", "constant", "concat", "turn", "mix", "shape"]
    for _ in range(data.draw(st.integers(1, 9))):
        x = data.draw(st.sampled_from(values[-3:]))
        n, c, h, w = net.shape(x)
        match data.draw(st.sampled_from(kinds)):
            case "conv":
                x = net.conv(x, 3, 1)
            case "pool" if min(h, w) > 2:
                x = net.pool(x, 2, 1)
            case "unary":
                x = net.add("tanh", x)
            case "join":
                x = net.add("add", x, values[-1]) if net.shape(values[-1]) == (n, c, h, w) else x
            case "constant":
                shapes = [(n, 1, 1, 1), (c, 1, 1), (1, c, h, 1), (w,), ()]
                x = net.add("mul", x, net.param(*data.draw(st.sampled_from(shapes))))
            case "concat" if max(n, c) < 6:
                x = net.add("concat", x, x, axis=data.draw(st.integers(0, 2)))
            case "turn":
                perms = st.sampled_from([(0, 2, 3, 1), (1, 0, 2, 3), (0, 1, 3, 2)])
                x = net.add("transpose", x, perm=data.draw(perms))
            case "mix":
                x = net.add("sub", x, net.add("reduce", x, kind="mean", axes=(0,)))
            case "shape":
                x = net.add("reshape", x, shape=(n, c, w, h))
        values.append(x)
    outputs = [values[-1], *data.draw(st.lists(st.sampled_from(values), max_size=1))]
    graph = _split(net, *outputs)
    assert all(s[0] == 1 for s in _layers(graph))
    Simplify().run(graph)
    verify(graph)
