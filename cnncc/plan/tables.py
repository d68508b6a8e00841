"""Tables of a network for people: its layers as written, and what became of them. Plain data."""

from __future__ import annotations

from typing import Any

from cnncc.ir.counts import node_cost, node_parameters
from cnncc.ir.decisions import decisions
from cnncc.ir.graph import Graph
from cnncc.ir.types import TensorType
from cnncc.plan.lower import Plan
from cnncc.plan.site import steps_of

Row = dict[str, Any]


def shape_text(type_: TensorType, *, whole: bool = False) -> str:
    """A shape as the language writes it: `56x56x64`, or the length of a vector.

    Args:
        type_: the value's type.
        whole: all axes in their own order, as ONNX writes it; a general array may be in any.
    """
    if whole or not type_.shape:
        return "x".join(map(str, type_.shape)) or "scalar"
    if len(type_.shape) == 4:
        _, channels, height, width = type_.shape
        return f"{height}x{width}x{channels}"
    return "x".join(map(str, type_.shape[1:]))


def _is_imported(graph: Graph) -> bool:
    """Whether the model speaks of whole arrays, not of feature maps."""
    return "tensors" in graph.meta


def layer_rows(graph: Graph) -> list[Row]:
    """One row a layer of a typed graph: path, op, shape, parameters, macs, bytes of the result."""
    rows = []
    for node_id, node in graph.nodes():
        if node.op == "constant":
            continue
        type_ = graph.type_of(node_id)
        cost = node_cost(graph, node_id) if node.op != "input" else None
        span = node.spans[0] if node.spans else None
        rows.append(
            {
                "path": node.name or f"{node.op}{node_id}",
                "op": node.op,
                "shape": shape_text(type_, whole=_is_imported(graph)),
                "parameters": node_parameters(graph, node_id),
                "macs": cost.macs if cost else 0,
                "bytes": type_.size_bytes,
                "line": span.line if span else 0,
            }
        )
    return rows


def group_rows(plan: Plan) -> list[Row]:
    """One row a loop nest group of a plan, in order of execution."""
    rows = []
    for stage in plan.stages:
        node = plan.graph[stage.node]
        cost = node_cost(plan.graph, stage.node)
        layout = node.notes["layout"]
        rows.append(
            {
                "path": stage.name,
                "members": list(node.notes.get("members", [stage.name])),
                "ops": [step.op for step in steps_of(plan.graph, stage.node)],
                "shape": shape_text(plan.graph.type_of(stage.node), whole=_is_imported(plan.graph)),
                "kernel": node.notes["kernel"],
                "choice": node.notes["choice"],
                "layout": str(layout),
                "in_arena": "place" in node.notes,
                "offset_bytes": node.notes.get("place", 0) * 4,
                "bytes": layout.words * 4,
                "macs": cost.macs,
                "predicted_us": node.notes["predicted_us"],
                "bound_us": list(node.notes["bound_us"]),
                "functions": list(stage.functions),
            }
        )
    return rows


def decision_rows(graph: Graph) -> list[Row]:
    """Every decision of every pass, in order."""
    return [
        {
            "subject": d.subject,
            "choice": d.choice,
            "reason": d.reason,
            "rejected": [list(pair) for pair in d.rejected],
            "figures": dict(d.figures),
            "by": d.by,
        }
        for d in decisions(graph)
    ]
