"""Operators that only ONNX's own definition knows."""

import numpy as np
import pytest

from cnncc.ir import interp
from cnncc.ir.types import DType, f32
from cnncc.onnx.convert import to_graph
from cnncc.onnx.functions import body_of
from cnncc.onnx.model import Node
from cnncc.onnx.read import read
from cnncc.onnx.table import lookup
from tests.onnx.building import model, node
from tests.onnx.one_node import run


def made(op, **attributes):
    return Node(3, "there", op, "", 23, ("x",), ("y",), attributes)


def test_what_has_no_definition():
    assert body_of(made("Conv"), [f32(1, 2, 3, 3)]) is None
    assert body_of(made("NoSuchOperator"), [f32(1)]) is None


@pytest.mark.parametrize("op", ["MeanVarianceNormalization", "Celu"])
def test_bodies_read_and_write_what_the_node_does(op):
    """Whether or not there is a rule by now."""
    assert lookup("", op) is not None
    body = body_of(made(op), [f32(1, 2, 3, 3)])
    assert body is not None
    assert any("x" in n.inputs for n in body)
    assert body[-1].outputs == ("y",)
    written = [name for n in body for name in n.outputs]
    assert len(set(written)) == len(written)
    assert all(n.index == 3 and n.name == "there" for n in body)


def test_two_uses_do_not_meet():
    """Values inside one expansion are not those of another, and numbers are onnxruntime's."""
    nodes = [
        node("RMSNormalization", "x s", "a", axis=-1),
        node("RMSNormalization", "a s", "y", axis=-1),
    ]
    scale = np.array([0.5, 2.0, -1.0, 1.5], np.float32)
    proto = model(nodes, {"x": [2, 3, 4]}, ["y"], {"s": scale}, opset=23)
    graph = to_graph(read(proto))
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    (got,) = interp.run(graph, {0: x})

    def definition(v):
        return v / np.sqrt((v * v).mean(axis=-1, keepdims=True) + 1e-5) * scale

    np.testing.assert_allclose(got, definition(definition(x.astype(np.float64))), rtol=1e-6)
    assert graph.type_of(graph.outputs[0][1]).dtype is DType.F32


def test_what_nobody_asks_for_is_not_computed():
    """Attention's definition lists outputs that it leaves out for this node."""
    q = np.random.default_rng(1).standard_normal((1, 2, 3, 4)).astype(np.float32)
    (found,) = run("Attention", [q, q, q], opset=23)
    logits = q @ q.transpose(0, 1, 3, 2) / 2
    powers = np.exp(logits)
    np.testing.assert_allclose(found, powers / powers.sum(-1, keepdims=True) @ q, 1e-5, 1e-5)


def test_attributes_that_are_left_out_have_their_defaults():
    """A window is periodic by default; its size is asked for as a constant."""
    (found,) = run("HannWindow", [np.array(8)], opset=17)
    np.testing.assert_allclose(found, np.hanning(9)[:8], 1e-5, 1e-6)
    (found,) = run("HannWindow", [np.array(8)], opset=17, periodic=0)
    np.testing.assert_allclose(found, np.hanning(8), 1e-5, 1e-6)


def test_definitions_of_other_domains_import_none_of_onnx():
    q = np.ones((1, 2, 3, 4), np.float32)
    (found,) = run("FlexAttention", [q, q, q], opset=26, domain="ai.onnx.preview")
    np.testing.assert_allclose(found, q)
