"""absorb-pad: let windows bring the border that a `pad2d` adds.

conv2d(pad2d(x, 0), pads=p) = conv2d(x, pads=p+q), and likewise for averages that count their
padding. A maximum never sees its padding, so a border of zeros is not the same thing there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnncc.errors import TypeInferenceError
from cnncc.ir.build import add_typed, infer
from cnncc.ir.decisions import Decision, decisions, record
from cnncc.ir.graph import Graph
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.passes.match import label, producer

EQUATION = "window(pad2d(x, q), p) = window(x, p + q)"


def _refuses(graph: Graph, node_id: int, pad: int) -> str:
    """Why the border cannot be absorbed; empty when it can."""
    attrs: Any = graph[node_id].attrs
    if graph[node_id].op == "max_pool2d":
        return "a maximum would see the border's values, but never its own padding"
    if graph[pad].attrs.value != 0:
        return f"the border holds {graph[pad].attrs.value:g}, and padding is zero"
    if graph[node_id].op == "avg_pool2d":
        if attrs.ceil:
            return "with `ceil` the border decides whether a last window counts"
        if any(attrs.pads) and not attrs.count_pad:
            return "the border counts in the average, but the pool's own padding does not"
    return ""


def _widened(graph: Graph, node_id: int, pad: int) -> Any:
    attrs: Any = graph[node_id].attrs
    pads = tuple(p + q for p, q in zip(attrs.pads, graph[pad].attrs.pads, strict=True))
    if graph[node_id].op == "avg_pool2d":
        return replace(attrs, pads=pads, count_pad=True)
    return replace(attrs, pads=pads)


def _absorb(graph: Graph, node_id: int) -> int | None:
    pad = producer(graph, node_id, "pad2d")
    if pad is None:
        return None
    node, operands = graph[node_id], graph.operands(node_id)
    reason = _refuses(graph, node_id, pad)
    if not reason:
        inner = (graph.operands(pad)[0], *operands[1:])
        attrs = _widened(graph, node_id, pad)
        try:
            infer(graph, node.op, inner, attrs)
        except TypeInferenceError as error:
            reason = error.message
        else:
            spans = graph[pad].spans + node.spans
            return add_typed(graph, node.op, inner, attrs, spans=spans)
    rejected = ((f"absorb {label(graph, pad)}", reason),)
    kept = Decision(label(graph, node_id), "border kept", reason, rejected, by=AbsorbPad.name)
    if kept not in decisions(graph):
        record(graph, kept)
    return None


@dataclass(frozen=True, slots=True)
class AbsorbPad:
    """Move borders of zeros into `conv2d` and into `avg_pool2d` that counts its padding."""

    name: ClassVar[str] = "absorb-pad"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Absorb what can be absorbed; a border whose last reader took it along disappears."""
        windows = frozenset({"conv2d", "avg_pool2d", "max_pool2d"})
        rewrite(graph, (Rule(EQUATION, _absorb, windows),), by=self.name)
