"""simplify: equations that make a graph smaller. Dropping this pass anywhere is harmless.

The rules stand in families: moves of elements, activations, arithmetic with neutral constants,
windows that do nothing. Each is an equation that holds exactly on real numbers, NaN and infinities
included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnncc.errors import Span
from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.rewrite import Rule, merge_spans, rewrite
from cnncc.passes.decompose import NOTHING, hand_on
from cnncc.passes.match import filled_with, producer, sole_user


def _same_op(graph: Graph, node_id: int) -> int | None:
    return producer(graph, node_id, graph[node_id].op)


def _same_type(graph: Graph, node_id: int) -> int | None:
    """x, when moving its elements gives the same type."""
    x = graph.operands(node_id)[0]
    return x if graph.type_of(x) == graph.type_of(node_id) else None


def _beyond(graph: Graph, inner: int, op: str, attrs: Any = None) -> int:
    """`op` on the operands of `inner`, which it makes superfluous and whose places it keeps."""
    return add_typed(graph, op, graph.operands(inner), attrs, spans=graph[inner].spans)


# -- moves of elements ---------------------------------------------------------------------------


def _is_row_major(graph: Graph, node_id: int) -> bool:
    """Whether the node keeps the row-major order of its elements."""
    node, x = graph[node_id], graph.type_of(graph.operands(node_id)[0])
    if node.op == "flatten":
        return node.attrs.order == "chw" or len(x.shape) == 2 or x.shape[2:] == (1, 1)
    return node.op == "reshape"


def _reshape_of_reshape(graph: Graph, node_id: int) -> int | None:
    inner = graph.operands(node_id)[0]
    if graph[inner].op not in ("reshape", "flatten") or not _is_row_major(graph, inner):
        return None
    return _beyond(graph, inner, "reshape", graph[node_id].attrs)


def _flatten_of_reshape(graph: Graph, node_id: int) -> int | None:
    """Both are row-major: one reshape, whose -1 takes what a free batch leaves."""
    inner = graph.operands(node_id)[0]
    if graph[inner].op != "reshape" or not _is_row_major(graph, node_id):
        return None
    length = graph.type_of(node_id).shape[1]
    attrs = lookup("reshape").Attrs((-1, length))
    return _beyond(graph, inner, "reshape", attrs)


def _flatten_of_pixel(graph: Graph, node_id: int) -> int | None:
    """One order for [N,C,1,1], where both are the same."""
    x = graph.type_of(graph.operands(node_id)[0])
    if graph[node_id].attrs.order == "hwc" or x.shape[2:] != (1, 1):
        return None
    return add_typed(graph, "flatten", graph.operands(node_id), lookup("flatten").Attrs("hwc"))


def _transpose_of_transpose(graph: Graph, node_id: int) -> int | None:
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    first, second = graph[inner].attrs.perm, graph[node_id].attrs.perm
    attrs = lookup("transpose").Attrs(tuple(first[p] for p in second))
    return _beyond(graph, inner, "transpose", attrs)


def _transpose_of_nothing(graph: Graph, node_id: int) -> int | None:
    perm = graph[node_id].attrs.perm
    return hand_on(graph, node_id) if perm == tuple(range(len(perm))) else None


def _border_of_border(graph: Graph, node_id: int) -> int | None:
    """crop2d(crop2d(x)), or pad2d(pad2d(x)) with equal values: the extents add up."""
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    first, second = graph[inner].attrs, graph[node_id].attrs
    if replace(first, pads=second.pads) != second:
        return None
    pads = tuple(p + q for p, q in zip(first.pads, second.pads, strict=True))
    return _beyond(graph, inner, graph[node_id].op, replace(first, pads=pads))


def _crop_of_pad(graph: Graph, node_id: int) -> int | None:
    pad = producer(graph, node_id, "pad2d")
    if pad is None or graph[pad].attrs.pads != graph[node_id].attrs.pads:
        return None
    return graph.operands(pad)[0]


def _slice_of_slice(graph: Graph, node_id: int) -> int | None:
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    start, attrs = graph[inner].attrs.start, graph[node_id].attrs
    moved = replace(attrs, start=start + attrs.start, stop=start + attrs.stop)
    return _beyond(graph, inner, "slice_channels", moved)


def _slice_of_concat(graph: Graph, node_id: int) -> int | None:
    """The slice lies within one operand of the concat: no need to join first."""
    concat = producer(graph, node_id, "concat")
    if concat is None or graph[concat].attrs.axis != 1:
        return None
    attrs, begin = graph[node_id].attrs, 0
    for operand in graph.operands(concat):
        end = begin + graph.type_of(operand).shape[1]
        if begin <= attrs.start and attrs.stop <= end:
            inner = replace(attrs, start=attrs.start - begin, stop=attrs.stop - begin)
            return add_typed(graph, "slice_channels", (operand,), inner)
        begin = end
    return None


def _concat_of_one(graph: Graph, node_id: int) -> int | None:
    operands = graph.operands(node_id)
    return operands[0] if len(operands) == 1 else None


def _concat_of_concat(graph: Graph, node_id: int) -> int | None:
    """Inner concats that nobody else reads; another reader would need the inner one made anyway."""
    attrs, operands = graph[node_id].attrs, graph.operands(node_id)
    flat: list[int] = []
    spans: tuple[Span, ...] = ()
    for operand in operands:
        nested = graph[operand].op == "concat" and graph[operand].attrs == attrs
        if nested and sole_user(graph, operand) == node_id:
            flat.extend(graph.operands(operand))
            spans = merge_spans(spans, graph[operand].spans)
        else:
            flat.append(operand)
    if tuple(flat) == operands:
        return None
    return add_typed(graph, "concat", flat, attrs, spans=spans)


def _shuffle_of_nothing(graph: Graph, node_id: int) -> int | None:
    groups = graph[node_id].attrs.groups
    trivial = groups in (1, graph.type_of(node_id).shape[1])
    return hand_on(graph, node_id) if trivial else None


MOVES = (
    Rule("reshape(reshape(x)) = reshape(x)", _reshape_of_reshape, frozenset({"reshape"})),
    Rule("flatten(reshape(x)) = reshape(x)", _flatten_of_reshape, frozenset({"flatten"})),
    Rule("flatten(x[N,C,1,1], chw) = flatten(x, hwc)", _flatten_of_pixel, frozenset({"flatten"})),
    Rule(
        "move(x) = x, where the type stays and no element moves",
        _same_type,
        frozenset({"reshape", "flatten", "pad2d", "crop2d", "slice_channels", "upsample2d"}),
    ),
    Rule(
        "transpose(transpose(x)) = transpose(x)", _transpose_of_transpose, frozenset({"transpose"})
    ),
    Rule("transpose(x, 0..n) = x", _transpose_of_nothing, frozenset({"transpose"})),
    Rule("border(border(x)) = border(x)", _border_of_border, frozenset({"pad2d", "crop2d"})),
    Rule("crop2d(pad2d(x, p), p) = x", _crop_of_pad, frozenset({"crop2d"})),
    Rule("slice(slice(x)) = slice(x)", _slice_of_slice, frozenset({"slice_channels"})),
    Rule("slice(concat(.., x, ..)) = slice(x)", _slice_of_concat, frozenset({"slice_channels"})),
    Rule("concat(x) = x", _concat_of_one, frozenset({"concat"})),
    Rule("concat(concat(a, b), c) = concat(a, b, c)", _concat_of_concat, frozenset({"concat"})),
    Rule("channel_shuffle(x, 1) = x", _shuffle_of_nothing, frozenset({"channel_shuffle"})),
)

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
        return _beyond(graph, x, "relu")
    return _beyond(graph, x, "clip", lookup("clip").Attrs(low, high))


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
            return _beyond(graph, gate, "silu") if serves else None
    return None


ACTIVATIONS = (
    Rule("relu(x) = x, where x >= 0", _relu_of_positive, frozenset({"relu"})),
    Rule("clip(clip(x)) = clip(x)", _clip_of_clip, frozenset({"relu", "clip"})),
    Rule("clip(x, 0, inf) = relu(x)", _clip_as_relu, frozenset({"clip"})),
    Rule("clip(x, -inf, inf) = x", _clip_of_nothing, frozenset({"clip"})),
    Rule("x * sigmoid(x) = silu(x)", _mul_of_sigmoid, frozenset({"mul"})),
)

# -- neutral constants and windows that do nothing ------------------------------------------------


def _join_with(neutral: float) -> Callable[[Graph, int], int | None]:
    """A rule body: the other operand of a join with a constant that is `neutral` everywhere."""

    def build(graph: Graph, node_id: int) -> int | None:
        for x, other in (graph.operands(node_id), graph.operands(node_id)[::-1]):
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
    Rule("x * 1 = x", _join_with(1.0), frozenset({"mul"})),
    Rule("scale(x, 1, 0) = x", _scale_by_one, frozenset({"scale"})),
    Rule("pool(x, 1x1) = x", _pool_of_pixels, frozenset({"max_pool2d", "avg_pool2d"})),
    Rule(
        "global_pool(x[N,C,1,1]) = x",
        _same_type,
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
