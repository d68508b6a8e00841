"""Functions: their nodes stand in for the calls, and compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, helper
from onnx.reference import ReferenceEvaluator

from cnncc.errors import OnnxError
from cnncc.onnx.limits import Limits
from cnncc.onnx.model import Foreign, Tensor
from cnncc.onnx.read import read
from tests.onnx.hostile import call, function, info, model, relu

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def node(op_type, inputs, outputs, **more):
    return helper.make_node(op_type, inputs, outputs, **more)


def reference(op_type, inputs, outputs, **references):
    """A node whose attributes are the call's."""
    made = node(op_type, inputs, outputs)
    for own, (name, kind) in references.items():
        made.attribute.add(name=own, ref_attr_name=name, type=kind)
    return made


def inlined(found):
    """A model of a `Model`'s nodes, for the reference evaluator."""
    nodes = [
        node(n.op_type, n.inputs, n.outputs, domain=n.domain, **dict(n.attributes))
        for n in found.nodes
    ]
    return model(nodes, outputs=[o.name for o in found.outputs])


def same(proto):
    """Both compute the same; gives the read model."""
    found = read(proto)
    feed = {"x": np.linspace(-2, 2, 4, dtype=np.float32).reshape(1, 4)}
    wanted = ReferenceEvaluator(proto).run(None, feed)
    got = ReferenceEvaluator(inlined(found)).run(None, feed)
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [n.index for n in found.nodes] == list(range(len(found.nodes)))
    written = [name for n in found.nodes for name in n.outputs if name]
    assert len(set(written)) == len(written)
    return found


def test_a_call_becomes_the_functions_nodes():
    body = function("f", [relu("a", "c", name="inner"), node("Neg", ["c"], ["b"])])
    found = same(model([call("f", name="outer")], functions=[body]))
    assert [n.op_type for n in found.nodes] == ["Relu", "Neg"]
    assert [n.name for n in found.nodes] == ["outer/inner", "outer"]
    assert [n.span for n in found.nodes] == ["outer", "outer"]
    assert found.nodes[0].inputs == ("x",)
    assert found.nodes[1].outputs == ("y",)


def test_calls_of_one_function_do_not_share_names():
    body = function("f", [relu("a", "c"), node("Neg", ["c"], ["b"])])
    found = same(model([call("f", "x", "c"), call("f", "c", "y")], functions=[body]))
    assert len(found.nodes) == 4


def test_fresh_names_avoid_the_graphs():
    body = function("f", [relu("a", "c"), node("Neg", ["c"], ["b"])])
    nodes = [relu("x", "c@1"), call("f", "c@1", "c@1'"), relu("c@1'", "y")]
    same(model(nodes, functions=[body]))


def test_functions_call_functions():
    inner = function("inner", [node("Exp", ["a"], ["b"])])
    outer = function("outer", [call("inner", "a", "c", name="i"), call("inner", "c", "b")])
    found = same(model([call("outer", name="o")], functions=[inner, outer]))
    assert [n.op_type for n in found.nodes] == ["Exp", "Exp"]
    assert [n.span for n in found.nodes] == ["o > o/i", "o > o"]


def test_attributes_of_the_call_their_defaults_and_what_is_left_out():
    leaky = reference("LeakyRelu", ["a"], ["c"], alpha=("slope", AttributeProto.FLOAT))
    other = reference("LeakyRelu", ["c"], ["b"], alpha=("never", AttributeProto.FLOAT))
    body = function(
        "f",
        [leaky, other],
        attributes=["never"],
        attribute_protos=[helper.make_attribute("slope", 0.25)],
    )
    nodes = [call("f", "x", "h", slope=0.5), call("f", "h", "y")]
    found = read(model(nodes, functions=[body]))
    assert [dict(n.attributes) for n in found.nodes] == [{"alpha": 0.5}, {}, {"alpha": 0.25}, {}]


def test_attributes_reach_functions_inside_functions():
    leaky = reference("LeakyRelu", ["a"], ["b"], alpha=("slope", AttributeProto.FLOAT))
    inner = function("inner", [leaky], attributes=["slope"])
    through = reference("inner", ["a"], ["b"], slope=("steep", AttributeProto.FLOAT))
    through.domain = "own"
    outer = function("outer", [through], attributes=["steep"])
    found = read(model([call("outer", steep=0.5)], functions=[inner, outer]))
    assert dict(found.nodes[0].attributes) == {"alpha": 0.5}


