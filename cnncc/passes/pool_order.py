"""pool-order: averages, upsampling and pointwise convolutions change places for less work.

Both are linear, and a 1x1 filter looks at one pixel at a time, so that
mean(conv2d(x, w)) = conv2d(mean(x), w). With the average first, the convolution has only as many
pixels as the pool leaves; with the convolution first, the pool has only as many channels as there
are filters. A bias stays what it is as long as the weights of each mean add up to 1. Where a border
of zeros counts they do not, and a bias that would come before the mean is added behind it.

Upsampling is a mean of neighbours, too, whose weights always add up to 1: a convolution before it
has a fraction of the pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.passes.match import label, producer, sole_user

POOL_FIRST = "mean(conv2d(x, 1x1)) = conv2d(mean(x), 1x1)"
CONV_FIRST = "conv2d(mean(x), 1x1) = mean(conv2d(x, 1x1))"
UPSAMPLE_LAST = "conv2d(upsample2d(x), 1x1) = upsample2d(conv2d(x, 1x1))"
POOLS = frozenset({"avg_pool2d", "global_avg_pool"})


def _pool_first(graph: Graph, pool: int) -> int | None:
    conv = producer(graph, pool, "conv2d")
    if conv is None or sole_user(graph, conv) != pool or not _is_pointwise(graph, conv):
        return None
    if _thins_a_bias(graph, pool, conv):
        return None
    first, then = _costs(graph, pool, conv, graph.operands(conv)[0])
    return _swapped(graph, conv, pool) if first < then else None


def _conv_first(graph: Graph, conv: int) -> int | None:
    pool = graph.operands(conv)[0]
    if graph[pool].op not in POOLS or sole_user(graph, pool) != conv:
        return None
    first, then = _costs(graph, pool, conv, graph.operands(pool)[0])
    if not _is_pointwise(graph, conv) or then >= first:
        return None
    if not _thins_a_bias(graph, pool, conv):
        return _swapped(graph, pool, conv)
    bias = graph.constant(graph.operands(conv)[2])
    if bias is None:
        return None
    column = add_constant(graph, f"{label(graph, conv)}.bias.column", bias.reshape(1, -1, 1, 1))
    mean = _swapped(graph, pool, conv, operands=2)
    return add_typed(graph, "add", (mean, column), spans=graph[conv].spans)


def _upsample_last(graph: Graph, conv: int) -> int | None:
    large = graph.operands(conv)[0]
    if graph[large].op != "upsample2d" or sole_user(graph, large) != conv:
        return None
    if not _is_pointwise(graph, conv):
        return None
    attrs: Any = graph[large].attrs
    channels, pixels = graph.type_of(large).shape[1], math.prod(graph.type_of(large).shape[2:])
    filters, depth = graph.type_of(graph.operands(conv)[1]).shape[:2]
    taps = 1 if attrs.mode == "nearest" else 4
    # What a convolution would do to its result on the way has to pass over memory behind it.
    behind = any(Trait.POINTWISE in lookup(graph[u].op).traits for u, _ in graph.users(conv))
    first = pixels * (channels * taps + filters * depth)
    small = pixels // math.prod(attrs.factors) * filters * depth
    then = small + pixels * filters * taps * (2 if behind else 1)
    return _swapped(graph, large, conv) if then < first else None


def _is_pointwise(graph: Graph, conv: int) -> bool:
    """Whether each pixel of a convolution's result comes from the pixel at the same place."""
    attrs: Any = graph[conv].attrs
    window = graph.type_of(graph.operands(conv)[1]).shape[2:]
    return window == (1, 1) and attrs.strides == (1, 1) and not any(attrs.pads)


def _thins_a_bias(graph: Graph, pool: int, conv: int) -> bool:
    """Whether the mean of a bias would be less than it at the edges."""
    attrs: Any = graph[pool].attrs
    border = graph[pool].op == "avg_pool2d" and attrs.count_pad and any(attrs.pads)
    return border and len(graph.operands(conv)) == 3


def _costs(graph: Graph, pool: int, conv: int, x: int) -> tuple[int, int]:
    """Operations with the pool first and with the convolution first, both on `x`.

    A pool adds up its taps, and passes once over what it reads.
    """
    node = graph[pool]
    _, channels, height, width = graph.type_of(x).shape
    filters, depth = graph.type_of(graph.operands(conv)[1]).shape[:2]
    pixels, left = height * width, math.prod(graph.type_of(pool).shape[2:])
    taps = math.prod(node.attrs.window) if node.op == "avg_pool2d" else pixels
    pooled = taps * left + pixels
    return left * filters * depth + channels * pooled, pixels * filters * depth + filters * pooled


def _swapped(graph: Graph, inner: int, outer: int, operands: int = 3) -> int:
    """The operator of `outer` on what `inner` reads, and that of `inner` on its result.

    A convolution takes so many of its operands along.
    """
    taken = (graph.operands(inner)[0], *graph.operands(outer)[1:operands])
    first, then = graph[outer], graph[inner]
    made = add_typed(graph, first.op, taken, first.attrs, spans=first.spans)
    rest = graph.operands(inner)[1:operands]
    return add_typed(graph, then.op, (made, *rest), then.attrs, spans=then.spans + first.spans)


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """Let averages, upsampling and 1x1 convolutions that only they read, or read them, swap."""

    name: ClassVar[str] = "pool-order"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Turn round what pays; chains of such convolutions are passed one by one."""
        rules = (
            Rule(POOL_FIRST, _pool_first, POOLS),
            Rule(CONV_FIRST, _conv_first, frozenset({"conv2d"})),
            Rule(UPSAMPLE_LAST, _upsample_last, frozenset({"conv2d"})),
        )
        rewrite(graph, rules, by=self.name)
