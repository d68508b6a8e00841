from __future__ import annotations

import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import f32
from cnncc.passes import InferTypes
from tests.passes.nets import Net, node


def test_a_type_that_was_written_down_wrong_is_an_error_with_place_and_repair() -> None:
    net = Net()
    graph = net.outputs(net.add("relu", net.input(1, 3, 4, 4)))
    node(graph, "relu1").type = f32(1, 3, 4, 5)
    message = r"relu1 is declared as f32\[1,3,4,5\], but `relu` gives f32\[1,3,4,4\]"
    with pytest.raises(TypeInferenceError, match=message) as caught:
        InferTypes().run(graph)
    assert caught.value.span == node(graph, "relu1").spans[0]
    assert caught.value.hint == "write f32[1,3,4,4], or leave the type out"


def test_operands_that_do_not_fit_name_the_node_and_its_place() -> None:
    net = Net()
    graph = net.outputs(net.conv(net.input(1, 3, 4, 4), 2, 3))
    conv = graph.outputs[0][1]
    graph.set_operand(conv, 1, net.param(2, 5, 3, 3))
    with pytest.raises(
        TypeInferenceError, match=r"conv2d1: `conv2d` wants filters over 3"
    ) as caught:
        InferTypes().run(graph)
    assert caught.value.span == graph[conv].spans[0]
