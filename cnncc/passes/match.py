"""Questions that several passes ask of a graph, and the small steps that they share."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array, Trait, lookup
from cnncc.ops.channels import channel_numbers, is_channel_shaped


def label(graph: Graph, node_id: int) -> str:
    """The node's name, or its operator and id: the word for it in decisions and messages."""
    node = graph[node_id]
    return node.name or f"{node.op}#{node_id}"


def free_name(taken: set[str], wanted: str) -> str:
    """`wanted`, longer if it is taken; it is taken now."""
    while wanted in taken:
        wanted += "_"
    taken.add(wanted)
    return wanted


def sole_user(graph: Graph, node_id: int) -> int | None:
    """The only node that reads this value; None when others do, or the network's caller does."""
    if graph.is_output(node_id):
        return None
    users = {user for user, _ in graph.users(node_id)}
    return users.pop() if len(users) == 1 else None


def producer(graph: Graph, node_id: int, op: str, index: int = 0) -> int | None:
    """The operand at `index` when the operator `op` makes it, else None."""
    operand = graph.operands(node_id)[index]
    return operand if graph[operand].op == op else None


def is_pointwise(graph: Graph, node_id: int) -> bool:
    """Whether the node's operator is an expression on single elements."""
    return Trait.POINTWISE in lookup(graph[node_id].op).traits


def channel_vector(graph: Graph, node_id: int, operand: int) -> Array | None:
    """The numbers [C] that a constant operand gives the channels of a node's result, else None.

    The result is a feature map or vector; `[C]` is a vector of parameters to operators that take
    such, to all others a last axis (see `is_channel_shaped`).
    """
    array, result = graph.constant(operand), graph.type_of(node_id)
    if array is None or array.dtype != np.float32 or len(result.shape) not in (2, 4):
        return None
    if not is_channel_shaped(lookup(graph[node_id].op), array.shape, result.shape):
        return None
    return channel_numbers(array, result.shape[1])


def number(graph: Graph, node_id: int) -> float | None:
    """The only element of a constant, else None."""
    array = graph.constant(node_id)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def other_than(pair: tuple[int, ...], x: int) -> int | None:
    """The other one of two nodes; None when x is not among them, or there are not two."""
    if len(pair) != 2 or x not in pair:
        return None
    return pair[1] if pair[0] == x else pair[0]


def filled_with(graph: Graph, node_id: int, value: float) -> bool:
    """Whether the node is a constant whose elements all equal `value`."""
    array = graph.constant(node_id)
    return array is not None and bool(np.all(array == value))


def same_type(graph: Graph, node_id: int) -> int | None:
    """The first operand when it has the result's type, else None."""
    x = graph.operands(node_id)[0]
    return x if graph.type_of(x) == graph.type_of(node_id) else None


def beyond(graph: Graph, inner: int, op: str, attrs: Any = None) -> int:
    """Add `op` on the operands of `inner`, which it makes superfluous and whose places it keeps."""
    return add_typed(graph, op, graph.operands(inner), attrs, spans=graph[inner].spans)
