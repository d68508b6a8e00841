"""Typed construction: nodes get their types as they are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnncc.errors import Span, TypeInferenceError
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array, lookup
from cnncc.ir.types import DType, TensorType


def infer(graph: Graph, op: str, operands: Sequence[int], attrs: Any) -> TensorType:
    """The type that an operator's result would have; a constant's is that of its array.

    Raises:
        TypeInferenceError: the operands do not fit the operator.
    """
    if op == "constant":
        array = graph.constants[attrs.data]
        return TensorType(DType.of(array.dtype), array.shape)
    return lookup(op).infer([graph.type_of(o) for o in operands], attrs)


def add_typed(
    graph: Graph,
    op: str,
    operands: Sequence[int] = (),
    attrs: Any = None,
    *,
    name: str = "",
    spans: tuple[Span, ...] = (),
    notes: Mapping[str, Any] | None = None,
) -> int:
    """Add a node with its inferred type; `attrs` defaults to the operator's defaults.

    Raises:
        TypeInferenceError: the operands do not fit; it carries the node's place.
    """
    chosen = lookup(op).Attrs() if attrs is None else attrs
    try:
        found = infer(graph, op, operands, chosen)
    except TypeInferenceError as error:
        error.span = error.span or (spans[-1] if spans else None)
        raise
    return graph.add(op, operands, chosen, type=found, name=name, spans=spans, notes=notes)


def add_constant(
    graph: Graph, data: str, array: Array, *, name: str = "", spans: tuple[Span, ...] = ()
) -> int:
    """Add an array under the key `data` (made unique) and a `constant` node that reads it.

    Two nodes never share an array by accident: when `data` is taken by another array, a number is
    appended to it.
    """
    key, count = data, 1
    while key in graph.constants and graph.constants[key] is not array:
        count += 1
        key = f"{data}.{count}"
    graph.constants[key] = array
    attrs = lookup("constant").Attrs(key)
    return add_typed(graph, "constant", (), attrs, name=name, spans=spans)


def infer_types(graph: Graph) -> None:
    """Give every node its type, in topological order.

    Raises:
        TypeInferenceError: a node's operands do not fit; it carries the node's place.
    """
    for node_id, node in graph.nodes():
        try:
            found = infer(graph, node.op, graph.operands(node_id), node.attrs)
        except TypeInferenceError as error:
            error.span = error.span or (node.spans[-1] if node.spans else None)
            raise
        if node.type != found:
            node.type = found
            graph.version += 1
