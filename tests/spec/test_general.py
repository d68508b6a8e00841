"""General operators in a file: what they mean, and what is said of mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc import spec
from cnncc.errors import SpecError
from cnncc.ir.types import DType, TensorType, f32

HEAD = "cnncc 1\nweights random\ninput x: f32[2, 3, 4]\n"


def load(body: str, **given: object) -> spec.Graph:
    return spec.load(HEAD + body, **given).graph


def last(graph: spec.Graph) -> TensorType:
    return graph.type_of(graph.outputs[0][1])


def test_operands_come_piped_in_brackets_or_from_the_line_above() -> None:
    texts = (
        "transpose(x, perm=[2, 0, 1])\noutput y\n",
        "x -> transpose(perm=[2, 0, 1])\noutput y\n",
        "transpose(perm=[2, 0, 1])\noutput y\n",
        "let order = [2, 0, 1]\nop.transpose(perm=order)\noutput y\n",
    )
    graphs = [load(text) for text in texts]
    assert {last(graph) for graph in graphs} == {f32(4, 2, 3)}
    assert {graph[graph.outputs[0][1]].attrs.perm for graph in graphs} == {(2, 0, 1)}


def test_operations_of_the_language_take_any_tensor_where_their_operator_does() -> None:
    assert last(load("relu -> sigmoid\nadd(x, x) -> clip(low=0, high=6)\noutput y\n")) == f32(
        2, 3, 4
    )
    with pytest.raises(SpecError, match="needs a feature map but receives f32"):
        load("conv(3x3, filters=2)\noutput y\n")
    with pytest.raises(SpecError, match="it is no feature map"):
        load("let c = channels(x)\nrelu\noutput y\n")


def test_an_op_before_the_dot_is_the_operator_of_an_operation() -> None:
    graph = load("op.softmax(axis=2) -> op.concat(x, axis=0)\noutput y\n")
    assert last(graph) == f32(4, 3, 4)


def test_blocks_and_values_may_be_called_like_operators() -> None:
    text = (
        "block gather(axes) { transpose(perm=axes) }\n"
        "floor = x -> gather([1, 0, 2])\nfloor -> floor\noutput y\n"
    )
    with pytest.raises(SpecError, match="`floor` is a tensor"):
        load(text)
    assert last(load(text.replace("-> floor\n", "-> gelu\n"))) == f32(3, 2, 4)


def test_constants_come_from_the_weights_or_stand_in_the_text() -> None:
    body = (
        "a = constant(f32[2, 3, 4]) as table\n"
        "b = constant(f32[2, 3, 4], value=0.1)\n"
        "c = constant(i64[2], value=[-9223372036854775808, 9223372036854775807]) as ends\n"
        "add(x, a) -> add(b) -> relu\noutput y\n"
    )
    table = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    graph = load(body, weights={"table": table})
    assert graph.constants["table"].dtype == np.float32
    assert np.array_equal(graph.constants["table"], table)
    assert graph.constants["ends"].tolist() == [-(2**63), 2**63 - 1]
    assert (graph.constants["constant2"] == np.float32(0.1)).all()
    assert graph.meta["literals"] == ["constant2", "ends"]
    with pytest.raises(SpecError, match=r"tensor `table` is 2x3, the layer needs 2x3x4"):
        load(body, weights={"table": np.zeros((2, 3), np.float32)})


def test_whole_numbers_of_a_weight_file_keep_their_type() -> None:
    body = "constant(i64[3]) as index\noutput y\n"
    graph = load(body, weights={"index": np.array([1, 2, 2**60])})
    assert graph.constants["index"].tolist() == [1, 2, 2**60]
    with pytest.raises(SpecError, match="has elements of type F32, the constant is i64"):
        load(body, weights={"index": np.zeros(3, np.float32)})
    assert load(body).constants["index"].tolist() == [0, 0, 0]


def test_numbers_among_operands_have_the_type_of_the_tensor() -> None:
    graph = load("op.add(x, constant(f32[2, 3, 4])) -> op.mul(0.5)\noutput y\n")
    operands = graph.operands(graph.outputs[0][1])
    assert graph.type_of(operands[1]) == TensorType(DType.F32, ())
    assert graph.constants[graph[operands[1]].attrs.data] == np.float32(0.5)


def test_a_number_of_samples_is_free_where_the_file_says_so() -> None:
    def batched(head: str, body: str = "relu\noutput y\n") -> object:
        return spec.load("cnncc 1\n" + head + body).graph.meta.get("batched")

    assert batched("input x: 4x4x1\n") is None
    assert batched("input x: f32[1, 3]\n") is False
    assert batched("input x: f32[1, 3] { batch = free }\n") is True
    assert batched("input x: f32[2, 3] { batch = free }\n") is False
    assert batched("input x: 4x4x1\n", "reshape(shape=[16])\noutput y\n") is False


def test_public_names() -> None:
    graph = spec.load(
        'cnncc 1\ninput x: 2x2x1 { name = "input:0", dtype = u8 }\nrelu\n'
        'output y { name = "out/1", labels = ["a"] }\n'
    ).graph
    assert [graph[i].name for i in graph.inputs] == ["input:0"]
    assert [name for name, _ in graph.outputs] == ["out/1"]
    assert graph.meta["labels"] == {"out/1": ["a"]}


MISTAKES = {
    "transpose": "`transpose` needs `perm=`",
    "transpose(perm=[0, 1])": "`transpose` wants",
    "transpose(perm=0.5)": "`perm` must be a list of whole numbers, got 0.5",
    "transpose(perm=[0, 1, 2], prem=1)": "`transpose` has no argument `prem`",
    "transpose(perm=[0, 1, 2], perm=1)": "`perm` is given twice",
    "transpose(perm=[0, 1, -relu])": "`-` needs a number, got the text",
    "transpose(x, x, perm=[0, 1, 2])": r"`transpose` takes 1 operands \(x\), got 2",
    "op.nothing(x)": "no operation called `op.nothing`",
    "transposed(x)": "did you mean `transpose`",
    "op.add(1, 2)": "of numbers only: their element type is unknown",
    'op.add(x, "a")': "an operand is a tensor or a number, got the text",
    "op.add(x, [1, 2])": "an operand is a tensor or a number, got the list",
    "op.add(x, true)": "operand 1 must be a number, got true",
    "constant()": "`constant` needs a type",
    "constant(3)": "`constant` needs a type",
    "x -> constant(f32[2])": "`constant` takes nothing in",
    "constant(f32[2], value=[1, 2, 3])": "`value` has 3 numbers, the constant 2",
    "constant(u8[2], value=256)": "256 is no u8",
    "constant(u8[2], value=0.5)": "`value` must be a whole number, got 0.5",
    "constant(bool[2], value=1)": "`value` must be true or false, got 1",
    "constant(f32[2], values=1)": "`constant` has no argument `values`",
    "constant(f33[2])": "`f33` is no element type",
    "constant(f32[0])": "`an axis` must be at least 1",
    "constant(f32[65536, 65536])": "a tensor has fewer than",
    "constant(f32[1, 1, 1, 1, 1, 1, 1, 1, 1])": "a type has at most 8 axes",
    "constant(f32[2048, 2049], value=0)": "have more than 4,194,304 numbers",
    "relu : f32[2, 3, 5]": r"annotation says f32\[2, 3, 5\]",
    "relu : [2, 3, 4]": r"shape is f32\[2, 3, 4\], annotation says 2x3x4",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(line: str) -> None:
    with pytest.raises(SpecError, match=MISTAKES[line]):
        load(f"{line}\noutput y\n")


def test_names_in_blocks_that_nothing_calls() -> None:
    text = "block b(n) { reduce(kind=mean, axes=n, keepdims=true) -> nothing }\nrelu\noutput y\n"
    with pytest.raises(SpecError, match="no operation called `nothing`") as caught:
        load(text)
    assert "mean" not in [d.message for d in caught.value.diagnostics]
