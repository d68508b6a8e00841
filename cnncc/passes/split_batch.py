"""split-batch: layers on several samples, written out sample by sample.

Kernels in blocks of channels compute one sample. A network whose samples may be given in any number
is compiled for one and run for each. Where samples meet (a shape that mixes them, outputs that have
none), the network takes arrays as they are, and a layer on [N,C,H,W] becomes N layers with shared
weights on parts along axis 0, which are joined again where something reads them all. What stands
between layers and treats samples apart is taken along. Fully connected layers on several rows are
matrix products instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.rewrite import Rule, erase_dead, rewrite
from cnncc.ir.types import DType
from cnncc.passes.match import free_name, is_pointwise, label

_WINDOWS = frozenset({"conv2d", "conv2d_transpose", "max_pool2d", "avg_pool2d"})
LAYERS = _WINDOWS | {
    *("global_avg_pool", "global_max_pool", "batch_norm", "scale", "prelu", "lrn", "normalize"),
    *("upsample2d", "pad2d", "crop2d", "slice_channels", "channel_shuffle", "flatten"),
}
"""Operators that have no kernel, or none but a slow one, for several samples."""


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """Write out layers on several samples; nothing to do where samples never meet."""

    name: ClassVar[str] = "split-batch"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Rewrite the whole graph at once."""
        if graph.meta.get("batched", True):
            return
        rewrite(graph, (PRODUCT,), by=self.name)
        chosen = _choose(graph)
        if not chosen:
            return
        for node_id in graph.order():
            if node_id in chosen and _is_layer(graph, node_id):
                samples = graph.type_of(node_id).shape[0]
                reason = "samples meet elsewhere in the network, and kernels compute one"
                choice = f"written out for {samples} samples"
                record(graph, Decision(label(graph, node_id), choice, reason, by=self.name))
        _Splitting(graph, chosen).run()


# -- what is split ---------------------------------------------------------------------------------


def _is_layer(graph: Graph, node_id: int) -> bool:
    """Whether a layer on several samples would be quicker on one."""
    node, operands = graph[node_id], graph.operands(node_id)
    shape = graph.type_of(node_id).shape
    if node.op not in LAYERS or len(shape) < 2 or shape[0] == 1:
        return False
    constant = all(graph[o].op == "constant" for o in operands[1:])
    # No kernel in blocks takes those either: the definition computes all samples at once.
    return constant and (node.op not in _WINDOWS or not _is_spread(node.attrs, node.op))


def _is_spread(attrs: Any, op: str) -> bool:
    return op in ("max_pool2d", "avg_pool2d") and attrs.dilations != (1, 1)


def _choose(graph: Graph) -> set[int]:
    """Layers, what leads from one to another, and what is pointwise behind one."""
    chosen: set[int] = set()
    for node_id in reversed(graph.order()):
        leads = any(user in chosen for user, _ in graph.users(node_id))
        if _is_layer(graph, node_id) or (leads and _keeps_apart(graph, node_id)):
            chosen.add(node_id)
    layers = {n for n in chosen if _is_layer(graph, n)}
    behind: set[int] = set()
    for node_id in graph.order():
        after = any(o in behind or o in layers for o in graph.operands(node_id))
        if after and (node_id in chosen or _follows(graph, node_id)):
            behind.add(node_id)
    return layers | behind


def _follows(graph: Graph, node_id: int) -> bool:
    return is_pointwise(graph, node_id) and _keeps_apart(graph, node_id)


def _keeps_apart(graph: Graph, node_id: int) -> bool:
    """Whether a node treats the samples along axis 0 apart."""
    node, operands = graph[node_id], graph.operands(node_id)
    shape = graph.type_of(node_id).shape
    if not operands or not shape or shape[0] == 1:
        return False
    types = [graph.type_of(o) for o in operands]
    if is_pointwise(graph, node_id) and not lookup(node.op).per_channel:
        ranks = [len(t.shape) == len(shape) or math.prod(t.shape) == 1 for t in types]
        constant = [graph[o].op == "constant" for o in operands]
        return all(r or c for r, c in zip(ranks, constant, strict=True))
    if types[0].shape[:1] != shape[:1]:
        return False
    attrs = node.attrs
    match node.op:
        case "concat" | "softmax":
            return bool(attrs.axis != 0)
        case "resample":
            return bool(attrs.axis != 0) and all(graph[o].op == "constant" for o in operands[1:])
        case "reduce":
            return 0 not in attrs.axes
        case "pad":
            return bool(attrs.before[0] == attrs.after[0] == 0)
        case "transpose":
            return bool(attrs.perm[0] == 0)
        case "slice":
            return bool(attrs.steps[0] == 1)  # of all samples, since as many are left
        case "reshape":
            return True
        case _:
            return False


