"""The oracle: a graph of any level, run in float64 by the operators' references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnncc.errors import InputError
from cnncc.ir.graph import Graph, Node
from cnncc.ir.op import F64, Array, lookup

Observer = Callable[[int, Node, tuple[Array, ...], Array], None]
"""Called after each node with its id, the node, its operands' values and its value."""


def run(
    graph: Graph, inputs: Mapping[str | int, Array], observe: Observer | None = None
) -> list[Array]:
    """The network's results in declared order.

    Args:
        graph: a graph of any level; notes do not matter.
        inputs: logical arrays by the input's name or by its position among the inputs: [N,C,H,W] or
            [N,K] with any batch N, or exactly the declared shapes if the graph is not batched.
        observe: sees every node as it is computed.

    Raises:
        InputError: an array is missing, unknown, or of another shape.
    """
    values = run_all(graph, inputs, observe)
    return [values[out] for _, out in graph.outputs]


def run_all(
    graph: Graph, inputs: Mapping[str | int, Array], observe: Observer | None = None
) -> dict[int, Array]:
    """The value of every node by its id; arguments are those of `run`."""
    values = _bind(graph, inputs)
    if graph.meta.get("batched") and any(len(v) > 1 for v in values.values()):
        return _sample_by_sample(graph, values, observe)
    return _follow(graph, values, observe)


def _sample_by_sample(
    graph: Graph, inputs: dict[int, Array], observe: Observer | None
) -> dict[int, Array]:
    """An imported graph is written for one sample, so a batch is run as the network runs it."""
    count = len(next(iter(inputs.values())))
    runs = [
        _follow(graph, {i: v[k : k + 1] for i, v in inputs.items()}, None) for k in range(count)
    ]
    values, sampled = dict(inputs), set(inputs)
    for node_id, node in graph.nodes():
        operands = graph.operands(node_id)
        if any(o in sampled for o in operands):
            sampled.add(node_id)
            values[node_id] = np.concatenate([run[node_id] for run in runs])
        elif node_id not in values:
            values[node_id] = runs[0][node_id]
        if observe is not None:
            observe(node_id, node, tuple(values[o] for o in operands), values[node_id])
    return values


def _follow(graph: Graph, values: dict[int, Array], observe: Observer | None) -> dict[int, Array]:
    """The value of every node, from those of the inputs."""
    for node_id, node in graph.nodes():
        operands = tuple(values[o] for o in graph.operands(node_id))
        if node.op == "constant":
            values[node_id] = _widen(graph.constants[node.attrs.data])
        elif node.op != "input":
            with np.errstate(all="ignore"):
                values[node_id] = lookup(node.op).reference(operands, node.attrs)
        if observe is not None:
            observe(node_id, node, operands, values[node_id])
    return values


def run_with_bounds(graph: Graph, inputs: Mapping[str | int, Array]) -> list[tuple[Array, F64]]:
    """The results, each with a bound on the error of any sound f32 execution (rule E).

    The bound adds up each node's own rounding and what it makes of the errors before it; it is
    rigorous for a graph of any depth, and 0 for networks that only move and compare. It covers a
    compiler that folds and fuses, as long as it adds no operation. Arguments are those of `run`.
    """
    bounds: dict[int, F64] = {}
    values: dict[int, Array] = {}

    def follow(node_id: int, node: Node, operands: tuple[Array, ...], value: Array) -> None:
        values[node_id] = value
        if not operands:
            bounds[node_id] = np.zeros(value.shape)
            return
        op, errors = lookup(node.op), [bounds[o] for o in graph.operands(node_id)]
        with np.errstate(all="ignore"):
            bound = op.rounding(operands, value, node.attrs)
            if any(error.any() for error in errors):
                bound = bound + op.propagate(operands, errors, node.attrs)
        bounds[node_id] = np.where(np.isfinite(bound), bound, 0.0)

    run_all(graph, inputs, follow)
    return [(values[out], bounds[out]) for _, out in graph.outputs]


def _widen(array: Array) -> Array:
    """Floating point in float64; integers and booleans stay."""
    array = np.asarray(array)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _bind(graph: Graph, inputs: Mapping[str | int, Array]) -> dict[int, Array]:
    """The inputs' values by node id, once each fits the declared shape up to the batch."""
    keys: dict[str | int, int] = {}
    for position, node_id in enumerate(graph.inputs):
        keys[position] = keys[graph[node_id].name or position] = node_id
    values: dict[int, Array] = {}
    batches: set[int] = set()
    for key, array in inputs.items():
        if key not in keys:
            raise InputError(f"the network has no input {key!r}; it has {sorted(map(str, keys))}")
        wanted: Any = graph[keys[key]].attrs.shape
        fixed = 1 if graph.meta.get("batched", True) else 0
        if np.ndim(array) != len(wanted) or np.shape(array)[fixed:] != wanted[fixed:]:
            expected = ["N", *wanted[1:]] if fixed else list(wanted)
            raise InputError(f"input {key!r}: expected {expected}, got {list(np.shape(array))}")
        values[keys[key]] = _widen(array)
        batches.update(np.shape(array)[:fixed])
    missing = [graph[i].name or str(i) for i in graph.inputs if i not in values]
    if missing:
        raise InputError(f"no array for input {', '.join(missing)}")
    if len(batches) > 1:
        raise InputError(f"inputs have different batches: {sorted(batches)}")
    return values
