from __future__ import annotations

import numpy as np

from cnncc.passes import CommonSubexpressions
from tests.passes.nets import Net, assert_same_numbers, ops, values


def _merge(net: Net, *outputs: int) -> list[str]:
    graph = net.outputs(*outputs)
    want = values(graph)
    CommonSubexpressions().run(graph)
    for a, b in zip(want, values(graph), strict=True):
        np.testing.assert_array_equal(a, b)
    return ops(graph)


def test_operands_of_commutative_operators_have_no_order() -> None:
    net = Net()
    a, b = net.input(1, 4), net.input(1, 4)
    merged = _merge(net, net.add("add", a, b), net.add("add", b, a))
    assert merged == ["add"]


def test_merging_goes_on_in_the_users() -> None:
    net = Net()
    x = net.input(1, 4)
    twins = [net.add("tanh", net.add("relu", x)) for _ in range(3)]
    assert _merge(net, *twins) == ["relu", "tanh"]
    assert len({out for _, out in net.graph.outputs}) == 1


def test_attributes_operators_and_order_tell_nodes_apart() -> None:
    net = Net()
    x = net.input(1, 4, 3, 3)
    a, b = net.add("leaky_relu", x, alpha=0.1), net.add("leaky_relu", x, alpha=0.2)
    joined = net.add("concat", a, b), net.add("concat", b, a)
    assert len(_merge(net, *joined, net.add("relu", x), net.add("tanh", x))) == 6


def test_inputs_are_never_merged() -> None:
    net = Net()
    a, b = net.input(1, 4), net.input(1, 4)
    assert _merge(net, net.add("relu", a), net.add("relu", b)) == ["relu", "relu"]


def test_constants_are_merged_by_their_bytes() -> None:
    net = Net()
    x, big = net.input(1, 4), np.arange(4000, dtype=np.float32)
    almost = big.copy()
    almost[3001] = 0  # between the samples that are compared first
    nets = [net.array(v.reshape(1000, 4)) for v in (big, big.copy(), almost)]
    layers = [net.add("dense", x, w) for w in nets]
    assert _merge(net, *layers) == ["dense", "dense"]
    assert len(net.graph.constants) == 2


def test_zero_and_minus_zero_are_different_constants() -> None:
    net = Net()
    x = net.input(1, 2)
    layers = [net.add("mul", x, net.array([[s, s]])) for s in (0.0, -0.0)]
    assert _merge(net, *layers) == ["mul", "mul"]


def test_arrays_that_were_not_loaded_are_never_equal() -> None:
    net = Net()
    x = net.input(1, 3)
    layers = []
    for k in range(2):
        net.graph.constants[f"w{k}"] = np.broadcast_to(np.float32(0), (2, 3))
        layers.append(net.add("dense", x, net.add("constant", name="", data=f"w{k}")))
    graph = net.outputs(*layers)
    CommonSubexpressions().run(graph)
    assert ops(graph) == ["dense", "dense"]
    assert_same_numbers(values(graph), [np.zeros((2, 2))] * 2, 1e-9)
