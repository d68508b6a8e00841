"""Small networks that several tests of the graph level share."""

from __future__ import annotations

import numpy as np

from cnncc import ops
from cnncc.errors import Span
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.source import InputAttrs

assert ops.OPERATORS  # importing the room registers the operators


def residual() -> Graph:
    """relu(conv(x) + x), with every node named and placed."""
    graph = Graph("residual")
    span = (Span("net.cnn", 3, 1, 9),)
    attrs = InputAttrs(DType.F32, (1, 2, 4, 4))
    x = add_typed(graph, "input", (), attrs, name="x", spans=span)
    weights = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3) - 18
    w = add_constant(graph, "conv.weight", weights, name="conv.weight")
    pads = Conv2dAttrs(pads=(1, 1, 1, 1))
    c = add_typed(graph, "conv2d", (x, w), pads, name="conv", spans=span)
    s = add_typed(graph, "add", (c, x), name="sum", spans=span)
    r = add_typed(graph, "relu", (s,), name="act", spans=span)
    graph.outputs = [("y", r)]
    return graph


def named(graph: Graph, name: str) -> int:
    """The id of the node of that name."""
    return next(i for i, node in graph.nodes() if node.name == name)
