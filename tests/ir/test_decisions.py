"""Decisions are data of the graph."""

from __future__ import annotations

from cnncc.ir.decisions import Decision, decisions, record
from cnncc.ir.graph import Graph


def test_recorded_in_order_and_found_by_subject() -> None:
    graph = Graph()
    assert decisions(graph) == []
    made = [
        Decision("conv1", "kernel direct", "fewest cycles", (("im2col", "moves 4 MiB"),), {"n": 1}),
        Decision("conv2", "fused", "its only user is relu"),
    ]
    for decision in made:
        record(graph, decision)
    assert decisions(graph) == made
    assert decisions(graph, "conv2") == made[1:]
    twin = graph.copy()
    record(twin, made[0])
    assert len(decisions(graph)) == 2
