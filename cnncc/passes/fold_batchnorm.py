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
from cnncc.ir.decisions import Decision, decisions, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import F64, Array
from cnncc.ir.rewrite import erase_dead, merge_spans
from cnncc.passes.match import channel_vector, label, sole_user

ANCHORS = ("conv2d", "conv2d_transpose", "dense")
_ARITHMETIC = ("add", "sub", "mul", "div")


@dataclass(frozen=True, slots=True)
class Affine:
    """y = factor·x + shift with one factor and shift a channel, both [C] in float64."""

    x: int
    factor: F64
    shift: F64


def read_affine(graph: Graph, node_id: int) -> Affine | None:
    """The per-channel affine map that a node is, if all its parameters are constants."""
    node, operands = graph[node_id], graph.operands(node_id)
    if node.op in ("batch_norm", "scale"):
        vectors = [channel_vector(graph, node_id, o) for o in operands[1:]]
        parameters = [v.astype(np.float64) for v in vectors if v is not None]
        if len(parameters) < len(vectors):
            return None
        if node.op == "batch_norm":
            return _read_batch_norm(operands[0], parameters, node.attrs.eps)
        shift = parameters[1] if len(parameters) == 2 else np.zeros(parameters[0].shape)
        return Affine(operands[0], parameters[0], shift)
    if node.op in _ARITHMETIC:
        for index, (x, other) in enumerate((operands, operands[::-1])):
            vector = channel_vector(graph, node_id, other)
            if vector is not None and graph.type_of(x) == graph.type_of(node_id):
                return _read_arithmetic(node.op, x, vector.astype(np.float64), index == 1)
    return None


def _read_arithmetic(op: str, x: int, c: F64, swapped: bool) -> Affine | None:
    """The map x op c, or c op x when swapped; a division of c by x is none."""
    zeros, ones = np.zeros(c.shape), np.ones(c.shape)
    match op:
        case "mul":
            return Affine(x, c, zeros)
        case "add":
            return Affine(x, ones, c)
        case "sub":
            return Affine(x, -ones, c) if swapped else Affine(x, ones, -c)
        case _:
            with np.errstate(all="ignore"):
                return None if swapped else Affine(x, 1.0 / c, zeros)


def _read_batch_norm(x: int, parameters: list[F64], eps: float) -> Affine:
    scale, bias, mean, var = parameters
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + eps)
        return Affine(x, factor, bias - mean * factor)


def scaled_filters(op: str, groups: int, weights: Array, factor: F64) -> Array:
    """Filters in f32 with each output channel multiplied by its factor in float64.

    Weights are [O,C/G,kh,kw] for `conv2d`, [C,O/G,kh,kw] for `conv2d_transpose`, [O,K] for `dense`.
    """
    filters = np.empty(weights.shape, np.float32)
    source, result, column = weights, filters, factor.reshape(-1, *(1,) * (weights.ndim - 1))
    if op == "conv2d_transpose":
        channels, depth, kh, kw = weights.shape
        grouped = (groups, channels // groups, depth, kh, kw)
        source, result = weights.reshape(grouped), filters.reshape(grouped)
        column = factor.reshape(groups, 1, depth, 1, 1)
    with np.errstate(all="ignore"):
        np.multiply(source, column, out=result, dtype=np.float64, casting="unsafe")
    return filters


def fold_into(graph: Graph, affine: Affine) -> tuple[Array, Array] | None:
    """Filters and bias in f32 that do the map as well; None when they would overflow."""
    anchor, operands = graph[affine.x], graph.operands(affine.x)
    weights, *bias = (graph.constants[graph[o].attrs.data] for o in operands[1:])
    groups = anchor.attrs.groups if anchor.op == "conv2d_transpose" else 1
    filters = scaled_filters(anchor.op, groups, weights, affine.factor)
    with np.errstate(all="ignore"):
        moved = bias[0] * affine.factor + affine.shift if bias else affine.shift
        shift = moved.astype(np.float32)
    extremes = (filters.min(), filters.max(), shift.min(), shift.max())  # NaN wins
    return (filters, shift) if np.isfinite(extremes).all() else None


@dataclass(frozen=True, slots=True)
class FoldBatchNorm:
    """Fold `batch_norm`, `scale`, and arithmetic with per-channel constants into filters."""

    name: ClassVar[str] = "fold-batchnorm"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Fold what can be folded; a batch norm that cannot stays, with the reason recorded."""
        unread: list[int] = []
        for node_id in graph.order():
            affine = read_affine(graph, node_id)
            read = graph.users(node_id) or graph.is_output(node_id)
            if affine is None or not read:
                continue
            reason = self._refuses(graph, affine)
            folded = None if reason else fold_into(graph, affine)
            if folded is not None:
                unread += self._replace(graph, node_id, affine.x, folded)
            elif graph[node_id].op == "batch_norm":
                self._keep(graph, node_id, reason or "the folded filters would overflow")
        erase_dead(graph, unread)

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

    def _keep(self, graph: Graph, node_id: int, reason: str) -> None:
        rejected = (("fold into the operator before it", reason),)
        stays = "it stays a multiply-add on each element"
        kept = Decision(label(graph, node_id), "kept", stays, rejected, by=self.name)
        if kept not in decisions(graph):
            record(graph, kept)

    def _replace(
        self, graph: Graph, node_id: int, anchor_id: int, folded: tuple[Array, Array]
    ) -> list[int]:
        """Give the anchor its new constants and let it stand for the map; what is unread now."""
        anchor, node = graph[anchor_id], graph[node_id]
        subject, gone = label(graph, anchor_id), label(graph, node_id)
        unread = [*graph.operands(anchor_id)[1:], *graph.operands(node_id)]
        parameters = [graph[o].spans for o in graph.operands(node_id) if o != anchor_id]
        anchor.spans = merge_spans(anchor.spans, node.spans, *parameters)
        for index, (part, array) in enumerate(zip(("weight", "bias"), folded, strict=True), 1):
            data = f"{subject}.{part}.folded"
            made = add_constant(graph, data, array, spans=anchor.spans)
            graph.set_operand(anchor_id, index, made)
        graph.replace_uses(node_id, anchor_id)
        graph.erase(node_id)
        figures = {"elements_saved": graph.type_of(anchor_id).elems}
        choice = f"{node.op} folded into the filters"
        reason = f"the multiply-add of {gone} on each element is done once, at compile time"
        record(graph, Decision(subject, choice, reason, (), figures, self.name))
        return [o for o in unread if o != anchor_id]
