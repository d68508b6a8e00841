from __future__ import annotations

import numpy as np

from cnncc.ir.decisions import decisions
from cnncc.ir.op import lookup
from cnncc.passes import FoldConstants
from tests.passes.nets import Net, ops, values


def _sum_of_weights(net: Net) -> int:
    x = net.input(1, 4)
    total = net.add("mul", net.add("add", net.param(1, 4), net.param(1, 4)), net.param(1, 4))
    return net.add("add", x, total)


def test_folded_results_fold_on_and_are_rounded_once_each() -> None:
    net = Net()
    graph = net.outputs(_sum_of_weights(net))
    a, b, c = (graph.constants[f"p{i}"].astype(np.float64) for i in range(3))
    FoldConstants().run(graph)
    assert ops(graph) == ["add"]
    (folded,) = graph.constants.values()
    assert folded.dtype == np.float32
    want = (np.float64(np.float32(a + b)) * c).astype(np.float32)
    np.testing.assert_array_equal(folded, want)
    assert [d.figures["flops"] for d in decisions(graph)] == [4, 4]


def test_the_budget_of_bytes_holds_over_the_whole_run() -> None:
    net = Net()
    graph = net.outputs(_sum_of_weights(net))
    FoldConstants(max_bytes=16).run(graph)
    assert ops(graph) == ["mul", "add"]
    kept = decisions(graph)[-1]
    assert (kept.choice, kept.reason) == ("kept", "the budget of constant folding is spent")


def test_the_budget_of_operations_holds() -> None:
    net = Net()
    graph = net.outputs(_sum_of_weights(net))
    FoldConstants(max_flops=3).run(graph)
    assert ops(graph) == ["add", "mul", "add"]


def test_an_output_may_be_folded_and_keeps_its_name() -> None:
    net = Net()
    net.input(1, 2)
    graph = net.outputs(net.add("relu", net.array([[-1.0, 2.0]])))
    FoldConstants().run(graph)
    assert ops(graph) == []
    assert graph.outputs[0][0] == "y0"
    np.testing.assert_array_equal(values(graph)[0], [[0.0, 2.0]])


def test_integers_stay_integers() -> None:
    net = Net()
    graph = net.graph
    graph.constants["n"] = np.arange(6, dtype=np.int64).reshape(2, 3)
    n = net.add("constant", data="n")
    graph = net.outputs(net.add("transpose", n, perm=(1, 0)))
    FoldConstants().run(graph)
    (folded,) = graph.constants.values()
    assert folded.dtype == np.int64
    np.testing.assert_array_equal(
        folded,
        lookup("transpose").reference(
            [np.arange(6).reshape(2, 3)], lookup("transpose").Attrs((1, 0))
        ),
    )
