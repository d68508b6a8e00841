"""The readable form of a network: short, in the canonical look, and the very same network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import spec
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.ops.source import InputAttrs
from cnncc.spec.recover import with_blocks, with_chains
from cnncc.spec.write import arrays_of, named, read_back
from tests.random_graphs import random_graph
from tests.spec.judge import accepts
from tests.spec.networks import network
from tests.spec.texts import EXAMPLES

# Lines that the readable form may have; the files themselves have 9 to 45.
MOST_LINES = {
    "densenet121": 45,
    "googlenet": 50,
    "mobilenet_v1": 36,
    "mobilenet_v2": 48,
    "resnet18": 36,
    "resnet50": 46,
    "squeezenet1_1": 32,
    "unet": 36,
    "vgg16": 30,
}


def check_same(graph: Graph) -> str:
    """Both readable forms are the network, and look as the formatter wants."""
    legal = named(graph, "w.safetensors")
    texts = [form(legal) for form in (with_blocks, with_chains)]
    for text in texts:
        made = read_back(text)
        assert made is not None, text
        assert arrays_of(legal, made) is not None, text
        assert accepts(text), text
        assert spec.format_text(text) == text
    return texts[0]


@pytest.mark.parametrize("name", MOST_LINES)
def test_examples(name: str) -> None:
    """Without its blocks, loops and params an example comes back in about its own length."""
    graph = spec.load(EXAMPLES / f"{name}.cnn", want_arrays=False).graph
    text = check_same(graph)
    assert len(text.splitlines()) <= MOST_LINES[name], text
    assert "block " in text


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_networks(seed: int) -> None:
    check_same(spec.load(network(seed), want_arrays=False).graph)
    check_same(random_graph(np.random.default_rng(seed), 12))


def layer(graph: Graph, x: int, name: str, filters: int, stride: int = 1) -> int:
    channels = graph.type_of(x).shape[1]
    weight = np.zeros((filters, channels, 3, 3), np.float32)
    attrs = lookup("conv2d").Attrs((stride, stride), (1, 1, 1, 1), (1, 1), 1)
    operands = (x, add_constant(graph, f"onnx::{name}", weight))
    return add_typed(graph, "conv2d", operands, attrs, name=name)


def residual(graph: Graph, x: int, name: str, filters: int) -> int:
    first = layer(graph, x, f"{name}.conv1", filters)
    middle = add_typed(graph, "relu", (first,), name=f"{name}.relu")
    second = layer(graph, middle, f"{name}.conv2", filters)
    return add_typed(graph, "add", (second, x), name=name)


def start(shape: tuple[int, ...], dtype: DType = DType.F32) -> tuple[Graph, int]:
    graph = Graph("net")
    attrs = InputAttrs(dtype, shape, "chw")
    return graph, add_typed(graph, "input", (), attrs, name="x")


def test_blocks_keep_the_names_of_layers() -> None:
    graph, x = start((1, 8, 6, 6))
    for stage, filters in enumerate([8, 16, 32]):
        x = layer(graph, x, f"down{stage}", filters, stride=2)
        x = residual(graph, residual(graph, x, f"a{stage}.0", filters), f"a{stage}.1", filters)
    graph.outputs = [("out:0", x)]
    assert (
        check_same(graph)
        == """\
cnncc 1
model net
weights "w.safetensors"
input x: 6x6x8 { layout = chw }

block residual(filters) {
  conv(3x3, filters=filters, pad=1, bias=false) as conv1 -> relu
  x = conv(3x3, filters=filters, pad=1, bias=false) as conv2
  add(x, in)
}

