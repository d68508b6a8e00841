"""Blocks: two nodes become one where that is quicker.

They are a convolution with the depthwise one behind it, or a gate with the 1x1 convolution behind
it. Unlike the groups of `passes/fuse.py` this asks the machine: what is saved is the way of the map
in between through the caches, what is paid is the convolution's choice of tiles, or the gating of
its filters. Layouts are known, so the kernels' own estimates decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnncc.ir import rewrite
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.kernels.convolution.conv_block import ConvBlock
from cnncc.kernels.convolution.conv_gated import ConvGated
from cnncc.kernels.template import Kernel, Site
from cnncc.ops.fused import FusedAttrs, Step
from cnncc.options import DEFAULTS, Options
from cnncc.plan.choose_kernel import candidates
from cnncc.plan.site import is_computed, site_of, steps_of
from cnncc.targets.target import Target

_KERNELS: tuple[Kernel, ...] = (ConvBlock(), ConvGated())
_REASONS = {
    ConvBlock.name: "rows in between stay in the cache",
    ConvGated.name: "filters are fewer than the map's numbers",
}
_GRAIN = 1.01  # predictions closer than this are equal: then one node, which needs less memory


@dataclass(frozen=True, slots=True)
class FuseBlocks:
    """Puts pairs of nodes together; the new node lies where the second one lay.

    Attributes:
        target: the machine.
        options: optimisations that are left out.
    """

    target: Target
    options: Options = DEFAULTS
    name: ClassVar[str] = "fuse-blocks"
    needs: ClassVar[str] = "fused"
    gives: ClassVar[str] = "fused"

    def run(self, graph: Graph) -> None:
        """Look at each convolution that alone reads the result of another, or a gated map."""
        for kernel in filter(lambda k: self.options.uses(k.switch), _KERNELS):
            for node_id in graph.order():
                first = _node_before(graph, node_id, kernel)
                if first is not None:
                    self._consider(graph, first, node_id, kernel)

    def _consider(self, graph: Graph, first: int, second: int, kernel: Kernel) -> None:
        sites = [site_of(graph, n, self.target) for n in (first, second)]
        site, operands = joined(graph, first, second, *sites)
        if kernel.refuses(site):
            return
        apart = [candidates(s, self.options)[0] for s in sites]
        if not all(apart):
            return
        alone = sum(offers[0][1].seconds for offers in apart)
        together = kernel.estimate(site).seconds
        words = f"a node each, predicted {alone * 1e6:.1f} us"
        block = f"one node, predicted {together * 1e6:.1f} us"
        subject, name = sites[0].name, sites[1].name
        if together > _GRAIN * alone:
            reason = f"quicker than a block with {name}"
            record(graph, Decision(subject, words, reason, (("a block", block),), by=self.name))
            return
        saved = {"bytes_saved": float(2 * graph.type_of(first).size_bytes)}
        notes = graph[second].notes | {
            "members": [
                m
                for s, n in zip(sites, (first, second), strict=True)
                for m in graph[n].notes.get("members", [s.name])
            ]
        }
        _build(graph, first, second, site, operands, notes)
        reason = _REASONS[kernel.name]
        rejected = (("apart", words),)
        record(graph, Decision(subject, block, reason, rejected, saved, self.name))


def _node_before(graph: Graph, node_id: int, kernel: Kernel) -> int | None:
    """The node of the kernel's kind whose result a convolution reads and nobody else does."""
    steps = _steps(graph, node_id)
    if steps is None or (steps[0].attrs.groups == 1) != (kernel.name == ConvGated.name):
        return None
    index = steps[0].args[0]
    if [a for step in steps for a in step.args].count(index) > 1:
        return None  # a step behind the convolution reads it too
    operand = graph.operands(node_id)[index]
    suits = _is_gate if kernel.name == ConvGated.name else _steps
    lonely = bool(suits(graph, operand)) and len(graph.users(operand)) == 1
    if not lonely or graph.is_output(operand) or "alias" in graph[operand].notes:
        return None
    return operand


def _is_gate(graph: Graph, node_id: int) -> bool:
    """Whether a node is a product of two values and nothing else."""
    return is_computed(graph, node_id) and [s.op for s in steps_of(graph, node_id)] == ["mul"]


def _steps(graph: Graph, node_id: int) -> tuple[Step, ...] | None:
    """The steps of a node with one convolution in blocks, which is its anchor; None for others."""
    if graph[node_id].op not in ("conv2d", "fused") or not is_computed(graph, node_id):
        return None
    operands = graph.operands(node_id)
    own = Step("conv2d", graph[node_id].attrs, tuple(range(len(operands))))
    steps = (own,) if graph[node_id].op == "conv2d" else graph[node_id].attrs.steps
    return steps if [s.op for s in steps].count("conv2d") == 1 and steps[0].op == "conv2d" else None


def joined(
    graph: Graph, first: int, second: int, before: Site, behind: Site
) -> tuple[Site, list[int]]:
    """The site of both nodes as one, and the operands that its steps read."""
    operands = list(graph.operands(first))
    places: list[int] = []  # of the second node's operands: in the new list, or the first's result
    for operand in graph.operands(second):
        if operand == first:
            places.append(~(len(before.steps) - 1))
            continue
        if operand not in operands:
            operands.append(operand)
        places.append(operands.index(operand))
    shift = len(before.steps)
    steps = tuple(
        replace(s, args=tuple(places[a] if a >= 0 else ~(~a + shift) for a in s.args))
        for s in behind.steps
    )
    where = {o: (before, i) for i, o in enumerate(graph.operands(first))}
    where |= {o: (behind, i) for i, o in enumerate(graph.operands(second)) if o not in where}
    found = [where[o] for o in operands]
    site = replace(
        behind,
        name=before.name,
        steps=(*before.steps, *steps),
        types=tuple(s.types[i] for s, i in found),
        layouts=tuple(s.layouts[i] for s, i in found),
        constants=tuple(s.constants[i] for s, i in found),
    )
    return site, operands


def _build(
    graph: Graph, first: int, second: int, site: Site, operands: list[int], notes: dict[str, Any]
) -> None:
    name = graph[first].name or graph[second].name
    spans = rewrite.merge_spans(graph[first].spans, graph[second].spans)
    new = graph.add(
        "fused", operands, FusedAttrs(site.steps), type=site.result, spans=spans, notes=notes
    )
    rewrite.replace(graph, second, new)
    graph[new].name = name
    for _, node in graph.nodes():
        if node.notes.get("alias", (None,))[0] == second:
            node.notes["alias"] = (new, node.notes["alias"][1])
        if second in node.notes.get("picks", ()):
            node.notes["picks"] = tuple(new if v == second else v for v in node.notes["picks"])