def test_a_parameter_that_is_handed_back_becomes_an_identity():
    body = function("f", [relu("a", "b")], outputs=["b", "a"])
    nodes = [node("f", ["x"], ["y", "z"], domain="own")]
    found = same(model(nodes, outputs=["y", "z"], functions=[body]))
    assert [n.op_type for n in found.nodes] == ["Relu", "Identity"]


def test_inputs_and_outputs_that_are_left_out():
    body = function(
        "f",
        [node("Clip", ["a", "low", "high"], ["b"]), relu("a", "c")],
        inputs=["a", "low", "high"],
        outputs=["b", "c"],
    )
    nodes = [
        node("f", ["x"], ["h", ""], domain="own"),
        node("f", ["h", "", "x"], ["", "y"], domain="own"),
    ]
    found = read(model(nodes, functions=[body]))
    assert [n.inputs for n in found.nodes[::2]] == [("x", "", ""), ("h", "", "x")]
    assert found.nodes[3].outputs == ("y",)
    assert found.nodes[1].outputs != ("",)


def test_a_result_that_no_call_asks_for_may_be_missing():
    body = function("f", [relu("a", "b")], outputs=["b", "missing"])
    nodes = [call("f", "x", "h"), node("f", ["h"], ["y", ""], domain="own")]
    found = read(model(nodes, functions=[body]))
    assert [n.outputs for n in found.nodes] == [("h",), ("y",)]


def test_nodes_have_the_opset_of_their_function():
    body = function("f", [relu("a", "b")], opsets=[helper.make_opsetid("", 13)])
    found = read(model([relu("x", "h"), call("f", "h", "y")], functions=[body]))
    assert [n.version for n in found.nodes] == [17, 13]


def test_overloads():
    first = function("f", [relu("a", "b")])
    second = function("f", [node("Neg", ["a"], ["b"])])
    second.overload = "two"
    nodes = [call("f", "x", "h"), call("f", "h", "y")]
    nodes[1].overload = "two"
    found = read(model(nodes, functions=[first, second], ir=10))
    assert [n.op_type for n in found.nodes] == ["Relu", "Neg"]


def test_a_function_may_replace_an_operator():
    body = function("Gelu", [relu("a", "b")])
    body.domain = "com.microsoft"
    made = node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert read(model([made], functions=[body])).nodes[0].op_type == "Relu"


def test_the_budget_counts_nodes_and_names():
    body = function("f", [relu("a", f"c{n}") for n in range(9)] + [relu("a", "b")])
    nodes = [call("f", "x", f"y{n}") for n in range(10)]
    proto = model(nodes, outputs=["y0"], functions=[body])
    assert len(read(proto, limits=Limits(nodes=110)).nodes) == 100
    with pytest.raises(OnnxError, match="more than 99 nodes"):
        read(proto, limits=Limits(nodes=99))


def test_the_depth_is_that_of_the_deepest_call_whatever_their_order():
    chain = [function(f"f{n}", [call(f"f{n + 1}", "a", "b")]) for n in range(20)]
    functions = [*chain, function("f20", [relu("a", "b")])]
    for ordered in (functions, functions[::-1], functions[7:] + functions[:7]):
        proto = model([call("f0")], functions=ordered)
        assert len(read(proto, limits=Limits(function_depth=21)).nodes) == 1
        with pytest.raises(OnnxError, match="more than 20 deep"):
            read(proto, limits=Limits(function_depth=20))


def test_names_stay_short_however_deep_the_calls():
    chain = [function(f"f{n}", [call(f"f{n + 1}", "a", "b", name="v" * 150)]) for n in range(30)]
    functions = [*chain, function("f30", [relu("a", "b", name="w" * 150)])]
    (found,) = read(model([call("f0", name="u" * 150)], functions=functions)).nodes
    assert len(found.name) <= 200
    assert len(found.span) <= 200


def test_attributes_of_any_kind_reach_functions():
    value = helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [2.0])
    constant = reference("Constant", [], ["c"], value=("given", AttributeProto.TENSOR))
    body = function("f", [constant, node("Mul", ["a", "c"], ["b"])], attributes=["given"])
    found = read(model([call("f", given=value)], functions=[body])).nodes[0].attributes["value"]
    assert isinstance(found, Tensor)
    graph = helper.make_graph([], "g", [], [info("y")])
    whole = function("f", [reference("If", ["a"], ["b"], then_branch=("g", AttributeProto.GRAPH))],
                     attributes=["g"])  # fmt: skip
    found = read(model([call("f", g=graph)], functions=[whole])).nodes[0].attributes
    assert found["then_branch"] == Foreign("graph")
