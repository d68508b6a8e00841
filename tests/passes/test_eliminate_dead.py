from __future__ import annotations

import numpy as np

from cnncc.passes import EliminateDead
from tests.passes.nets import Net, ops


def test_inputs_stay_and_unread_arrays_go() -> None:
    net = Net()
    x, unread = net.input(1, 3, 4, 4), net.input(1, 2)
    net.batch_norm(net.conv(x, 2, 3))
    net.graph.constants["loose"] = np.zeros(2, np.float32)
    graph = net.outputs(net.add("relu", x))
    EliminateDead().run(graph)
    assert ops(graph) == ["relu"]
    assert graph.inputs == [x, unread]
    assert graph.constants == {}


def test_unread_arrays_alone_count_as_a_change() -> None:
    net = Net()
    graph = net.outputs(net.add("relu", net.input(1, 2)))
    EliminateDead().run(graph)
    version = graph.version
    graph.constants["loose"] = np.zeros(2, np.float32)
    EliminateDead().run(graph)
    assert graph.version == version + 1
