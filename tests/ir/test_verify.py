"""Every breach of a level's invariants is found and named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cnncc.errors import InternalError, VerifyError
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import f32
from cnncc.ir.verify import LEVELS, verify
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.fused import FusedAttrs, Step
from tests.ir.nets import named, residual
from tests.strategies import random_graph


@pytest.mark.parametrize("level", LEVELS)
def test_a_sound_graph_passes(level: str) -> None:
    verify(residual(), level, spans=True)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_are_typed(seed: int) -> None:
    verify(random_graph(np.random.default_rng(seed), seed + 1), "typed")


def rename(graph: Graph) -> None:
    graph[named(graph, "act")].name = "conv"


def retype(graph: Graph) -> None:
    graph[named(graph, "sum")].type = f32(1, 2, 4, 5)


def untype(graph: Graph) -> None:
    graph[named(graph, "sum")].type = None


def misfit(graph: Graph) -> None:
    graph[named(graph, "conv")].attrs = Conv2dAttrs(groups=3)


def wrong_attrs(graph: Graph) -> None:
    graph[named(graph, "conv")].attrs = NoAttrs()


def unknown_op(graph: Graph) -> None:
    graph[named(graph, "act")].op = "rectify"


def lose_array(graph: Graph) -> None:
    graph.constants.clear()


def no_outputs(graph: Graph) -> None:
    graph.outputs = []


def twin_outputs(graph: Graph) -> None:
    graph.outputs = [*graph.outputs, graph.outputs[0]]


def lost_output(graph: Graph) -> None:
    graph.outputs = [("y", 99)]


def lost_input(graph: Graph) -> None:
    graph.inputs = []


def too_many_operands(graph: Graph) -> None:
    graph.set_operand(named(graph, "act"), 1, named(graph, "x"))


def gap_in_operands(graph: Graph) -> None:
    conv = named(graph, "sum")
    graph.set_operand(conv, 5, named(graph, "x"))
    graph._nx.remove_edge(named(graph, "x"), conv, 1)
    graph._forget(named(graph, "x"), conv)


def spare_array(graph: Graph) -> None:
    graph.constants["spare"] = np.zeros(1, np.float32)


def dead_node(graph: Graph) -> None:
    add_typed(graph, "relu", (named(graph, "x"),))


def identity(graph: Graph) -> None:
    graph.outputs = [("y", add_typed(graph, "identity", (named(graph, "act"),)))]


def early_fusion(graph: Graph) -> None:
    attrs = FusedAttrs((Step("relu", NoAttrs(), (0,)),))
    graph.outputs = [("y", add_typed(graph, "fused", (named(graph, "act"),), attrs))]


BREACHES: list[tuple[str, Callable[[Graph], None], str]] = [
    ("parsed", rename, "has the name of node"),
    ("parsed", wrong_attrs, "attributes are NoAttrs, not Conv2dAttrs"),
    ("parsed", unknown_op, "no such operator"),
    ("parsed", lose_array, "no array is called `conv.weight`"),
    ("parsed", no_outputs, "no outputs"),
    ("parsed", twin_outputs, "two outputs are called `y`"),
    ("parsed", lost_output, "node 99, which does not exist"),
    ("parsed", lost_input, "lists inputs"),
    ("parsed", too_many_operands, "has 2 operands"),
    ("parsed", gap_in_operands, r"operands at \[0, 5\]"),
    ("canonical", early_fusion, "from level `fused` on"),
    ("typed", retype, r"is typed f32\[1,2,4,5\], its rule gives f32\[1,2,4,4\]"),
    ("typed", untype, "has no type"),
    ("typed", misfit, "groups=3 does not divide"),
    ("canonical", spare_array, r"arrays \['spare'\] are read by no node"),
    ("canonical", dead_node, "read by nobody"),
    ("canonical", identity, "does nothing"),
]


@pytest.mark.parametrize(
    ("level", "breach", "message"), BREACHES, ids=lambda b: getattr(b, "__name__", "")
)
def test_a_breach_is_found_from_its_level_on(
    level: str, breach: Callable[[Graph], None], message: str
) -> None:
    graph = residual()
    breach(graph)
    with pytest.raises(VerifyError, match=message):
        verify(graph, level)
    if breach not in (early_fusion,) and LEVELS.index(level):
        verify(graph, LEVELS[LEVELS.index(level) - 1])


def test_cycles() -> None:
    graph = residual()
    graph.set_operand(named(graph, "sum"), 1, named(graph, "act"))
    with pytest.raises(InternalError, match="cycle"):
        verify(graph, "parsed")


def test_places_and_notes_are_demanded_on_request() -> None:
    graph = residual()
    with pytest.raises(VerifyError, match=r"lacks the notes \['kernel'\]"):
        verify(graph, "planned", notes=["kernel"])
    graph[named(graph, "conv")].spans = ()
    verify(graph, "typed")
    with pytest.raises(VerifyError, match="does not know its place"):
        verify(graph, "typed", spans=True)


def test_constants_need_no_place() -> None:
    graph = residual()
    w = add_constant(graph, "w", np.zeros(2, np.float32))
    node = add_typed(graph, "scale", (named(graph, "act"), w), spans=graph[named(graph, "x")].spans)
    graph.outputs = [("y", node)]
    verify(graph, "canonical", spans=True)
