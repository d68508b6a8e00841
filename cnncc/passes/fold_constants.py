"""fold-constants: compute at compile time what depends on constants alone.

Folding is the interpreter: the operator's float64 reference, rounded to the result's element type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.ir.build import add_constant
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array, Trait, lookup
from cnncc.ir.rewrite import replace
from cnncc.passes.match import label


@dataclass(frozen=True, slots=True)
class FoldConstants:
    """Replace operators of constants by their value, within a budget.

    Attributes:
        max_bytes: bytes of all results made in one run.
        max_flops: floating point operations of one run.
    """

    name: ClassVar[str] = "fold-constants"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    max_bytes: int = 256 * 2**20
    max_flops: int = 10**9

    def run(self, graph: Graph) -> None:
        """Fold in topological order, so that folded results fold on."""
        spent_bytes = spent_flops = 0
        for node_id in graph.order():
            if node_id not in graph or not _is_constant_expression(graph, node_id):
                continue
            node, operands = graph[node_id], graph.operands(node_id)
            types, result = [graph.type_of(o) for o in operands], graph.type_of(node_id)
            cost = lookup(node.op).cost(types, result, node.attrs)
            flops = 2 * cost.macs + cost.flops
            figures = {"result_bytes": result.size_bytes, "flops": flops}
            subject = label(graph, node_id)
            if (
                spent_bytes + result.size_bytes > self.max_bytes
                or spent_flops + flops > self.max_flops
            ):
                reason = "the budget of constant folding is spent"
                rejected = (("compute it at compile time", reason),)
                record(graph, Decision(subject, "kept", reason, rejected, figures, self.name))
                continue
            spent_bytes += result.size_bytes
            spent_flops += flops
            folded = add_constant(graph, subject, _evaluate(graph, node_id), spans=node.spans)
            replace(graph, node_id, folded)
            reason = "all its operands are constants"
            record(graph, Decision(subject, "computed", reason, (), figures, self.name))


def _is_constant_expression(graph: Graph, node_id: int) -> bool:
    operands = graph.operands(node_id)
    pure = Trait.SOURCE not in lookup(graph[node_id].op).traits
    return pure and bool(operands) and all(graph[o].op == "constant" for o in operands)


def _evaluate(graph: Graph, node_id: int) -> Array:
    arrays = []
    for operand in graph.operands(node_id):
        array = graph.constants[graph[operand].attrs.data]
        arrays.append(array.astype(np.float64) if array.dtype.kind == "f" else array)
    node = graph[node_id]
    with np.errstate(all="ignore"):
        value = lookup(node.op).reference(arrays, node.attrs)
        return np.ascontiguousarray(value, dtype=graph.type_of(node_id).dtype.numpy)
