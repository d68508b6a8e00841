"""Graph texts: the round-trip laws at each level, files, and damaged texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.errors import ArtifactError, Frame, Span
from cnncc.ir.build import add_typed
from cnncc.ir.decisions import Decision, decisions, record
from cnncc.ir.graph import Graph
from cnncc.ir.interp import run
from cnncc.ir.op import NoAttrs
from cnncc.ir.text import dump, load, parse_graph, print_graph
from cnncc.ir.verify import verify
from cnncc.ops.fused import FusedAttrs, Step
from tests.ir.nets import named, residual
from tests.ir.test_values import PLAIN
from tests.strategies import random_feed, random_graph

GOLDEN = """\
graph "residual"
meta {labels=list["a", "b"]}
data "conv.weight" : f32[2,2,3,3] sha256 "3c5eb178e0933ddc"
inputs %x
outputs "y"=%act
%x = input() {dtype=f32, shape=[1, 2, 4, 4], memory="hwc", format=""} : f32[1,2,4,4]
%conv.weight = constant() {data="conv.weight"} : f32[2,2,3,3]
%conv = conv2d(%x, %conv.weight) {strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1], groups=1} \
: f32[1,2,4,4] @kernel("direct") @tile({rows=14})
%sum = add(%conv, %x) : f32[1,2,4,4]
%act = relu(%sum) : f32[1,2,4,4]
"""


def snapshot(graph: Graph) -> list[Any]:
    """Everything of a graph, with ids replaced by positions."""
    place = {node_id: k for k, node_id in enumerate(graph.order())}
    nodes = [
        (n.op, n.attrs, n.type, n.name, n.spans, n.notes, [place[o] for o in graph.operands(i)])
        for i, n in graph.nodes()
    ]
    ends = [(name, place[out]) for name, out in graph.outputs]
    arrays = sorted((key, a.tobytes(), str(a.dtype)) for key, a in graph.constants.items())
    return [graph.name, graph.meta, [place[i] for i in graph.inputs], ends, arrays, nodes]


def assert_laws(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text, graph.constants)
    assert snapshot(again) == snapshot(graph)
    assert print_graph(again) == text


def planned() -> Graph:
    graph = residual()
    graph.meta["labels"] = ["a", "b"]
    graph[named(graph, "conv")].notes.update({"tile": {"rows": 14}, "kernel": "direct"})
    return graph


def test_golden() -> None:
    graph = planned()
    assert print_graph(graph, spans=False) == GOLDEN
    assert_laws(graph)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_laws_on_random_graphs(seed: int, n_ops: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, n_ops)
    for node_id in list(graph.order())[::3]:
        graph[node_id].name = ""
    assert_laws(graph)
    again = parse_graph(print_graph(graph), graph.constants)
    verify(again, "typed")
    for key, i in enumerate(graph.inputs):
        graph[i].name = again[again.inputs[key]].name = f"in{key}"
    feed = random_feed(rng, graph)
    for a, b in zip(run(graph, feed), run(again, feed), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=6), PLAIN, max_size=3), st.text(min_size=1, max_size=12))
def test_laws_with_any_notes_meta_and_names(notes: dict[str, Any], name: str) -> None:
    graph = residual()
    graph.name = name
    graph.meta = dict(notes)
    graph.outputs = [(name, graph.outputs[0][1])]
    conv = graph[named(graph, "conv")]
    conv.notes, conv.name = dict(notes), f"{name}!"
    text = print_graph(graph)
    assert len(text.splitlines()) == 9 + bool(notes)
    assert_laws(graph)


def test_a_name_may_look_like_a_number_of_a_line() -> None:
    graph = residual()
    graph[named(graph, "conv")].name = ""
    graph[named(graph, "sum")].name = "#2"
    assert_laws(graph)


def test_places_survive() -> None:
    graph = residual()
    calls = (Frame("basic(64) as layer1", "net.cnn", 9, 3),)
    conv = graph[named(graph, "conv")]
    conv.spans = (*conv.spans, Span("dir with: colon/b.cnn", 4, 2, 7, calls))
    assert_laws(graph)
    assert " at " not in print_graph(graph, spans=False)


def test_fused_nodes_and_decisions_survive() -> None:
    graph = residual()
    attrs = FusedAttrs(
        (
            Step("conv2d", graph[named(graph, "conv")].attrs, (0, 1)),
            Step("relu", NoAttrs(), (~0,)),
        )
    )
    x, w = named(graph, "x"), named(graph, "conv.weight")
    graph.outputs = [("y", add_typed(graph, "fused", (x, w), attrs))]
    record(graph, Decision("conv", "fused", "one user", (("apart", "moves more"),), {"bytes": 4}))
    assert_laws(graph)
    again = parse_graph(print_graph(graph), graph.constants)
    assert again[again.outputs[0][1]].attrs == attrs
    assert decisions(again) == decisions(graph)
    assert "meta" not in print_graph(graph, meta=False)


def test_two_inputs_keep_their_declared_order() -> None:
    graph = random_graph(np.random.default_rng(3), 3)
    add_typed(graph, "input", (), graph[graph.inputs[0]].attrs, name="late")
    graph.inputs.reverse()
    assert_laws(graph)


def test_hand_written_text_may_say_less() -> None:
    text = """
    graph "tiny"
    inputs %x
    outputs "y"=%y
    %x = input() {dtype=f32, shape=[1, 3]}

    %y = softmax(%x)
    """
    graph = parse_graph(text, {})
    assert graph[1].attrs.axis == 1
    assert graph[1].type is None
    verify(graph, "parsed")


def test_files(tmp_path: Path) -> None:
    graph = planned()
    dump(graph, tmp_path / "11-plan.graph")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["11-plan.graph", "11-plan.npz"]
    assert snapshot(load(tmp_path / "11-plan.graph")) == snapshot(graph)


@pytest.mark.parametrize("damage", ["no text", "no arrays", "cut", "other", "not utf-8"])
def test_damaged_files(tmp_path: Path, damage: str) -> None:
    path, arrays = tmp_path / "a.graph", tmp_path / "a.npz"
    dump(planned(), path)
    if damage == "no text":
        path.unlink()
    elif damage == "no arrays":
        arrays.unlink()
    elif damage == "cut":
        arrays.write_bytes(arrays.read_bytes()[:100])
    elif damage == "not utf-8":
        path.write_bytes(b"\xff\xfe")
    else:
        graph = residual()
        graph.constants["conv.weight"] = np.ones((2, 2, 3, 3), np.float32)
        dump(graph, tmp_path / "b.graph")
        arrays.write_bytes((tmp_path / "b.npz").read_bytes())
    with pytest.raises(ArtifactError):
        load(path)


DAMAGED = [
    ("%conv = conv2d", "%conv = convolve", "no operator is called `convolve`"),
    ("%conv, %x)", "%conv, %z)", "no node is called %z"),
    ("%sum = add", "%conv = add", "two nodes are called %conv"),
    ("strides=[1, 1]", "steps=[1, 1]", "attributes of `conv2d`"),
    ("f32[2,2,3,3] sha256", "f32[2,2,3,4] sha256", "not f32[2,2,3,4]"),
    ('"y"=%act', '"y"=%gone', "no node is called %gone"),
    ('data "conv.weight"', 'data "other"', "there is no array `other`"),
    ("relu(%sum) :", "relu(%sum) : x32", "`x32` is no element type"),
    ("meta {", "meta [1] {", "expected {key=value, ...}"),
    ('@kernel("direct")', "@kernel(direct)", "`direct` is no value"),
    ("relu(%sum)", "relu(%sum", "expected ,"),
    ("%act = relu", "act = relu", "expected ref"),
]


@pytest.mark.parametrize(("old", "new", "message"), DAMAGED)
def test_damaged_texts_name_the_line(old: str, new: str, message: str) -> None:
    graph = planned()
    text = print_graph(graph)
    assert old in text
    with pytest.raises(ArtifactError) as caught:
        parse_graph(text.replace(old, new, 1), graph.constants, file="a.graph")
    assert message in caught.value.message
    assert caught.value.message.startswith("a.graph:")


def test_dumps_keep_ids_for_notes_that_name_nodes(tmp_path: Path) -> None:
    graph = planned()
    spare = graph.add("input", (), graph[graph.inputs[0]].attrs)
    graph.erase(spare)
    conv, last = named(graph, "conv"), graph.outputs[0][1]
    graph.replace_uses(conv, conv)
    graph[last].notes["alias"] = (conv, 3)
    dump(graph, tmp_path / "a.graph")
    again = load(tmp_path / "a.graph")
    assert again.order() == graph.order()
    assert again.next_id == graph.next_id
    assert again[last].notes == graph[last].notes
