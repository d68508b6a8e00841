"""The walk over a model: names, folding, refusals, and what a call may ask."""

import re

import numpy as np
import pytest

from cnncc.errors import InputError, UnsupportedError
from cnncc.ir import interp
from cnncc.ir.types import DType
from cnncc.onnx import table
from cnncc.onnx.convert import to_graph
from cnncc.onnx.read import read
from cnncc.onnx.refusals import NeedsConstant
from tests.onnx.building import info, model, node

I64 = np.int64


def graph_of(proto, **options):
    return to_graph(read(proto), **options)


def ops(graph):
    return [n.op for _, n in graph.nodes() if n.op != "constant"]


def test_names_and_tensors():
    w = np.ones((2, 3, 1, 1), np.float32)
    nodes = [
        node("Conv", "x w", "/a/a.0/Conv_output_0", "/a/a.0/Conv"),
        node("Relu", "/a/a.0/Conv_output_0", "y", "/a/a.1/Relu"),
    ]
    graph = graph_of(model(nodes, {"x": [1, 3, 4, 4]}, ["y"], {"w": w}))
    assert [n.name for _, n in graph.nodes() if n.op != "constant"] == ["x", "a.0", "a.1"]
    assert graph.meta["tensors"] == {"x": "x", "a.0": "/a/a.0/Conv_output_0", "a.1": "y"}
    assert graph.outputs == [("y", graph.order()[-1])]


