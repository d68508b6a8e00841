"""Plans of small networks, and what every plan must keep."""

from __future__ import annotations

import numpy as np

from cnncc import driver, pipeline
from cnncc.ir import interp
from cnncc.ir.decisions import Decision, decisions
from cnncc.ir.graph import Graph
from cnncc.plan.choose_kernel import ChooseKernel
from cnncc.plan.choose_layout import ChooseLayout
from cnncc.plan.lower import Plan
from cnncc.plan.plan_memory import PlanMemory
from cnncc.plan.site import is_computed
from cnncc.targets import find
from cnncc.verification import check_layers, interpreter_engine, observe, random_inputs

SSE = find("x86-64")


def laid_out(graph: Graph, target=SSE) -> Graph:
    """The graph as it is, without any rewriting, with layouts chosen."""
    graph.meta["level"] = "fused"
    ChooseLayout(target).run(graph)
    return graph


def placed(graph: Graph, target=SSE) -> Graph:
    """The graph as it is with all decisions of the plan."""
    laid_out(graph, target)
    ChooseKernel(target).run(graph)
    PlanMemory().run(graph)
    return graph


def plan_of(graph: Graph, target=SSE) -> Plan:
    """The whole pipeline and the program."""
    return driver.plan_model(driver.Model(graph, ()), target).plan


def check(graph: Graph, target=SSE, *, layers: bool = True, threads: int = 1) -> Plan:
    """Plan a network; its notes must not change numbers and its program must compute it.

    The arena is full of NaN when the program starts, so nothing may be read that was not written.
    """
    plan = plan_of(graph, target)
    assert_buffers_disjoint(plan.graph)
    before = graph.copy()
    pipeline.run(before, pipeline.standard())
    expected = interp.run(before, feed(before))
    bare = plan.graph.copy()
    for _, node in bare.nodes():
        node.notes.clear()
    for found in (interp.run(plan.graph, feed(graph)), interp.run(bare, feed(graph))):
        for want, got in zip(expected, found, strict=True):
            assert np.array_equal(want, got)
    if layers:
        engine = interpreter_engine(plan.program, threads)
        inputs = random_inputs(plan.interface.inputs)
        for layer in check_layers(plan, engine, inputs):
            assert layer.mismatch is None, f"{layer.path} ({layer.op}): {layer.mismatch}"
        assert set(observe(plan, engine, inputs)) >= {n for _, n in plan.graph.outputs}
    return plan


def feed(graph: Graph, seed: int = 1) -> dict[int, np.ndarray]:
    """A random sample for each input, by position."""
    rng = np.random.default_rng(seed)
    made: dict[int, np.ndarray] = {}
    for position, node_id in enumerate(graph.inputs):
        attrs = graph[node_id].attrs
        if attrs.dtype.numpy.kind == "f":
            made[position] = rng.standard_normal(attrs.shape)
        else:
            made[position] = rng.integers(0, 100, attrs.shape).astype(attrs.dtype.numpy)
    return made


def assert_buffers_disjoint(graph: Graph) -> None:
    """No two values that are alive at the same step share memory, unless one is in the other.

    Written without the planner's intervals: step by step, with the exact spans of the values.
    """
    steps = {n: s for s, n in enumerate(graph.order())}
    values = [n for n, node in graph.nodes() if "place" in node.notes]
    owner = {v: v for v in values}
    for v in values:
        while "alias" in graph[owner[v]].notes:
            owner[v] = graph[owner[v]].notes["alias"][0]
    lives: dict[int, tuple[int, int]] = {}
    for v in values:
        writes = steps[v]
        reads = [steps[u] for u, _ in graph.users(v)]
        first, last = lives.get(owner[v], (writes, writes))
        lives[owner[v]] = min(first, writes), max([last, writes, *reads])
    spans = {o: graph[o].notes["layout"].elems for o in lives}
    for a in lives:
        for b in lives:
            if a >= b or lives[a][0] > lives[b][1] or lives[b][0] > lives[a][1]:
                continue
            start, other = graph[a].notes["place"], graph[b].notes["place"]
            if start < other + spans[b] and other < start + spans[a]:
                later, earlier = (a, b) if lives[a][0] > lives[b][0] else (b, a)
                index = graph[later].notes.get("in_place")
                chain = index is not None and lives[earlier][1] == lives[later][0]
                assert chain, f"{a} and {b} overlap"
    for v in values:
        assert graph[v].notes["place"] + graph[v].notes["layout"].elems <= graph.meta["arena_elems"]


def copies(graph: Graph) -> int:
    """Copies inside the network: `relayout` nodes that are at neither end of it."""
    ends = {n for _, n in graph.outputs}
    return sum(
        node.op == "relayout"
        and node_id not in ends
        and graph[graph.operands(node_id)[0]].op != "input"
        for node_id, node in graph.nodes()
    )


def computed(graph: Graph) -> list[str]:
    """Operators that run, in order, without the copies at both ends."""
    return [n.op for i, n in graph.nodes() if is_computed(graph, i) and n.op != "relayout"]


def by(graph: Graph, name: str) -> list[Decision]:
    """The decisions of one pass."""
    return [d for d in decisions(graph) if d.by == name]
