from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import UnsupportedError
from cnncc.ir.verify import verify
from cnncc.passes import Decompose
from tests.passes.nets import Net, assert_same_numbers, ops, values


def test_a_canonical_graph_has_nothing_idle_nothing_unread() -> None:
    net = Net()
    x = net.input(1, 3, 4, 4)
    net.add("tanh", x)
    net.graph.constants["unread"] = np.zeros(3, np.float32)
    graph = net.outputs(net.add("identity", net.add("dropout", net.batch_norm(x))), x)
    want = values(graph)
    Decompose().run(graph)
    verify(graph, "canonical")
    assert ops(graph) == ["scale"]
    assert sorted(graph.constants) == ["batch_norm1.factor", "batch_norm1.shift"]
    assert_same_numbers(want, values(graph), 1e-6)


def test_an_output_that_does_nothing_is_its_input() -> None:
    net = Net()
    x = net.input(1, 3)
    graph = net.outputs(net.add("dropout", x))
    Decompose().run(graph)
    assert graph.outputs == [("y0", x)]


def test_a_batch_norm_of_computed_parameters_is_refused_with_its_place() -> None:
    net = Net()
    x = net.input(1, 3, 4, 4)
    vectors = [net.param(3) for _ in range(3)]
    y = net.add("batch_norm", x, *vectors, net.add("sigmoid", net.param(3)))
    graph = net.outputs(y)
    with pytest.raises(UnsupportedError, match="batch_norm1: batch_norm needs constant") as caught:
        Decompose().run(graph)
    assert caught.value.span == graph[y].spans[0]