conv(3x3, filters=8, stride=2, pad=1, bias=false) as down0 : 3x3x8
residual(8) as a0.0 -> residual(8) as a0.1
conv(3x3, filters=16, stride=2, pad=1, bias=false) as down1 : 2x2x16
residual(16) as a1.0 -> residual(16) as a1.1
conv(3x3, filters=32, stride=2, pad=1, bias=false) as down2
residual(32) as a2.0 -> residual(32) as a2.1
output out_0 { name = "out:0" }
"""
    )


def test_calls_that_count_up_become_loops() -> None:
    graph, x = start((1, 8, 6, 6))
    for number in range(3):
        x = residual(graph, x, f"same.{number}", 8)
    for number, filters in enumerate([8, 16, 24, 32, 40, 48], 1):
        x = layer(graph, layer(graph, x, f"grow{number}.a", filters), f"grow{number}.b", 8)
        x = add_typed(graph, "sigmoid", (x,), name=f"grow{number}.act")
    graph.outputs = [("y", x)]
    text = check_same(graph)
    assert "\nfor i in range(3) { residual as same.{i} }\n" in text
    assert "for i, filters in [[1, 8], [2, 16], [3, 24], [4, 32], [5, 40], [6, 48]] {" in text
    assert "(filters) as grow{i}" in text


def test_a_loop_leaves_the_last_result_for_what_follows() -> None:
    graph, x = start((1, 8, 6, 6))
    for number in range(5):
        x = residual(graph, x, f"same.{number}", 8)
    y = layer(graph, x, "next", 8)
    graph.outputs = [("y", add_typed(graph, "add", (y, x), name="sum"))]
    text = check_same(graph)
    assert "for i in range(4) { residual as same.{i} }\n" in text
    assert "= residual as same.4\n" in text


def test_general_operators_numbers_and_shared_constants() -> None:
    graph, x = start((1, 4, 6))
    graph.meta["batched"] = False
    table = add_constant(graph, "table", np.arange(24, dtype=np.float32).reshape(1, 4, 6))
    shape = lookup("reshape").Attrs((4, 6))
    half = add_constant(graph, "half", np.float32(0.5).reshape(()))
    scaled = add_typed(graph, "mul", (x, half), name="scaled")
    first = add_typed(graph, "add", (scaled, table), name="first")
    second = add_typed(graph, "mul", (first, table), name="second")
    out = add_typed(graph, "reshape", (second,), shape, name="out")
    graph.outputs = [("out", out)]
    assert (
        check_same(graph)
        == """\
cnncc 1
model net
weights "w.safetensors"
input x: f32[1, 4, 6]

c1 = constant(f32[1, 4, 6]) as table
mul1 = op.mul(x, 0.5)
add1 = add(mul1, c1)
mul(add1, c1)
reshape(shape=[4, 6])
output out
"""
    )


def test_names_that_the_language_has_taken() -> None:
    graph, x = start((1, 4))
    graph[x].name = "input"
    y = add_typed(graph, "relu", (x,), name="/net/Relu:0")
    graph.outputs = [("output", y), ("conv", y), ("in/valid", x)]
    text = check_same(graph)
    assert 'input x: [4] { layout = chw, name = "input" }' in text
    assert 'output y = relu1 { name = "output" }' in text
    assert 'output in_valid = x { name = "in/valid" }' in text


def test_shared_weights() -> None:
    graph, x = start((1, 4, 6, 6))
    weight = add_constant(graph, "w", np.zeros((4, 4, 1, 1), np.float32))
    attrs = lookup("conv2d").Attrs((1, 1), (0, 0, 0, 0), (1, 1), 1)
    y = add_typed(graph, "conv2d", (x, weight), attrs, name="first")
    y = add_typed(graph, "conv2d", (y, weight), attrs, name="second")
    graph.outputs = [("y", y)]
    assert 'conv(1x1, filters=4, bias=false, from="first") as second' in check_same(graph)


def test_every_operator_of_a_file_may_be_renamed(tmp_path: Path) -> None:
    """What one exporter calls every layer says nothing, and goes."""
    graph, x = start((1, 4, 6, 6))
    for name in ("a", "b", "c"):
        x = layer(graph, x, f"Main.model.{name}", 4)
    graph.outputs = [("y", x)]
    written = spec.written(graph, "w.safetensors")
    assert sorted(written.arrays) == ["a.weight", "b.weight", "c.weight"]
    (tmp_path / "w.safetensors").write_bytes(spec.weights_bytes(written.arrays))
    (tmp_path / "m.cnn").write_text(written.text)
    assert spec.check(tmp_path / "m.cnn") == ()
