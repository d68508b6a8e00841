"""fold-batchnorm: multiply per-channel affine maps into the weights of the operator before them.

y = f·(W∗x + b) + s = (f·W)∗x + (f·b + s), where f and s hold one value for each output channel. For
a batch norm f = scale/√(var + eps) and s = bias - mean·f (Ioffe and Szegedy 2015, section 3.1). All
of it is computed in float64 and rounded to f32 once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.ir.build import add_constant
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import F64, Array
from cnncc.ir.rewrite import erase_dead, merge_spans, replace
from cnncc.passes.match import channel_vector, label, sole_user

ANCHORS = ("conv2d", "conv2d_transpose", "dense")


@dataclass(frozen=True, slots=True)
class Affine:
    """y = factor·x + shift with one factor and shift a channel, both [C] in float64."""

    x: int
    factor: F64
    shift: F64


def read_affine(graph: Graph, node_id: int) -> Affine | None:
    """The per-channel affine map that a node is, if all its parameters are constants."""
    node, operands = graph[node_id], graph.operands(node_id)
    channels = graph.type_of(node_id).shape[1] if len(graph.type_of(node_id).shape) > 1 else 0
    if node.op in ("batch_norm", "scale"):
        vectors = [channel_vector(graph, o, channels) for o in operands[1:]]
        parameters = [v.astype(np.float64) for v in vectors if v is not None]
        if len(parameters) < len(vectors):
            return None
        if node.op == "batch_norm":
            return _read_batch_norm(operands[0], parameters, node.attrs.eps)
        shift = parameters[1] if len(parameters) == 2 else np.zeros(channels)
        return Affine(operands[0], parameters[0], shift)
    if node.op in ("add", "mul"):
        for x, other in (operands, operands[::-1]):
            vector = channel_vector(graph, other, channels)
            if vector is not None and graph.type_of(x) == graph.type_of(node_id):
                value = vector.astype(np.float64)
                if node.op == "mul":
                    return Affine(x, value, np.zeros(channels))
                return Affine(x, np.ones(channels), value)
    return None


def _read_batch_norm(x: int, parameters: list[F64], eps: float) -> Affine:
    scale, bias, mean, var = parameters
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + eps)
        return Affine(x, factor, bias - mean * factor)


def scaled_filters(op: str, groups: int, weights: Array, factor: F64) -> F64:
    """Filters with each output channel multiplied by its factor, in float64.

    Weights are [O,C/G,kh,kw] for `conv2d`, [C,O/G,kh,kw] for `conv2d_transpose`, [O,K] for `dense`.
    """
    wide = weights.astype(np.float64)
    if op != "conv2d_transpose":
        return np.asarray(wide * factor.reshape(-1, *(1,) * (wide.ndim - 1)))
    channels, depth, kh, kw = wide.shape
    grouped = wide.reshape(groups, channels // groups, depth, kh, kw)
    return np.asarray(grouped * factor.reshape(groups, 1, depth, 1, 1)).reshape(wide.shape)


@dataclass(frozen=True, slots=True)
class FoldBatchNorm:
    """Fold `batch_norm`, `scale`, and `add` or `mul` of per-channel constants into filters."""

    name: ClassVar[str] = "fold-batchnorm"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Fold what can be folded; what cannot stays, with the reason recorded."""
        for node_id in graph.order():
            if node_id not in graph:
                continue
            affine = read_affine(graph, node_id)
            dead = not graph.users(node_id) and not graph.is_output(node_id)
            if affine is None or dead:
                continue
            reason = self._refuses(graph, affine) or self._fold(graph, node_id, affine)
            if reason and graph[node_id].op == "batch_norm":
                subject = label(graph, node_id)
                decision = Decision(
                    subject,
                    "kept",
                    "it stays a multiply-add on each element",
                    (("fold into the operator before it", reason),),
                    by=self.name,
                )
                record(graph, decision)

    @staticmethod
    def _refuses(graph: Graph, affine: Affine) -> str:
        """Why the map cannot be folded; empty when it can."""
        anchor = graph[affine.x]
        if anchor.op not in ANCHORS:
            return f"its operand comes from `{anchor.op}`, which has no filters"
        if sole_user(graph, affine.x) is None:
            return f"the value of {label(graph, affine.x)} before it is read elsewhere too"
        if any(graph.constant(o) is None for o in graph.operands(affine.x)[1:]):
            return f"the filters of {label(graph, affine.x)} are computed, not constant"
        return ""

    def _fold(self, graph: Graph, node_id: int, affine: Affine) -> str:
        """Fold; the answer is empty, or the reason why the numbers forbid it."""
        anchor, operands = graph[affine.x], graph.operands(affine.x)
        weights = graph.constants[graph[operands[1]].attrs.data]
        bias = graph.constants[graph[operands[2]].attrs.data] if len(operands) == 3 else None
        groups = anchor.attrs.groups if anchor.op == "conv2d_transpose" else 1
        with np.errstate(all="ignore"):
            wide = scaled_filters(anchor.op, groups, weights, affine.factor)
            moved = affine.shift if bias is None else bias * affine.factor + affine.shift
            filters, shift = wide.astype(np.float32), moved.astype(np.float32)
        if not (np.isfinite(filters).all() and np.isfinite(shift).all()):
            return "the folded filters would overflow"
        spans = merge_spans(anchor.spans, graph[node_id].spans)
        for index, (part, array) in enumerate((("weight", filters), ("bias", shift)), start=1):
            data = f"{label(graph, affine.x)}.{part}.folded"
            graph.set_operand(affine.x, index, add_constant(graph, data, array, spans=spans))
        subject, folded = label(graph, affine.x), label(graph, node_id)
        choice = f"{graph[node_id].op} folded into the filters"
        replace(graph, node_id, affine.x)
        erase_dead(graph, operands[1:])
        figures = {"elements_saved": graph.type_of(affine.x).elems}
        reason = f"the multiply-add of {folded} on each element is done once, at compile time"
        record(graph, Decision(subject, choice, reason, (), figures, self.name))
        return ""
