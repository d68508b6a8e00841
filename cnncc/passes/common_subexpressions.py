"""common-subexpressions: compute equal expressions once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array, Trait, lookup
from cnncc.ir.rewrite import merge_spans
from cnncc.passes.eliminate_dead import drop_unread
from cnncc.passes.match import label

_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class CommonSubexpressions:
    """Merge nodes of equal operator, attributes and operands, and constants of equal bytes.

    The node that comes first in topological order stays; inputs are never merged.
    """

    name: ClassVar[str] = "common-subexpressions"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """One sweep is enough: operands are merged before their users are looked at."""
        first: dict[Any, list[int]] = {}
        for node_id in graph.order():
            if node_id not in graph or graph[node_id].op == "input":
                continue
            bucket = first.setdefault(_key(graph, node_id), [])
            twin = next((i for i in bucket if _same_value(graph, i, node_id)), None)
            if twin is None:
                bucket.append(node_id)
                continue
            if graph[twin].op != "constant":
                reason = f"{label(graph, twin)} has the same operator, attributes and operands"
                record(graph, Decision(label(graph, node_id), "merged", reason, by=self.name))
            _merge(graph, node_id, twin)
        drop_unread(graph)


def _merge(graph: Graph, gone: int, kept: int) -> None:
    """Let `kept` stand for `gone`, whose operands it shares, so that nothing else dies with it."""
    old, new = graph[gone], graph[kept]
    graph.replace_uses(gone, kept)
    if new.op != "constant":
        new.spans = merge_spans(new.spans, old.spans)
    new.name = new.name or old.name
    graph.erase(gone)


def _key(graph: Graph, node_id: int) -> Any:
    node, operands = graph[node_id], graph.operands(node_id)
    if node.op == "constant":
        array = graph.constants[node.attrs.data]
        return (node.op, array.dtype.str, array.shape, _sample(array))
    if Trait.COMMUTATIVE in lookup(node.op).traits:
        operands = tuple(sorted(operands))
    return (node.op, node.attrs, operands)


def _is_placeholder(array: Array) -> bool:
    """Whether a broadcast number stands for weights that were not loaded."""
    return array.size > 1 and not any(array.strides)


def _sample(array: Array) -> bytes:
    """Bytes of a few elements: cheap to compare before all bytes are."""
    if _is_placeholder(array):
        return b""  # to flatten it would allocate all of it
    flat = array.reshape(-1)
    return np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLES)]).tobytes()


def _same_value(graph: Graph, a: int, b: int) -> bool:
    """Equality of what the key cannot tell: the bytes of constants (so NaN and -0 count)."""
    if graph[a].op != "constant":
        return True
    x, y = (graph.constants[graph[i].attrs.data] for i in (a, b))
    if x is y:
        return True
    return not _is_placeholder(x) and bool(np.array_equal(_bits(x), _bits(y)))


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
