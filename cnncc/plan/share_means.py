"""Global averages begin in the loop nest of the depthwise convolution before them.

Squeeze-and-excitation reads a feature map twice: for its average, and to scale it by what becomes
of that. The kernel that computes the map has every row in registers, so it can give the rows' means
[1,C,H,1] as well; the average of those is the same number, and reads next to nothing. In the graph
the means are a node of their own, an average pool over rows, with a note that another makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cnncc.ir.build import add_typed
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.kernels.layout import NO_HALO, Layout
from cnncc.ops.pool import AvgPool2dAttrs
from cnncc.options import DEFAULTS, Options
from cnncc.plan.bridge import free_name
from cnncc.plan.choose_kernel import candidates
from cnncc.plan.site import is_computed, site_of, steps_of
from cnncc.targets.target import Target

SWITCH = "row-means"
_LEAST_COLUMNS = 4  # with fewer there is little to save


@dataclass(frozen=True, slots=True)
class ShareMeans:
    """Notes `made_by` on the means of rows: the node whose kernel writes them.

    Attributes:
        target: the machine.
        options: optimisations that are left out.
    """

    target: Target
    options: Options = DEFAULTS
    name: ClassVar[str] = "share-means"
    needs: ClassVar[str] = "fused"
    gives: ClassVar[str] = "fused"

    def run(self, graph: Graph) -> None:
        """Look at each global average."""
        if not self.options.uses(SWITCH):
            return
        for node_id in graph.order():
            steps = steps_of(graph, node_id)
            if steps[0].op == "global_avg_pool" and is_computed(graph, node_id):
                self._consider(graph, node_id, steps[0].args[0])

    def _consider(self, graph: Graph, average: int, index: int) -> None:
        source = graph.operands(average)[index]
        layout = graph[source].notes.get("layout")
        if not isinstance(layout, Layout) or layout.width < _LEAST_COLUMNS:
            return
        if graph[source].op not in ("conv2d", "fused") or not is_computed(graph, source):
            return
        if any("made_by" in graph[user].notes for user, _ in graph.users(source)):
            return
        offers, _ = candidates(site_of(graph, source, self.target), self.options)
        if not offers or not offers[0][0].gives_means:
            return
        attrs = AvgPool2dAttrs(window=(1, layout.width), strides=(1, layout.width))
        name = free_name(graph, f"{graph[average].name or 'average'}.rows")
        means = add_typed(
            graph, "avg_pool2d", [source], attrs, name=name, spans=graph[average].spans
        )
        held = replace(layout, width=1, halo=NO_HALO)
        graph[means].notes.update({"layout": held, "made_by": source})
        graph.set_operand(average, index, means)
        saved = {"bytes_saved": float(graph.type_of(source).size_bytes)}
        site = site_of(graph, source, self.target)
        reason = "the rows are in registers there, and need not be read again"
        choice = f"averages the means of rows that {site.name} gives"
        subject = site_of(graph, average, self.target).name
        record(graph, Decision(subject, choice, reason, figures=saved, by=self.name))
