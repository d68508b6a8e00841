"""Counting a network as it is written: parameters and multiply-adds."""

from __future__ import annotations

from cnncc.ir.graph import Graph
from cnncc.ir.op import Cost, lookup

# Operands of batch norm that are measured, not trained.
_RUNNING = frozenset({3, 4})


def node_parameters(graph: Graph, node_id: int) -> int:
    """Trained numbers that one node reads."""
    total = 0
    for index, operand in enumerate(graph.operands(node_id)):
        measured = graph[node_id].op == "batch_norm" and index in _RUNNING
        if graph[operand].op == "constant" and not measured:
            total += graph.type_of(operand).elems
    return total


def node_cost(graph: Graph, node_id: int) -> Cost:
    """Work of one node for one sample."""
    node = graph[node_id]
    types = [graph.type_of(o) for o in graph.operands(node_id)]
    return lookup(node.op).cost(types, graph.type_of(node_id), node.attrs)


def parameters(graph: Graph) -> int:
    """Trained numbers of the network; one that several layers share counts once."""
    trained: set[int] = set()
    for node_id, node in graph.nodes():
        for index, operand in enumerate(graph.operands(node_id)):
            measured = node.op == "batch_norm" and index in _RUNNING
            if graph[operand].op == "constant" and not measured:
                trained.add(operand)
    return sum(graph.type_of(c).elems for c in trained)


def macs(graph: Graph) -> int:
    """Multiply-adds of one sample."""
    return sum(node_cost(graph, n).macs for n, node in graph.nodes() if node.op != "input")
