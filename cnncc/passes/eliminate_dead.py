"""eliminate-dead: drop what no output needs, and the arrays that nobody names any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.rewrite import erase_dead
from cnncc.passes.match import label


def sweep(graph: Graph) -> None:
    """Erase every node that reaches no output (inputs stay), and every array that no node reads."""
    erase_dead(graph)
    drop_unread(graph)


def drop_unread(graph: Graph) -> None:
    """Drop the arrays that no constant names."""
    read = {node.attrs.data for _, node in graph.nodes() if node.op == "constant"}
    unread = [key for key in graph.constants if key not in read]
    for key in unread:
        del graph.constants[key]
    graph.version += bool(unread)


@dataclass(frozen=True, slots=True)
class EliminateDead:
    """Erase nodes that reach no output; declared inputs stay, they are part of the interface."""

    name: ClassVar[str] = "eliminate-dead"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Sweep the whole graph."""
        before = {
            node_id: label(graph, node_id)
            for node_id, node in graph.nodes()
            if node.op not in ("input", "constant")
        }
        sweep(graph)
        for node_id, name in before.items():
            if node_id not in graph:
                reason = "no output of the network depends on it"
                record(graph, Decision(name, "erased", reason, by=self.name))
