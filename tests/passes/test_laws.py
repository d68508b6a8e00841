"""What holds for every pass, on every graph."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir import interp
from cnncc.ir.decisions import decisions
from cnncc.ir.graph import Graph
from cnncc.ir.text import parse_graph, print_graph
from cnncc.ir.verify import LEVELS, verify
from cnncc.passes import PASSES, Simplify
from tests.passes.nets import assert_same_numbers, random_net, values
from tests.random_graphs import random_feed, random_graph

SEEDS = range(60)
KEEPS_PLACES = {"infer-types", "absorb-pad", "fold-batchnorm", "fuse"}
OWN_GRAPHS = {"split-batch"}  # random graphs here are for one sample
ROUNDS_CONSTANTS = {"fold-batchnorm", "fold-constants", "decompose"}


def _before(graph: Graph, name: str) -> str:
    """Take the types away, then run what comes before the pass; the level that is reached."""
    level = "parsed"
    for _, found in graph.nodes():
        found.type = None
    for other in PASSES:
        if other.name == name:
            return level
        other().run(graph)
        level = max(level, other.gives, key=LEVELS.index)
    raise AssertionError(f"no pass is called {name}")


@pytest.mark.parametrize("kind", PASSES, ids=lambda p: p.name)
def test_a_pass_keeps_numbers_level_places_and_comes_to_rest(kind) -> None:
    fired = 0
    for seed in SEEDS:
        graph = random_net(seed)
        level = _before(graph, kind.name)
        want, places, version = values(graph), _places(graph), graph.version
        kind().run(graph)
        fired += graph.version != version
        verify(graph, max(level, kind.gives, key=LEVELS.index), spans=True)
        rtol = 1e-6 if kind.name in ROUNDS_CONSTANTS else 1e-9
        assert_same_numbers(want, values(graph), rtol)
        if kind.name in KEEPS_PLACES:
            assert _places(graph) == places, f"seed {seed}: places were lost"
        settled, told = graph.version, len(decisions(graph))
        kind().run(graph)
        assert graph.version == settled, f"seed {seed}: a second run changes the graph"
        assert len(decisions(graph)) == told
    assert fired > 0 or kind.name in OWN_GRAPHS, "no graph gave the pass anything to do"


def _places(graph: Graph) -> set:
    return {span for _, n in graph.nodes() for span in n.spans}


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_passes_are_deterministic_and_their_results_print_and_parse(seed: int) -> None:
    texts = []
    for _ in range(2):
        graph = random_net(seed)
        for kind in PASSES:
            kind().run(graph)
        texts.append(print_graph(graph))
    assert texts[0] == texts[1]
    assert print_graph(parse_graph(texts[0], graph.constants)) == texts[0]


@pytest.mark.parametrize("dropped", [k for k in PASSES if k.name != "decompose"], ids=str)
def test_dropping_a_pass_is_harmless(dropped) -> None:
    for seed in range(20):
        graph = random_net(seed)
        want = values(graph)
        for kind in PASSES:
            if kind is not dropped:
                kind().run(graph)
        verify(graph, "fused")
        assert_same_numbers(want, values(graph), 1e-5)


def test_simplify_may_stand_anywhere() -> None:
    for seed in range(20):
        graph = random_net(seed)
        want = values(graph)
        for kind in PASSES:
            kind().run(graph)
            Simplify().run(graph)
        verify(graph, "fused")
        assert_same_numbers(want, values(graph), 1e-5)


@pytest.mark.parametrize("first_seed", range(0, 240, 20))
def test_all_passes_keep_the_numbers_of_networks_of_every_operator(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 20):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, 1 + seed % 12)
        inputs = random_feed(rng, graph, batch=2)
        want = interp.run(graph, inputs)
        for kind in PASSES:
            kind().run(graph)
        verify(graph, "fused")
        for expected, got in zip(want, interp.run(graph, inputs), strict=True):
            bound = 1e-5 * max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound, err_msg=f"seed {seed}")
