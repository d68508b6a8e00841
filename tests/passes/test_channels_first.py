"""Graphs made for pixels in rows end as their twins made for maps: the same kernels, as many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import driver
from cnncc.ir import interp
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.ir.verify import verify
from cnncc.passes import ChannelsFirst, EliminateDead, Simplify
from cnncc.targets import find
from tests.passes.nets import Net, assert_same_numbers, ops

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - only where onnx is installed

TO_MAPS, TO_ROWS = (0, 3, 1, 2), (0, 2, 3, 1)


def _maps(net: Net, x: int) -> int:
    return net.add("transpose", x, perm=TO_MAPS)


def _rows(net: Net, x: int) -> int:
    return net.add("transpose", x, perm=TO_ROWS)


def _conv(net: Net, rows: int, filters: int) -> int:
    """A convolution as exporters write it for pixels in rows."""
    return _rows(net, net.conv(_maps(net, rows), filters, 1))


def _run(net: Net, *outputs: int) -> Graph:
    """The graph after the pass, which keeps its numbers and has nothing left to do."""
    graph = net.outputs(*outputs)
    graph.meta["batched"] = False
    rng = np.random.default_rng(1)
    inputs = {}
    for place, node_id in enumerate(graph.inputs):
        attrs = graph[node_id].attrs
        inputs[place] = (9 * rng.standard_normal(attrs.shape)).astype(attrs.dtype.numpy)
    want = interp.run(graph, inputs)
    ChannelsFirst().run(graph)
    assert_same_numbers(want, interp.run(graph, inputs), 1e-9)
    verify(graph, spans=True)
    version = graph.version
    ChannelsFirst().run(graph)
    assert graph.version == version
    return graph


def _turns(graph: Graph) -> int:
    return ops(graph).count("transpose")


def test_turns_go_to_the_ends() -> None:
    net = Net()
    x = net.input(1, 5, 4, 3)
    h = net.add("relu", _conv(net, x, 6))
    h = net.add("add", h, net.add("mul", _conv(net, h, 6), net.param(6)))
    h = net.add("concat", h, net.add("tanh", h), axis=3)
    h = net.add("pad", h, mode="constant", before=(0, 1, 1, 2), after=(0, 0, 1, 0), value=1.0)
    h = net.add("slice", h, starts=(0, 1, 0, 1), steps=(1, 1, 2, 3), sizes=(1, 4, 3, 4))
    h = _conv(net, net.add("softmax", h, axis=3), 4)
    graph = _run(net, net.add("sigmoid", h))
    found = ops(graph)
    assert (found[0], found[-1], _turns(graph)) == ("transpose", "transpose", 2)


def test_a_residual_chain_that_starts_with_the_input() -> None:
    net = Net()
    h = net.input(1, 5, 4, 3)
    for _ in range(3):
        h = net.add("add", _conv(net, h, 3), h)
    assert _turns(_run(net, h)) == 2


def test_a_gate_of_pixels_is_turned_without_moving() -> None:
    net = Net()
    h = _conv(net, net.input(1, 5, 4, 3), 4)
    mean = net.add("reduce", h, kind="mean", axes=(1, 2))
    gate = net.add("sigmoid", _conv(net, net.add("relu", _conv(net, mean, 2)), 4))
    graph = _run(net, _conv(net, net.add("mul", h, gate), 2))
    assert (_turns(graph), ops(graph).count("reshape")) == (2, 0)


def test_a_mean_without_its_axes_takes_any_order() -> None:
    net = Net()
    h = net.add("relu", _conv(net, net.input(1, 5, 4, 3), 4))
    graph = _run(net, net.add("reduce", h, kind="mean", axes=(1, 2), keepdims=False))
    assert ops(graph) == ["transpose", "conv2d", "relu", "reduce"]


def test_products_of_pixels_are_convolutions() -> None:
    net = Net()
    h = net.add("tanh", net.add("matmul", _conv(net, net.input(1, 5, 4, 3), 4), net.param(4, 6)))
    graph = _run(net, _conv(net, net.add("add", h, net.param(6)), 2))
    assert ops(graph) == [
        *("transpose", "conv2d", "conv2d", "tanh", "add", "conv2d", "transpose"),
    ]


def test_groups_of_channels_of_pixels_are_shuffled_on_maps() -> None:
    net = Net()
    h = _conv(net, net.input(1, 5, 4, 3), 6)
    apart = net.add("reshape", h, shape=(1, 5, 4, 2, 3))
    mixed = net.add(
        "reshape", net.add("transpose", apart, perm=(0, 1, 2, 4, 3)), shape=(1, 5, 4, 6)
    )
    graph = _run(net, _conv(net, mixed, 2))
    assert ops(graph) == ["transpose", "conv2d", "channel_shuffle", "conv2d", "transpose"]


def _row_conv(net: Net, x: int, filters: int) -> int:
    """A 1-D convolution of [N,C,W], on a map with one row."""
    n, c, w = net.shape(x)
    row = net.add("reshape", x, shape=(n, c, 1, w))
    conv = net.add("conv2d", row, net.param(filters, c, 1, 3), pads=(0, 1, 0, 1))
    return net.add("reshape", conv, shape=(n, filters, w))


def test_chains_of_one_dimensional_convolutions_stay_maps() -> None:
    net = Net()
    h = net.add("relu", _row_conv(net, net.input(1, 3, 8), 4))
    h = net.add("add", net.add("mul", _row_conv(net, h, 4), net.param(4, 1)), h)
    h = net.add("concat", h, net.add("tanh", h))
    graph = _run(net, _row_conv(net, h, 2))
    found = ops(graph)
    assert (found[0], found[-1], found.count("reshape")) == ("reshape", "reshape", 2)


def test_one_dimensional_convolutions_of_turned_rows() -> None:
    net = Net()
    h = net.input(1, 8, 3)
    for filters in (4, 5):
        turned = _row_conv(net, net.add("transpose", h, perm=(0, 2, 1)), filters)
        h = net.add("relu", net.add("transpose", turned, perm=(0, 2, 1)))
    graph = _run(net, h)
    inner = ops(graph)[2:-2]
    assert inner == ["conv2d", "relu", "conv2d", "relu"], ops(graph)


STAYS = {
    "maps without turns": lambda n: n.add("relu", n.conv(n.input(1, 3, 4, 4), 2, 1)),
    "pixels without maps": lambda n: n.add("relu", n.add("softmax", n.input(1, 4, 4, 3), axis=3)),
    "mean of each pixel": lambda n: n.add(
        "sub",
        h := _rows(n, n.conv(n.input(1, 3, 4, 5), 6, 1)),
        n.add("reduce", h, kind="mean", axes=(3,)),
    ),
    "bytes": lambda n: _maps(
        n, n.add("cast", n.add("input", dtype=DType.U8, shape=(1, 4, 4, 3)), to=DType.F32)
    ),
    "another turn": lambda n: n.add(
        "relu", n.add("transpose", n.conv(n.input(1, 3, 4, 5), 6, 1), perm=(0, 2, 1, 3))
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_where_nothing_is_gained_nothing_changes(case: str) -> None:
    net = Net()
    y = STAYS[case](net)
    before = ops(net.outputs(y))
    assert ops(_run(net, y)) == before


KINDS = ("turn", "turn", "turn", "unary", "join", "concat", "pad", "reduce", "conv")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_graphs_keep_their_numbers_and_turn_no_more(data: st.DataObject) -> None:
    net = Net(data.draw(st.integers(0, 999)))
    values = [net.input(1, 4, 3, 5)]
    perms = st.sampled_from([TO_MAPS, TO_ROWS, TO_MAPS, TO_ROWS, (0, 2, 1, 3)])
    for _ in range(data.draw(st.integers(2, 10))):
        x = data.draw(st.sampled_from(values[-3:]))
        shape = net.shape(x)
        match data.draw(st.sampled_from(KINDS)):
            case "turn":
                x = net.add("transpose", x, perm=data.draw(perms))
            case "unary":
                x = net.add("tanh", x)
            case "join":
                same = [v for v in values if net.shape(v) == shape]
                other = data.draw(st.sampled_from([*same, net.param(shape[3]), net.param(1)]))
                x = net.add("add", x, other)
            case "concat" if max(shape) < 12:
                x = net.add("concat", x, x, axis=data.draw(st.integers(1, 3)))
            case "pad" if max(shape) < 12:
                before = tuple(data.draw(st.integers(0, 1)) for _ in shape)
                x = net.add("pad", x, mode="edge", before=before, after=(0, 1, 0, 0))
            case "reduce":
                axes = tuple(sorted(data.draw(st.sets(st.sampled_from([1, 2, 3]), min_size=1))))
                x = net.add("reduce", x, kind="max", axes=axes)
            case "conv":
                x = net.conv(x, 3, 1)
        values.append(x)
    graph = net.outputs(values[-1], *data.draw(st.lists(st.sampled_from(values), max_size=1)))
    EliminateDead().run(graph)
    before = _turned_elements(graph)
    _run(net, *(out for _, out in graph.outputs))
    assert _turned_elements(graph) <= before


def _turned_elements(graph: Graph) -> int:
    """Elements that live transposes move, but for those at an end of the network."""
    copy = graph.copy()
    Simplify().run(copy)
    return sum(
        copy.type_of(i).elems
        for i, n in copy.nodes()
        if n.op == "transpose" and copy[copy.operands(i)[0]].op != "input" and not copy.is_output(i)
    )


# -- twins of ONNX ---------------------------------------------------------------------------------


class _Writer:
    """One network as ONNX nodes, with pixels in rows or as maps."""

    def __init__(self, in_rows: bool) -> None:
        self.in_rows = in_rows
        self.rng = np.random.default_rng(3)
        self.nodes: list[object] = []
        self.weights: list[object] = []

    def node(self, op: str, *inputs: str, **attrs: object) -> str:
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attrs))
        return out

    def weight(self, array: object) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def random(self, *shape: int) -> np.ndarray:
        return (self.rng.standard_normal(shape) / 3).astype(np.float32)

    def on_maps(self, op: str, x: str, *rest: str, **attrs: object) -> str:
        """An operator that knows maps only, between turns where pixels lie in rows."""
        if not self.in_rows:
            return self.node(op, x, *rest, **attrs)
        turned = self.node("Transpose", x, perm=TO_MAPS)
        return self.node("Transpose", self.node(op, turned, *rest, **attrs), perm=TO_ROWS)

    def conv(self, x: str, c: int, o: int, k: int, **attrs: object) -> str:
        w = self.weight(self.random(o, c // int(attrs.get("group", 1)), k, k))
        return self.on_maps("Conv", x, w, self.weight(self.random(o)), pads=[k // 2] * 4, **attrs)

    def a_channel(self, c: int) -> str:
        numbers = np.abs(self.random(c)) + 0.5
        return self.weight(numbers if self.in_rows else numbers.reshape(c, 1, 1))

    @property
    def channel_axis(self) -> int:
        return 3 if self.in_rows else 1

    def network(self) -> str:
        h = self.conv("x", 3, 8, 3)
        h = self.node("Div", self.node("Sub", h, self.a_channel(8)), self.a_channel(8))
        h = self.node("Relu", self.node("Add", self.node("Mul", h, self.a_channel(8)), h))
        pixels = [1, 2] if self.in_rows else [2, 3]
        mean = self.node("ReduceMean", h, axes=pixels, keepdims=1)
        gate = self.conv(self.node("Relu", self.conv(mean, 8, 4, 1)), 4, 8, 1)
        h = self.node("Mul", h, self.node("HardSigmoid", gate))
        depthwise = self.node("LeakyRelu", self.conv(h, 8, 8, 3, group=8))
        h = self.node("Concat", depthwise, h, axis=self.channel_axis)
        pads = [0, 1, 1, 0, 0, 1, 1, 0] if self.in_rows else [0, 0, 1, 1, 0, 0, 1, 1]
        h = self.node("Pad", h, self.weight(np.asarray(pads, np.int64)), self.weight(np.float32(0)))
        w = self.weight(self.random(16, 16, 3, 3))
        h = self.on_maps("Conv", h, w, self.weight(self.random(16)))
        h = self.on_maps("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
        bounds = [self.weight(np.asarray([n], np.int64)) for n in (8, 16)]
        axis = self.weight(np.asarray([self.channel_axis], np.int64))
        h = self.node("Mul", self.node("Slice", h, *bounds, axis), self.weight(np.float32(0.5)))
        flat = self.node("Reshape", h, self.weight(np.asarray([1, -1], np.int64)))
        matrix = self.random(8, 4, 5, 10)
        matrix = matrix.transpose(1, 2, 0, 3) if self.in_rows else matrix
        scores = self.node("MatMul", flat, self.weight(matrix.reshape(160, 10)))
        return self.node("Softmax", self.node("Add", scores, self.weight(self.random(10))), axis=1)

    def save(self, path: Path) -> Path:
        out = self.network()
        shape = (1, 8, 10, 3) if self.in_rows else (1, 3, 8, 10)
        graph = helper.make_graph(
            self.nodes,
            "twin",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, (1, 10))],
            self.weights,
        )
        opset = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        return path


def test_pixels_in_rows_cost_no_kernel_more_than_maps(tmp_path: Path) -> None:
    kernels, results = [], []
    x = np.random.default_rng(5).standard_normal((1, 3, 8, 10)).astype(np.float32)
    for in_rows in (False, True):
        model = driver.load_model(_Writer(in_rows).save(tmp_path / f"{in_rows}.onnx"))
        planned = driver.plan_model(model, find("x86-64-v3"), checks=2).plan.graph
        found = [n.notes["kernel"] for _, n in planned.nodes() if "kernel" in n.notes]
        kernels.append(Counter(found))
        results.append(interp.run(model.graph, {0: x.transpose(TO_ROWS) if in_rows else x})[0])
    assert kernels[0] == kernels[1]
    assert not any(name.startswith("row_") for name in kernels[1])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
