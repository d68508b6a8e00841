"""Constants among the operands of general operators, as text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.graph import Graph
from cnncc.ir.types import DType, TensorType
from cnncc.spec.general import CONSTANT, array_text, element_text, filled, scalar_type
from cnncc.spec.operations import Operation
from cnncc.spec.values import type_text


def is_literal(graph: Graph, node_id: int) -> bool:
    """Whether a constant's numbers belong into the text, not into the weight file."""
    return graph[node_id].attrs.data in graph.meta.get("literals", ())


def constant_call(graph: Graph, node_id: int, literal: bool) -> str:
    """`constant(f32[64, 1, 1])`, with its numbers if `literal`."""
    type_ = type_text(graph.type_of(node_id))
    if not literal:
        return f"{CONSTANT}({type_})"
    return f"{CONSTANT}({type_}, value={array_text(_array(graph, node_id))})"


def number_operands(graph: Graph, node_id: int) -> dict[int, str]:
    """Those operands of a node that a plain number can stand for, with the number."""
    operands = graph.operands(node_id)
    values = [None if graph[i].op == "constant" and _is_number(graph, i) else i for i in operands]
    types = [None if i is None else graph.type_of(i) for i in values]
    wanted = scalar_type(types)
    return {
        i: element_text(_array(graph, i)[()])
        for i, value in zip(operands, values, strict=True)
        if value is None and graph.type_of(i) == wanted
    }


def takes_constants(graph: Graph, node_id: int, made: Operation) -> bool:
    """Whether an operation of the language may read its constants: a join may, but no numbers."""
    return made.joins and not number_operands(graph, node_id)


def reads_back(array: NDArray[Any]) -> bool:
    """Whether an array's text gives the very same bits: there are many NaNs, the text has one."""
    if array.size == 0:
        return False
    with np.errstate(invalid="ignore"):
        values = tuple(array.reshape(-1).tolist())
    again = filled(values, TensorType(DType.of(array.dtype), array.shape))
    return bool(again.tobytes() == array.tobytes())


def _is_number(graph: Graph, node_id: int) -> bool:
    return is_literal(graph, node_id) and graph.type_of(node_id).shape == ()


def _array(graph: Graph, node_id: int) -> NDArray[Any]:
    return graph.constants[graph[node_id].attrs.data]
