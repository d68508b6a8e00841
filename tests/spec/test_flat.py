"""Flat text elaborates back to the graph it was printed from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import spec
from cnncc.errors import UnsupportedError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.spec.builtins import BUILTINS
from tests.spec.graphs import facts
from tests.spec.judge import accepts
from tests.spec.networks import network
from tests.spec.texts import EXAMPLES

FILES = [p for p in sorted(EXAMPLES.rglob("*.cnn")) if p.parent.name != "blocks"]


def check_round_trip(graph: spec.Graph, file: str) -> str:
    flat = spec.print_flat(graph)
    again = spec.load(flat, file=file, want_arrays=False).graph
    assert facts(again) == facts(graph)
    assert spec.print_flat(again) == flat
    return flat


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_examples(path: Path) -> None:
    graph = spec.load(path, want_arrays=False).graph
    assert accepts(check_round_trip(graph, str(path)))


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_networks(seed: int) -> None:
    graph = spec.load(network(seed), want_arrays=False).graph
    check_round_trip(graph, "<text>")


def test_random_networks_use_every_operation() -> None:
    text = "\n".join(network(seed) for seed in range(400))
    assert not [name for name in BUILTINS if name not in text and name not in ("dense", "relu")]


def test_shared_weights_and_params() -> None:
    text = (
        "cnncc 1\nparam knob = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\nweights random\n"
        "input v1: [4]\ninput b: [4]\n"
        'x = v1 -> dense(3) as tower\ny = b -> dense(3, from="tower") as other\n'
        "output z = add(x, y)\n"
    )
    graph = spec.load(text, want_arrays=False).graph
    assert set(graph.constants) == {"tower.weight", "tower.bias"}
    flat = check_round_trip(graph, "<text>")
    assert 'from="tower"' in flat


def test_graphs_that_have_no_text() -> None:
    graph = spec.load(network(0), want_arrays=False).graph
    node = graph.outputs[0][1]
    attrs = lookup("relayout").Attrs()
    moved = graph.add("relayout", (node,), attrs, type=graph.type_of(node), name="moved")
    graph.outputs.append(("extra", moved))
    with pytest.raises(UnsupportedError, match="relayout"):
        spec.print_flat(graph)


def test_inputs_without_normalisation() -> None:
    graph = spec.load("cnncc 1\ninput x: [4]\nrelu\noutput y\n").graph
    source = graph.inputs[0]
    attrs = graph[source].attrs
    graph[source].attrs = type(attrs)(dtype=DType.U8, shape=attrs.shape)
    graph[source].type = TensorType(DType.U8, attrs.shape)
    with pytest.raises(UnsupportedError, match="normalize"):
        spec.print_flat(graph)
