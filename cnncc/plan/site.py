"""From a node of the fused graph to the `Site` that kernels see."""

from __future__ import annotations

from typing import Any

from cnncc.errors import InternalError
from cnncc.ir.graph import Graph
from cnncc.kernels.layout import AnyLayout
from cnncc.kernels.template import Site
from cnncc.ops.fused import Step
from cnncc.targets.target import Target

# Operators that compute nothing at run time: their value lies in the buffer of an operand, or nowhere.
SOURCES = frozenset({"input", "constant"})


def steps_of(graph: Graph, node_id: int) -> tuple[Step, ...]:
    """The steps of a node; one that is not fused has a single step."""
    node = graph[node_id]
    if node.op == "fused":
        steps: tuple[Step, ...] = node.attrs.steps
        return steps
    return (Step(node.op, node.attrs, tuple(range(len(graph.operands(node_id))))),)


def layout_of(graph: Graph, node_id: int) -> AnyLayout | None:
    """The layout noted on a value; constants have none."""
    layout: AnyLayout | None = graph[node_id].notes.get("layout")
    if layout is None and graph[node_id].op != "constant":
        raise InternalError(f"node {node_id} ({graph[node_id].op}) has no layout yet")
    return layout


def site_of(graph: Graph, node_id: int, target: Target, in_place: int | None = None) -> Site:
    """The site of a node whose layouts are chosen."""
    operands = graph.operands(node_id)
    node = graph[node_id]
    out = layout_of(graph, node_id)
    if out is None:
        raise InternalError(f"constant {node_id} is not computed")
    return Site(
        name=node.name or f"{node.op}{node_id}",
        steps=steps_of(graph, node_id),
        types=tuple(graph.type_of(o) for o in operands),
        result=graph.type_of(node_id),
        layouts=tuple(layout_of(graph, o) for o in operands),
        out=out,
        constants=tuple(graph.constant(o) for o in operands),
        target=target,
        in_place=in_place,
    )


def is_computed(graph: Graph, node_id: int) -> bool:
    """Whether a node needs a loop nest: it is no source and does not lie in another's buffer."""
    node: Any = graph[node_id]
    return node.op not in SOURCES and "alias" not in node.notes
