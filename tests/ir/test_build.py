"""Typed construction."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import Span, TypeInferenceError
from cnncc.ir.build import add_constant, add_typed, infer_types
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.source import InputAttrs
from tests.ir.nets import named, residual


def test_types_are_inferred_as_nodes_are_added() -> None:
    graph = residual()
    assert graph.type_of(named(graph, "conv")) == f32(1, 2, 4, 4)
    assert graph.type_of(named(graph, "conv.weight")) == f32(2, 2, 3, 3)


def test_errors_carry_the_place() -> None:
    graph = residual()
    span = Span("net.cnn", 7, 2, 5)
    with pytest.raises(TypeInferenceError) as caught:
        add_typed(graph, "dense", (named(graph, "act"), named(graph, "act")), spans=(span,))
    assert caught.value.span == span
    assert "net.cnn:7:2" in str(caught.value)
    assert len(graph) == 5


def test_infer_types_of_a_whole_graph() -> None:
    graph = residual()
    wanted = {i: node.type for i, node in graph.nodes()}
    for node_id in wanted:
        graph[node_id].type = None
    before = graph.version
    infer_types(graph)
    assert {i: node.type for i, node in graph.nodes()} == wanted
    changed = graph.version
    infer_types(graph)
    assert graph.version == changed > before


def test_infer_types_names_the_place() -> None:
    graph = residual()
    graph[named(graph, "conv")].attrs = Conv2dAttrs(groups=3)
    with pytest.raises(TypeInferenceError) as caught:
        infer_types(graph)
    assert caught.value.span == Span("net.cnn", 3, 1, 9)


def test_constants_share_a_key_only_when_they_share_the_array() -> None:
    graph, a = Graph(), np.zeros(2, np.float32)
    ids = [add_constant(graph, "w", x) for x in (a, a, a.copy(), np.zeros(3, np.int64))]
    assert [graph[i].attrs.data for i in ids] == ["w", "w", "w.2", "w.3"]
    assert graph.type_of(ids[3]) == TensorType(DType.I64, (3,))
    assert graph.constant(ids[0]) is a


def test_attributes_default_to_the_operators() -> None:
    graph = Graph()
    x = add_typed(graph, "input", (), InputAttrs(DType.F32, (1, 3)))
    assert graph[add_typed(graph, "softmax", (x,))].attrs.axis == 1
