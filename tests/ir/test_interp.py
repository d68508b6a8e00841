"""The oracle on whole graphs."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import InputError
from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.interp import run, run_all, run_with_bounds
from cnncc.ir.op import lookup
from cnncc.ir.tolerance import compare
from cnncc.ir.types import DType
from cnncc.ops.conv import Conv2d, Conv2dAttrs
from cnncc.ops.fused import FusedAttrs, Step
from cnncc.ops.source import InputAttrs, NormalizeAttrs
from tests.ir.nets import named, residual
from tests.strategies import random_feed, random_graph

X = np.random.default_rng(0).normal(size=(3, 2, 4, 4)).astype(np.float32)


def expected() -> np.ndarray:
    w = residual().constants["conv.weight"]
    y = Conv2d.reference([X, w], Conv2dAttrs(pads=(1, 1, 1, 1))) + X
    return np.maximum(y, 0)


@pytest.mark.parametrize("key", ["x", 0])
def test_by_name_and_by_position(key: str | int) -> None:
    (made,) = run(residual(), {key: X})
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, expected())


def test_fused_nodes_compute_the_same() -> None:
    graph = residual()
    conv = graph[named(graph, "conv")].attrs
    steps = (
        Step("conv2d", conv, (0, 1)),
        Step("add", graph[named(graph, "sum")].attrs, (~0, 2)),
        Step("relu", graph[named(graph, "act")].attrs, (~1,)),
    )
    x, w = named(graph, "x"), named(graph, "conv.weight")
    fused = add_typed(graph, "fused", (x, w, x), FusedAttrs(steps))
    graph.outputs = [("y", fused)]
    np.testing.assert_array_equal(run(graph, {"x": X})[0], expected())


def test_all_values_and_the_observer() -> None:
    graph = residual()
    seen: dict[str, int] = {}
    values = run_all(
        graph, {"x": X}, lambda i, node, operands, value: seen.update({node.op: len(operands)})
    )
    assert set(values) == set(graph.order())
    assert seen == {"input": 0, "constant": 0, "conv2d": 2, "add": 2, "relu": 1}


def test_bytes_stay_bytes_until_they_are_normalised() -> None:
    graph = Graph()
    x = add_typed(graph, "input", (), InputAttrs(DType.U8, (1, 2)), name="x")
    y = add_typed(graph, "normalize", (x,), NormalizeAttrs(0.5, (1.0, 2.0), (1.0, 4.0)))
    graph.outputs = [("raw", x), ("y", y)]
    raw, made = run(graph, {"x": np.array([[2, 4]], np.uint8)})
    assert raw.dtype == np.uint8
    assert made.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({}, "no array for input x"),
        ({"z": X}, "has no input 'z'"),
        ({"x": X[:, :1]}, r"expected \['N', 2, 4, 4\], got \[3, 1, 4, 4\]"),
        ({"x": X[0]}, r"got \[2, 4, 4\]"),
    ],
)
def test_wrong_arrays(feed: dict[str | int, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(residual(), feed)


def test_batches_must_agree() -> None:
    graph = residual()
    add_typed(graph, "input", (), InputAttrs(DType.F32, (1, 2)), name="z")
    with pytest.raises(InputError, match=r"different batches: \[1, 3\]"):
        run(graph, {"x": X, "z": np.zeros((1, 2))})


def run_in_f32(graph: Graph, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Every node's value rounded to f32 before the next one reads it."""
    values: dict[int, np.ndarray] = {}
    for node_id, node in graph.nodes():
        operands = [values[o].astype(np.float64) for o in graph.operands(node_id)]
        if node.op == "input":
            made = feed[node.name]
        else:
            constant = graph.constant(node_id)
            made = (
                constant
                if constant is not None
                else lookup(node.op).reference(operands, node.attrs)
            )
        values[node_id] = made.astype(np.float32)
    return [values[out] for _, out in graph.outputs]


@pytest.mark.parametrize("seed", range(60))
def test_bounds_hold_on_random_graphs_and_are_zero_where_nothing_rounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    exact = seed % 3 == 0
    graph = random_graph(rng, seed % 12 + 1, exact=exact)
    feed = random_feed(rng, graph, exact=exact)
    judged = run_with_bounds(graph, feed)
    for made, (expected, bound) in zip(run_in_f32(graph, feed), judged, strict=True):
        assert compare(made, expected, 0.0 if exact else bound) is None
        assert np.all(bound <= 1e-2 * (1 + np.abs(expected).max())), bound.max()


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs_are_the_same_for_each_sample_of_a_batch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, seed % 12 + 1)
    feed = random_feed(rng, graph, 3)
    whole = run(graph, feed)
    for n in range(3):
        for a, b in zip(whole, run(graph, {k: v[n : n + 1] for k, v in feed.items()}), strict=True):
            np.testing.assert_allclose(b, a[n : n + 1], rtol=1e-9, atol=1e-9)