# -- splitting -------------------------------------------------------------------------------------


class _Splitting:
    """Adds the chosen nodes once for each sample, and joins what others read."""

    def __init__(self, graph: Graph, chosen: set[int]) -> None:
        self.graph = graph
        self.order = [n for n in graph.order() if n in chosen]
        self.parts: dict[int, list[int]] = {}
        self.taken = {node.name for _, node in graph.nodes()}

    def run(self) -> None:
        """Build all parts, then hand results over."""
        for node_id in self.order:
            samples = self.graph.type_of(node_id).shape[0]
            self.parts[node_id] = [self._build(node_id, k) for k in range(samples)]
        for node_id in self.order:
            self._join(node_id)
        erase_dead(self.graph, self.order[::-1])

    def _build(self, node_id: int, sample: int) -> int:
        graph, node = self.graph, self.graph[node_id]
        operands = graph.operands(node_id)
        if node.op in LAYERS or node.op == "resample":
            taken = [self._part(node_id, operands[0], sample), *operands[1:]]
        else:
            taken = [self._part(node_id, o, sample) for o in operands]
        name = free_name(self.taken, f"{node.name}.sample{sample}") if node.name else ""
        attrs = _for_one(node.op, node.attrs)
        return add_typed(graph, node.op, taken, attrs, name=name, spans=node.spans)

    def _part(self, user: int, operand: int, sample: int) -> int:
        """One sample of an operand; what has none is shared."""
        graph = self.graph
        shape, result = graph.type_of(operand).shape, graph.type_of(user).shape
        if operand in self.parts and len(self.parts[operand]) == result[0]:
            return self.parts[operand][sample]
        if len(shape) != len(result) and is_pointwise(graph, user):
            return operand
        if shape[:1] != result[:1]:
            return operand
        known = self.parts.setdefault(operand, [])
        if not known:
            known += [self._slice(operand, k, user) for k in range(shape[0])]
        return known[sample]

    def _slice(self, value: int, sample: int, user: int) -> int:
        graph = self.graph
        array, shape = graph.constant(value), graph.type_of(value).shape
        if array is not None:
            part = np.ascontiguousarray(array[sample : sample + 1])
            return add_constant(graph, f"{graph[value].attrs.data}.{sample}", part)
        starts, rank = (sample, *(0,) * (len(shape) - 1)), len(shape)
        attrs = lookup("slice").Attrs(starts, (1,) * rank, (1, *shape[1:]))
        spans = graph[value].spans or graph[user].spans
        return add_typed(graph, "slice", (value,), attrs, spans=spans)

    def _join(self, node_id: int) -> None:
        """One value for readers that want all samples; it gets the name."""
        graph, node = self.graph, self.graph[node_id]
        own = set(self.order)
        users = [(user, index) for user, index in graph.users(node_id) if user not in own]
        if not users and not graph.is_output(node_id):
            return
        attrs = lookup("concat").Attrs(0)
        joined = add_typed(graph, "concat", self.parts[node_id], attrs, spans=node.spans)
        graph[joined].name, node.name = node.name, ""
        for user, index in users:
            graph.set_operand(user, index, joined)
        graph.outputs = [(n, joined if out == node_id else out) for n, out in graph.outputs]
        graph.version += 1


def _for_one(op: str, attrs: Any) -> Any:
    match op:
        case "reshape":
            return replace(attrs, shape=(1, *attrs.shape[1:]))
        case "slice":
            return replace(attrs, starts=(0, *attrs.starts[1:]), sizes=(1, *attrs.sizes[1:]))
        case _:
            return attrs


# -- fully connected layers ------------------------------------------------------------------------


def _rows_by_matrix(graph: Graph, node_id: int) -> int | None:
    x, w, *bias = graph.operands(node_id)
    weights = graph.constant(w)
    if graph.type_of(x).shape[0] == 1 or weights is None or weights.dtype != DType.F32.numpy:
        return None
    turned = np.ascontiguousarray(weights.T)
    matrix = add_constant(graph, f"{label(graph, node_id)}.matrix", turned)
    product = add_typed(graph, "matmul", (x, matrix))
    return add_typed(graph, "add", (product, *bias)) if bias else product


PRODUCT = Rule("dense(x[N,K], w) = x * transpose(w)", _rows_by_matrix, frozenset({"dense"}))
