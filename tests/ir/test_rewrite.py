"""Rules, replacement and dead code."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import InternalError, Span
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.decisions import decisions
from cnncc.ir.graph import Graph
from cnncc.ir.interp import run
from cnncc.ir.rewrite import Rule, erase_dead, merge_spans, replace, rewrite
from cnncc.ir.verify import verify
from tests.ir.nets import named, residual


def drop_double_relu(graph: Graph, node_id: int) -> int | None:
    (operand,) = graph.operands(node_id)
    return operand if graph[operand].op == "relu" else None


DOUBLE = Rule("relu(relu(x)) = relu(x)", drop_double_relu, frozenset({"relu"}))


def chain(length: int) -> Graph:
    graph = residual()
    last = named(graph, "act")
    for k in range(length):
        span = (Span("net.cnn", 10 + k, 1, 5),)
        last = add_typed(graph, "relu", (last,), name=f"more{k}", spans=span)
    graph.outputs = [("y", last)]
    return graph


def test_rules_run_to_a_fixpoint_and_keep_numbers_and_places() -> None:
    graph = chain(4)
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4))
    before = run(graph, {"x": x})
    assert rewrite(graph, [DOUBLE], by="simplify") == {DOUBLE.equation: 4}
    verify(graph, "canonical", spans=True)
    np.testing.assert_array_equal(run(graph, {"x": x})[0], before[0])
    act = graph[named(graph, "act")]
    assert [s.line for s in act.spans] == [3, 10, 11, 12, 13]
    assert [(d.subject, d.by) for d in decisions(graph)] == [
        (f"more{k}", "simplify") for k in range(4)
    ]


def test_nothing_changes_when_nothing_matches() -> None:
    graph = residual()
    before = graph.version
    assert rewrite(graph, [DOUBLE]) == {}
    assert graph.version == before
    assert decisions(graph) == []


def test_endless_rules_are_stopped() -> None:
    def again(graph: Graph, node_id: int) -> int:
        return add_typed(graph, "relu", graph.operands(node_id))

    with pytest.raises(InternalError, match="do not come to rest"):
        rewrite(residual(), [Rule("relu = relu", again, frozenset({"relu"}))], max_rounds=5)


def test_a_replacement_inherits_name_and_places() -> None:
    graph = residual()
    old = named(graph, "act")
    new = add_typed(graph, "relu", graph.operands(old))
    replace(graph, old, new)
    assert old not in graph
    assert graph[new].name == "act"
    assert graph[new].spans == (Span("net.cnn", 3, 1, 9),)


def test_a_replacement_must_have_the_same_type() -> None:
    graph = residual()
    with pytest.raises(InternalError, match="cannot be replaced"):
        replace(graph, named(graph, "act"), named(graph, "conv.weight"))


def test_dead_code_takes_its_arrays_along_but_leaves_inputs() -> None:
    graph = residual()
    x, spare = named(graph, "x"), np.zeros(2, np.float32)
    scale = add_constant(graph, "spare", spare)
    add_typed(graph, "scale", (x, scale))
    assert erase_dead(graph) == 2
    assert list(graph.constants) == ["conv.weight"]
    graph.outputs = [("y", x)]
    assert erase_dead(graph) == 4
    assert graph.order() == [x]
    assert graph.constants == {}


def test_shared_arrays_survive_one_of_their_readers() -> None:
    graph = residual()
    array = graph.constants["conv.weight"]
    twin = add_constant(graph, "conv.weight", array)
    assert erase_dead(graph, [twin]) == 1
    assert graph.constants["conv.weight"] is array


def test_spans_are_merged_once() -> None:
    a, b = Span("f", 1, 1, 2), Span("f", 2, 1, 2)
    assert merge_spans((a, b), (b, a)) == (a, b)
