"""nest-concats: a join that begins like another one takes that one's result.

concat(a, b, c) beside concat(a, b) is concat(concat(a, b), c). Written so, a dense block (each
layer joins all maps before it) is one buffer that grows, and nothing in it is copied; as it is
written by exporters, every map would lie in many buffers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.build import add_typed
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.rewrite import replace
from cnncc.passes.match import label


@dataclass(frozen=True, slots=True)
class NestConcats:
    """Let joins share their beginnings, the longest ones first."""

    name: ClassVar[str] = "nest-concats"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """In topological order, so that a beginning is itself nested already."""
        joins: dict[tuple[int, tuple[int, ...]], int] = {}
        for node_id in graph.order():
            if graph[node_id].op != "concat":
                continue
            axis, operands = graph[node_id].attrs.axis, graph.operands(node_id)
            known = [k for k in range(len(operands) - 1, 1, -1) if (axis, operands[:k]) in joins]
            if known:
                self._nest(graph, node_id, joins[axis, operands[: known[0]]], known[0], joins)
            else:
                joins.setdefault((axis, operands), node_id)

    def _nest(
        self,
        graph: Graph,
        node_id: int,
        begin: int,
        count: int,
        joins: dict[tuple[int, tuple[int, ...]], int],
    ) -> None:
        node, operands = graph[node_id], graph.operands(node_id)
        whole = [begin, *operands[count:]]
        made = add_typed(graph, "concat", whole, node.attrs, spans=node.spans)
        joins.setdefault((node.attrs.axis, operands), made)
        subject, first = label(graph, node_id), label(graph, begin)
        replace(graph, node_id, made)
        reason = f"its first {count} operands are joined in {first} already"
        record(graph, Decision(subject, "nested", reason, by=self.name))
