"""absorb-pad: let windows bring the border that a `pad2d` adds, but none that they never leave.

conv2d(pad2d(x, 0), pads=p) = conv2d(x, pads=p+q), and likewise for averages that count their
padding. A maximum never sees its padding, so a border of zeros is not the same thing there.

A dilated filter may be larger than the map: its outer rows and columns then multiply padding
wherever the window stands. Without them less is computed, and the map needs less of a border.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.build import add_constant, add_typed, infer
from cnncc.ir.decisions import Decision, decisions, record
from cnncc.ir.graph import Graph
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.passes.match import label, producer

EQUATION = "window(pad2d(x, q), p) = window(x, p + q)"
TRIM = "conv2d(x, w) = conv2d(x, w without rows and columns that only meet padding)"


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


def _live(graph: Graph, node_id: int, axis: int) -> range:
    """The taps of an axis without the first and last ones that only meet padding."""
    x, w = (graph.type_of(o).shape for o in graph.operands(node_id)[:2])
    attrs: Any = graph[node_id].attrs
    kernel, step = w[2 + axis], attrs.dilations[axis]
    before, after = attrs.pads[axis], attrs.pads[2 + axis]
    starts = np.arange(graph.type_of(node_id).shape[2 + axis]) * attrs.strides[axis] - before

    def meets(tap: int) -> bool:
        seen = starts + tap * step
        return bool(((seen >= 0) & (seen < x[2 + axis])).any())

    first, end = 0, kernel
    while first < end - 1 and not meets(first) and before >= (first + 1) * step:
        first += 1
    while end - 1 > first and not meets(end - 1) and after >= (kernel - end + 1) * step:
        end -= 1
    return range(first, end)


def _trim(graph: Graph, node_id: int) -> int | None:
    node, operands = graph[node_id], graph.operands(node_id)
    w = graph.constant(operands[1])
    if w is None or not any(node.attrs.pads) or not np.isfinite(w).all():
        return None  # an infinite weight times padding is NaN
    rows, columns = (_live(graph, node_id, axis) for axis in (0, 1))
    if (len(rows), len(columns)) == w.shape[2:]:
        return None
    (top, left, bottom, right), steps = node.attrs.pads, node.attrs.dilations
    pads = (
        top - rows.start * steps[0],
        left - columns.start * steps[1],
        bottom - (w.shape[2] - rows.stop) * steps[0],
        right - (w.shape[3] - columns.stop) * steps[1],
    )
    kept = np.ascontiguousarray(w[:, :, rows.start : rows.stop, columns.start : columns.stop])
    spans = graph[operands[1]].spans
    made = add_constant(graph, f"{label(graph, node_id)}.met", kept, spans=spans)
    inner = (operands[0], made, *operands[2:])
    return add_typed(graph, node.op, inner, replace(node.attrs, pads=pads), spans=node.spans)


@dataclass(frozen=True, slots=True)
class AbsorbPad:
    """Move borders of zeros into `conv2d` and into `avg_pool2d` that counts its padding.

    Filters lose the rows and columns that never meet anything else.
    """

    name: ClassVar[str] = "absorb-pad"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Absorb what can be absorbed; a border whose last reader took it along disappears."""
        windows = frozenset({"conv2d", "avg_pool2d", "max_pool2d"})
        rules = (Rule(EQUATION, _absorb, windows), Rule(TRIM, _trim, frozenset({"conv2d"})))
        rewrite(graph, rules, by=self.name)
