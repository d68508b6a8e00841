"""decompose: write what has no kernel of its own in terms of what has.

batch_norm(x) = scale(x, w, b) with w = scale/√(var + eps) and b = bias - mean·w, computed in
float64; dropout(x) = x and identity(x) = x. Afterwards, with the dead swept away, the graph is
canonical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.errors import UnsupportedError
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.passes.eliminate_dead import sweep
from cnncc.passes.fold_batchnorm import read_affine
from cnncc.passes.match import label


def hand_on(graph: Graph, node_id: int) -> int:
    """The operand itself."""
    return graph.operands(node_id)[0]


def _batch_norm_to_scale(graph: Graph, node_id: int) -> int:
    node, affine = graph[node_id], read_affine(graph, node_id)
    if affine is None:
        raise UnsupportedError(
            f"{label(graph, node_id)}: batch_norm needs constant parameters",
            hint="compute with mul and add where scale, bias, mean or var come from the network",
            span=node.spans[-1] if node.spans else None,
        )
    with np.errstate(all="ignore"):
        vectors = [v.astype(np.float32) for v in (affine.factor, affine.shift)]
    parts = [
        add_constant(graph, f"{label(graph, node_id)}.{part}", vector, spans=node.spans)
        for part, vector in zip(("factor", "shift"), vectors, strict=True)
    ]
    return add_typed(graph, "scale", [affine.x, *parts], spans=node.spans)


NOTHING = (
    Rule("dropout(x) = x", hand_on, frozenset({"dropout"})),
    Rule("identity(x) = x", hand_on, frozenset({"identity"})),
)
BATCH_NORM = Rule("batch_norm(x) = scale(x, w, b)", _batch_norm_to_scale, frozenset({"batch_norm"}))


@dataclass(frozen=True, slots=True)
class Decompose:
    """Replace `batch_norm`, `dropout` and `identity`."""

    name: ClassVar[str] = "decompose"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "canonical"

    def run(self, graph: Graph) -> None:
        """Rewrite `graph` into canonical form.

        Raises:
            UnsupportedError: a batch norm's parameters are computed by the network.
        """
        rewrite(graph, (BATCH_NORM, *NOTHING), by=self.name)
        sweep(graph)
