"""infer-types: give every node its type, so that every later pass may ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.errors import TypeInferenceError
from cnncc.ir import build
from cnncc.ir.graph import Graph
from cnncc.passes.match import label


@dataclass(frozen=True, slots=True)
class InferTypes:
    """Types in topological order; a type that was written down is checked, never overwritten."""

    name: ClassVar[str] = "infer-types"
    needs: ClassVar[str] = "parsed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Type every node of `graph`.

        Raises:
            TypeInferenceError: operands do not fit an operator, or a type that was written down is
                not the one that follows; names the node and carries its place.
        """
        for node_id, node in graph.nodes():
            place = node.spans[-1] if node.spans else None
            try:
                found = build.infer(graph, node.op, graph.operands(node_id), node.attrs)
            except TypeInferenceError as error:
                raise TypeInferenceError(
                    f"{label(graph, node_id)}: {error.message}", hint=error.hint, span=place
                ) from None
            if node.type is None:
                node.type = found
                graph.version += 1
            elif node.type != found:
                raise TypeInferenceError(
                    f"{label(graph, node_id)} is declared as {node.type}, but `{node.op}`"
                    f" gives {found}",
                    hint=f"write {found}, or leave the type out",
                    span=place,
                )
