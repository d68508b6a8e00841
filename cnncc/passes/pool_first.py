"""pool-first: an average is taken before the pointwise convolution that it stands behind.

Both are linear, and a 1x1 filter looks at one pixel at a time, so that
mean(conv2d(x, w)) = conv2d(mean(x), w): the convolution then has as many pixels as the pool leaves.
A bias stays what it is as long as the weights of each mean add up to 1, which a border of zeros
that counts would spoil.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.passes.match import producer, sole_user

EQUATION = "mean(conv2d(x, 1x1)) = conv2d(mean(x), 1x1)"
POOLS = frozenset({"avg_pool2d", "global_avg_pool"})


def _turn(graph: Graph, node_id: int) -> int | None:
    conv = producer(graph, node_id, "conv2d")
    if conv is None or sole_user(graph, conv) != node_id or not _is_pointwise(graph, conv):
        return None
    node, operands = graph[node_id], graph.operands(conv)
    border = node.op == "avg_pool2d" and node.attrs.count_pad and any(node.attrs.pads)
    if (border and len(operands) == 3) or not _pays(graph, node_id, conv):
        return None
    mean = add_typed(graph, node.op, operands[:1], node.attrs, spans=node.spans)
    attrs, spans = graph[conv].attrs, graph[conv].spans + node.spans
    return add_typed(graph, "conv2d", (mean, *operands[1:]), attrs, spans=spans)


def _is_pointwise(graph: Graph, conv: int) -> bool:
    """Whether each pixel of a convolution's result comes from the pixel at the same place."""
    attrs: Any = graph[conv].attrs
    window = graph.type_of(graph.operands(conv)[1]).shape[2:]
    return window == (1, 1) and attrs.strides == (1, 1) and not any(attrs.pads)


def _pays(graph: Graph, node_id: int, conv: int) -> bool:
    """Whether the multiply-adds that go away outnumber the additions that more channels ask for."""
    operands = graph.operands(conv)
    filters, depth = graph.type_of(operands[1]).shape[:2]
    _, channels, height, width = graph.type_of(operands[0]).shape
    _, _, rows, columns = graph.type_of(node_id).shape
    taps = height * width
    if graph[node_id].op == "avg_pool2d":
        taps = graph[node_id].attrs.window[0] * graph[node_id].attrs.window[1]
    saved = (height * width - rows * columns) * filters * depth
    return saved > max(0, channels - filters) * rows * columns * taps + channels * height * width


@dataclass(frozen=True, slots=True)
class PoolFirst:
    """Move averages in front of the 1x1 convolutions whose only readers they are."""

    name: ClassVar[str] = "pool-first"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Turn round what pays; chains of such convolutions are passed one by one."""
        rewrite(graph, (Rule(EQUATION, _turn, POOLS),), by=self.name)