def test_shape_arithmetic_leaves_no_trace():
    """What PyTorch writes for x.view(x.size(0), 2, c // 2, h, w).transpose(1, 2)."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Gather", "s one", "c", axis=0),
        node("Div", "c two", "half"),
        node("Unsqueeze", "n axes", "n1"),
        node("Unsqueeze", "half axes", "h1"),
        node("Concat", "n1 pair h1 rest", "shape", axis=0),
        node("Reshape", "x shape", "split"),
        node("Transpose", "split", "turned", perm=[0, 2, 1, 3, 4]),
        node("Cast", "turned", "same", to=1),
        node("Reshape", "same back", "y"),
    ]
    constants = {
        "zero": np.array(0, I64),
        "one": np.array(1, I64),
        "two": np.array(2, I64),
        "axes": np.array([0], I64),
        "pair": np.array([2], I64),
        "rest": np.array([4, 4], I64),
        "back": np.array([0, -1, 4, 4], I64),
    }
    graph = graph_of(model(nodes, {"x": ["N", 6, 4, 4]}, ["y"], constants))
    assert ops(graph) == ["input", "reshape", "transpose", "reshape"]
    assert not graph.constants


def test_all_refused_nodes_are_listed_with_reason_and_nearest_form():
    nodes = [
        node("Conv", "x w", "a", "first", dilations=[1, 1, 1], pads=[0] * 6),
        node("NonZero", "x", "b", "second"),
        node("Frobnicate", "x", "c", "third"),
        node("Relu", "a", "d", "silent"),
    ]
    w = np.ones((1, 1, 1, 1, 1), np.float32)
    proto = model(nodes, {"x": [1, 1, 3, 3, 3, 3]}, ["b", "c", "d"], {"w": w})
    with pytest.raises(UnsupportedError) as caught:
        graph_of(proto)
    message = str(caught.value)
    assert "3 nodes cannot be compiled" in message
    assert "first (Conv, opset 17): " in message
    assert "second (NonZero, opset 17): shapes that depend on values are not supported" in message
    assert "third (Frobnicate, opset 17): no operator of this name is supported" in message
    assert "silent" not in message


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("SequenceEmpty", "sequences"),
        ("StringNormalizer", "strings"),
        ("RandomNormal", "random numbers"),
        ("NonZero", "shapes that depend on values"),
    ],
)
def test_kinds_are_refused_by_name(op, words):
    with pytest.raises(UnsupportedError, match=words):
        graph_of(model([node(op, "x", "y")], {"x": [2]}, ["y"]))


def test_attributes_that_nobody_knows_are_refused():
    proto = model([node("Relu", "x", "y", slope=0.5)], {"x": [1, 2]}, ["y"])
    with pytest.raises(UnsupportedError, match="opset 17 does not define: `slope`"):
        graph_of(proto)


def test_operands_that_must_be_constant_name_the_inputs():
    nodes = [node("Add", "s:i64 t:i64", "shape"), node("Reshape", "x shape", "y")]
    proto = model(nodes, {"x": [2, 3], "s:i64": [2], "t:i64": [2]}, ["y"])
    with pytest.raises(NeedsConstant) as caught:
        graph_of(proto)
    assert caught.value.inputs == ("s:i64", "t:i64")
    assert "`shape` is computed from the model's inputs" in str(caught.value)
    bound = {"s:i64": np.array([1, 2], I64), "t:i64": np.array([2, 0], I64)}
    graph = graph_of(proto, constants=bound)
    assert [graph[i].name for i in graph.inputs] == ["x"]
    assert graph.type_of(graph.outputs[0][1]).shape == (3, 2)
    with pytest.raises(InputError, match="no input `z`"):
        graph_of(proto, constants={"z": np.zeros(1)})


def test_half_numbers_are_held_as_f32():
    proto = model([node("Mul", "x w", "y")], {}, ["y"], {"w": np.array([0.1], np.float16)})
    proto.graph.input.append(info("x", [1, 3], 10))
    proto.graph.output[0].CopyFrom(info("y", [1, 3], 10))
    graph = graph_of(proto)
    assert ops(graph) == ["input", "cast", "mul", "cast"]
    assert [graph.type_of(i).dtype for i in (graph.inputs[0], graph.outputs[0][1])] == [
        DType.F16
    ] * 2


def test_a_second_output_may_be_left_alone():
    nodes = [node("Split", "x", "a b", axis=1), node("Dropout", "a", "y mask")]
    graph = graph_of(model(nodes, {"x": [1, 4]}, ["y"], opset=12))
    assert ops(graph) == ["input", "slice"]


def test_selections_say_how_many_rows_are_filled():
    most = np.array([3], I64)
    nms = node("NonMaxSuppression", "boxes scores most", "y")
    inputs = {"boxes": [1, 6, 4], "scores": [1, 2, 6]}
    graph = graph_of(model([nms], inputs, ["y"], {"most": most}))
    assert [name for name, _ in graph.outputs] == ["y", "y.count"]
    assert graph.meta["rows"] == {"y": "y.count"}
    behind = [nms, node("Cast", "y", "z", to=1)]
    with pytest.raises(UnsupportedError, match="number of rows is known at run time only"):
        graph_of(model(behind, inputs, ["z"], {"most": most}))


def test_numbers_of_8_bits_that_were_f32_are_read_as_f32():
    """Steps of a scale become u8 for the caller alone: inside they stay the whole f32 they were."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("Reshape", "q shape", "r"),
        node("DequantizeLinear", "r s z", "y"),
    ]
    constants = {
        "s": np.array(0.5, np.float32),
        "z": np.array(3, np.uint8),
        "shape": np.array([1, 4], I64),
    }
    graph = graph_of(model(nodes, {"x": [1, 2, 2]}, ["y"], constants))
    assert "cast" not in ops(graph)
    (got,) = interp.run(graph, {0: np.array([[[0.3, 200.0], [-9.0, 0.75]]])})
    assert got.tolist() == [[0.5, 126.0, -1.5, 1.0]]


def test_rules_say_what_they_are():
    rows = table.rows()
    assert len({(r.domain, r.op_type) for r in rows}) == len(rows) > 150
    for row in rows:
        assert row.summary, row.op_type
        assert row.convert.__doc__, row.op_type
        assert not row.summary.endswith("."), row.op_type


def test_errors_name_the_file_and_the_shapes_that_were_given(tmp_path):
    path = tmp_path / "m.onnx"
    w = np.ones((4, 5), np.float32)
    proto = model([node("MatMul", "x w", "y", "fc")], {"x": ["N", "K"]}, ["y"], {"w": w})
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedError) as caught:
        to_graph(read(path), shapes={"x": (1, 3)})
    assert caught.value.message.startswith(f"{path}: 1 node cannot be compiled for x=1x3:\n  fc ")
    assert caught.value.hint == "`cnncc ops --onnx MatMul` tells which forms are supported"
    with pytest.raises(InputError, match=re.escape(f"{path}: the model leaves dimensions open")):
        to_graph(read(path))


def test_a_missing_attribute_is_called_missing():
    with pytest.raises(UnsupportedError, match="attribute `axis` is missing"):
        graph_of(model([node("Concat", "x x", "y")], {"x": [1, 2]}, ["y"]))
