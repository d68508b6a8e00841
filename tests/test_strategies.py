"""The generators themselves: what they promise to everyone who tests with them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cnncc.ir.interp import run
from cnncc.ir.op import lookup
from cnncc.ir.text import print_graph
from cnncc.ir.tolerance import vacuity
from cnncc.ir.verify import verify
from tests.op_makers import CHANNELS, MAKERS
from tests.strategies import random_case, random_feed, random_graph


def test_the_same_seed_gives_the_same_graph() -> None:
    for seed in range(5):
        first, second = (random_graph(np.random.default_rng(seed), 8) for _ in range(2))
        assert print_graph(first) == print_graph(second)


def test_graphs_have_the_number_of_operators_asked_for() -> None:
    for n_ops in range(1, 13):
        graph = random_graph(np.random.default_rng(n_ops), n_ops)
        free = ("input", "constant", "normalize")
        assert sum(node.op not in free for _, node in graph.nodes()) >= n_ops
        assert sum(node.op not in free[:2] for _, node in graph.nodes()) <= n_ops + 2


def test_graphs_cover_the_shapes_of_networks() -> None:
    """Diamonds, a value used twice by one node, several outputs, inputs that are outputs, gates."""
    seen: Counter[str] = Counter()
    operators: set[str] = set()
    for seed in range(150):
        graph = random_graph(np.random.default_rng(seed), 10)
        verify(graph, "typed")
        operators.update(node.op for _, node in graph.nodes())
        seen["outputs"] += len(graph.outputs) > 1
        seen["input is output"] += any(graph[o].op == "input" for _, o in graph.outputs)
        for node_id, node in graph.nodes():
            operands = graph.operands(node_id)
            seen["twice"] += len(set(operands)) < len(operands)
            seen["joined"] += len(set(operands)) > 1 and node.op in ("add", "concat", "mul")
            seen["forked"] += len({user for user, _ in graph.users(node_id)}) > 1
            seen["gate"] += node.op == "mul" and graph.type_of(operands[1]).shape[2:] == (1, 1)
    assert all(seen[kind] >= 5 for kind in ("outputs", "twice", "joined", "forked", "gate")), seen
    assert seen["input is output"]
    missing = set(MAKERS) - operators - {"reshape", "transpose", "fused", "relayout"}
    assert not missing


def test_exact_graphs_are_exact() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, seed % 12 + 1, exact=True)
        for value in run(graph, random_feed(rng, graph, exact=True)):
            assert np.array_equal(2 * value, np.rint(2 * value)), "multiples of a half"
            assert np.abs(value).max() < 2**23


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose", "dense", "max_pool2d", "fused"])
def test_cases_prove_something(name: str) -> None:
    """Few cases are vacuous, in either mode (rule G)."""
    rng = np.random.default_rng(1)
    for values in ("float", "integers"):
        cases = [random_case(rng, name, values) for _ in range(60)]
        results = [lookup(c.op).reference(c.operands, c.attrs) for c in cases]
        assert sum(vacuity(r) is not None for r in results) <= 15
        assert values == "float" or sum(c.exact for c in cases) >= 10


def test_convolutions_meet_the_nasty_list() -> None:
    rng = np.random.default_rng(0)
    cases = [random_case(rng, "conv2d") for _ in range(400)]
    attrs = [c.attrs for c in cases]
    shapes = [(c.types[0].shape, c.types[1].shape) for c in cases]
    assert {x[1] for x, _ in shapes} == set(CHANNELS)
    assert {1, 2, 3, 5} <= {x[0] for x, _ in shapes}
    assert any(x[2] == 1 or x[3] == 1 for x, _ in shapes)
    assert any(w[2] > x[2] for x, w in shapes), "kernel larger than the input"
    assert any(a.strides[0] > w[2] for a, (_, w) in zip(attrs, shapes, strict=True))
    assert any(a.pads[0] >= w[2] for a, (_, w) in zip(attrs, shapes, strict=True))
    assert any(a.pads[0] != a.pads[2] for a in attrs)
    assert any(a.dilations[0] != a.dilations[1] for a in attrs)
    assert any(a.groups == x[1] > 1 for a, (x, _) in zip(attrs, shapes, strict=True))
    assert any(1 < a.groups < x[1] for a, (x, _) in zip(attrs, shapes, strict=True))
    assert {len(c.types) for c in cases} == {2, 3}
