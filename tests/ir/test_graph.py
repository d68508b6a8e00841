"""The graph's mutators, order and copies."""

from __future__ import annotations

import pytest

from cnncc.errors import InternalError
from cnncc.ir.graph import Graph
from tests.ir.nets import named, residual


def diamond() -> tuple[Graph, list[int]]:
    graph = Graph()
    a = graph.add("input")
    b = graph.add("relu", [a])
    c = graph.add("tanh", [a])
    d = graph.add("add", [c, b])
    graph.outputs = [("y", d)]
    return graph, [a, b, c, d]


def test_operands_keep_their_order_and_may_repeat() -> None:
    graph, (a, b, c, d) = diamond()
    assert graph.operands(d) == (c, b)
    twice = graph.add("add", [b, b])
    assert graph.operands(twice) == (b, b)
    assert graph.users(b) == [(d, 1), (twice, 0), (twice, 1)]
    assert graph.inputs == [a]


def test_order_is_topological_and_breaks_ties_by_id() -> None:
    graph, (a, b, c, d) = diamond()
    late = graph.add("relu", [a])
    graph.set_operand(b, 0, late)
    assert graph.order() == [a, c, late, b, d]


def test_a_cycle_is_an_internal_error() -> None:
    graph, (_, b, _, d) = diamond()
    graph.set_operand(b, 0, d)
    with pytest.raises(InternalError, match="cycle"):
        graph.order()


def test_replace_uses_reaches_outputs_and_repeated_operands() -> None:
    graph, (_, b, c, d) = diamond()
    graph.set_operand(d, 0, b)
    graph.replace_uses(b, c)
    assert graph.operands(d) == (c, c)
    assert graph.users(b) == []
    graph.replace_uses(d, c)
    assert graph.outputs == [("y", c)]


def test_replacement_may_read_what_it_replaces() -> None:
    graph, (_, b, _, d) = diamond()
    wrapped = graph.add("relu", [b])
    graph.replace_uses(b, wrapped)
    assert graph.operands(wrapped) == (b,)
    assert wrapped in graph.operands(d)


def test_erase_refuses_what_is_read() -> None:
    graph, (_, b, _, d) = diamond()
    for node_id in (b, d):
        with pytest.raises(InternalError, match="still used"):
            graph.erase(node_id)
    graph.outputs = []
    graph.erase(d)
    assert d not in graph
    assert graph.add("relu", [b]) > d, "ids are never used again"


def test_every_mutator_bumps_the_version() -> None:
    graph, (_, b, c, d) = diamond()
    seen = [graph.version]
    for change in (
        lambda: graph.add("relu", [b]),
        lambda: graph.set_operand(d, 0, b),
        lambda: graph.replace_uses(b, c),
        lambda: graph.erase(b) if not graph.users(b) else None,
    ):
        change()
        seen.append(graph.version)
    assert seen == sorted(set(seen))


def test_a_copy_is_independent() -> None:
    graph = residual()
    graph.meta["labels"] = ["a"]
    twin = graph.copy()
    assert twin.order() == graph.order()
    conv = named(twin, "conv")
    twin[conv].notes["kernel"] = "direct"
    twin.constants["more"] = twin.constants["conv.weight"]
    twin.meta["labels"].append("b")
    twin.outputs = []
    assert graph[conv].notes == {}
    assert list(graph.constants) == ["conv.weight"]
    assert graph.meta == {"labels": ["a"]}
    assert graph.outputs
    assert twin.add("relu", [conv]) == graph.add("relu", [conv])


def test_missing_operands_and_types_are_internal_errors() -> None:
    graph, (_, b, _, _) = diamond()
    with pytest.raises(InternalError, match="operand 99"):
        graph.add("relu", [99])
    with pytest.raises(InternalError, match="no type yet"):
        graph.type_of(b)


def test_renumber_gives_back_the_ids_of_a_dump() -> None:
    graph = residual()
    ids = graph.order()
    for gap in ({}, {ids[-1]: ids[-1] + 7}):
        twin = graph.copy()
        twin.renumber({i: gap.get(i, i) for i in ids}, 50)
        assert twin.order() == [gap.get(i, i) for i in ids]
        assert twin.next_id == 50
        assert [twin[gap.get(i, i)] for i in ids] == [graph[i] for i in ids]
        assert twin.outputs == [(name, gap.get(i, i)) for name, i in graph.outputs]


@pytest.mark.parametrize(
    ("ids", "next_id"), [({0: 0}, 9), (None, 2), (dict.fromkeys(range(6), 1), 9)]
)
def test_renumber_refuses_ids_that_clash(ids, next_id) -> None:
    graph = residual()
    with pytest.raises(InternalError, match="ids must be distinct"):
        graph.renumber(ids or {i: i for i in graph.order()}, next_id)
