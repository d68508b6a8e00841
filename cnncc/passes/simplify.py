"""simplify: equations that make a graph smaller, or bring together what may share a loop nest.

The rules stand in families: moves of elements (`simplify_moves`), activations, arithmetic with
neutral constants, windows that do nothing. Each is an equation that holds exactly on real numbers,
NaN and infinities included. Dropping this pass anywhere is harmless.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.passes.decompose import NOTHING, hand_on
from cnncc.passes.match import beyond, filled_with, producer, same_type, sole_user
from cnncc.passes.simplify_moves import MOVES

# -- activations ---------------------------------------------------------------------------------

_NEVER_NEGATIVE = ("relu", "sigmoid", "hard_sigmoid")


def _relu_of_positive(graph: Graph, node_id: int) -> int | None:
    x = graph.operands(node_id)[0]
    positive = graph[x].op in _NEVER_NEGATIVE
    return x if positive or (graph[x].op == "clip" and graph[x].attrs.low >= 0) else None


def _bounds(graph: Graph, node_id: int) -> tuple[float, float] | None:
    """The bounds of a clip; relu is the clip from 0 to infinity."""
    node = graph[node_id]
    if node.op == "relu":
        return 0.0, math.inf
    return (node.attrs.low, node.attrs.high) if node.op == "clip" else None


def _clip_of_clip(graph: Graph, node_id: int) -> int | None:
    """clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)): clipping is monotone."""
    x = graph.operands(node_id)[0]
    inner, outer = _bounds(graph, x), _bounds(graph, node_id)
    if inner is None or outer is None:
        return None
    low, high = (min(max(bound, outer[0]), outer[1]) for bound in inner)
    if (low, high) == (0.0, math.inf):
        return beyond(graph, x, "relu")
    return beyond(graph, x, "clip", lookup("clip").Attrs(low, high))


def _clip_as_relu(graph: Graph, node_id: int) -> int | None:
    if _bounds(graph, node_id) != (0.0, math.inf):
        return None
    return add_typed(graph, "relu", graph.operands(node_id))


def _clip_of_nothing(graph: Graph, node_id: int) -> int | None:
    unbounded = _bounds(graph, node_id) == (-math.inf, math.inf)
    return hand_on(graph, node_id) if unbounded else None


def _mul_of_sigmoid(graph: Graph, node_id: int) -> int | None:
    """silu, where the sigmoid serves nothing else."""
    for x, gate in (graph.operands(node_id), graph.operands(node_id)[::-1]):
        if graph[gate].op == "sigmoid" and graph.operands(gate) == (x,):
            serves = sole_user(graph, gate) == node_id
            return beyond(graph, gate, "silu") if serves else None
    return None


def _before_pool(graph: Graph, node_id: int) -> int | None:
    """A monotone step between a convolution and its pool, so that one loop nest can hold all."""
    pool = producer(graph, node_id, "max_pool2d")
    conv = producer(graph, pool, "conv2d") if pool is not None else None
    if pool is None or conv is None:
        return None
    if sole_user(graph, conv) != pool or sole_user(graph, pool) != node_id:
        return None
    step, window = graph[node_id], graph[pool]
    inner = add_typed(graph, step.op, (conv,), step.attrs, name=step.name, spans=step.spans)
    return add_typed(
        graph, "max_pool2d", (inner,), window.attrs, name=window.name, spans=window.spans
    )


ACTIVATIONS = (
    Rule("relu(x) = x, where x >= 0", _relu_of_positive, frozenset({"relu"})),
    Rule("clip(clip(x)) = clip(x)", _clip_of_clip, frozenset({"relu", "clip"})),
    Rule("clip(x, 0, inf) = relu(x)", _clip_as_relu, frozenset({"clip"})),
    Rule("clip(x, -inf, inf) = x", _clip_of_nothing, frozenset({"clip"})),
    Rule("x * sigmoid(x) = silu(x)", _mul_of_sigmoid, frozenset({"mul"})),
    Rule(
        "relu(max_pool2d(conv2d(x))) = max_pool2d(relu(conv2d(x)))",
        _before_pool,
        frozenset({"relu", "clip"}),
    ),
)

# -- neutral constants and windows that do nothing ------------------------------------------------


def _join_with(neutral: float) -> Callable[[Graph, int], int | None]:
    """A rule body: the other operand of a join with a constant that is `neutral` everywhere."""

    def build(graph: Graph, node_id: int) -> int | None:
        operands = graph.operands(node_id)
        commutes = Trait.COMMUTATIVE in lookup(graph[node_id].op).traits
        for x, other in (operands, operands[::-1])[: 1 + commutes]:
            wide = graph.type_of(x) == graph.type_of(node_id)
            if wide and filled_with(graph, other, neutral):
                return x
        return None

    return build


def _scale_by_one(graph: Graph, node_id: int) -> int | None:
    x, *parameters = graph.operands(node_id)
    neutral = all(filled_with(graph, p, v) for p, v in zip(parameters, (1.0, 0.0), strict=False))
    return x if neutral else None


def _pool_of_pixels(graph: Graph, node_id: int) -> int | None:
    """A 1x1 window with stride 1; its padding must be 0, or the pool would be illegal."""
    attrs = graph[node_id].attrs
    trivial = attrs.window == (1, 1) and attrs.strides == (1, 1)
    return hand_on(graph, node_id) if trivial else None


NEUTRAL = (
    Rule("x + 0 = x", _join_with(0.0), frozenset({"add"})),
    Rule("x - 0 = x", _join_with(0.0), frozenset({"sub"})),
    Rule("x * 1 = x", _join_with(1.0), frozenset({"mul"})),
    Rule("x / 1 = x", _join_with(1.0), frozenset({"div"})),
    Rule("scale(x, 1, 0) = x", _scale_by_one, frozenset({"scale"})),
    Rule("pool(x, 1x1) = x", _pool_of_pixels, WINDOW_POOLS),
    Rule(
        "global_pool(x[N,C,1,1]) = x",
        same_type,
        frozenset({"global_avg_pool", "global_max_pool"}),
    ),
)

RULES = (*NOTHING, *MOVES, *ACTIVATIONS, *NEUTRAL)


@dataclass(frozen=True, slots=True)
class Simplify:
    """Apply `RULES` until none fires."""

    name: ClassVar[str] = "simplify"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Rewrite `graph` to a fixpoint."""
        rewrite(graph, RULES, by=self.name)
