"""What two graphs must share to be the same, whatever their node ids."""

from __future__ import annotations

from typing import Any

from cnncc.ir.graph import Graph


def facts(graph: Graph) -> dict[str, Any]:
    """Everything of a graph except ids, spans and arrays."""
    names = {node_id: node.name for node_id, node in graph.nodes()}
    assert len(set(names.values())) == len(names)
    nodes = {
        node.name: (node.op, node.attrs, node.type, [names[i] for i in graph.operands(node_id)])
        for node_id, node in graph.nodes()
    }
    return {
        "name": graph.name,
        "nodes": nodes,
        "inputs": [names[i] for i in graph.inputs],
        "outputs": [(name, names[i]) for name, i in graph.outputs],
        "constants": {name: array.shape for name, array in graph.constants.items()},
        "meta": graph.meta,
    }
