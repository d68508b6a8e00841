"""Memory planning: which values share which part of the arena.

Nodes run one after the other; a buffer lives from the first node that writes into it to the last
that reads any value in it, or any that is picked out of it and others. `arena.py` finds the places.
A pointwise step whose operand dies with it writes over the operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from cnncc.abi import ALIGNMENT
from cnncc.errors import InternalError
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.kernels.layout import FlatLayout, Layout, RowMajor
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.plan.arena import Interval, most_live, place
from cnncc.plan.site import is_computed, label, steps_of

_ELEM_BYTES = 4
_ALIGN_ELEMS = ALIGNMENT // _ELEM_BYTES


@dataclass(frozen=True, slots=True)
class PlanMemory:
    """Notes `place` (element offset in the arena) on every value in it, and `in_place` on nodes.

    The graph's meta gets `arena_elems` and `arena_live_elems`, the most that lives at one time: no
    plan without recomputation can do with less.
    """

    name: ClassVar[str] = "plan-memory"
    needs: ClassVar[str] = "fused"
    gives: ClassVar[str] = "planned"

    def run(self, graph: Graph) -> None:
        """Plan the whole graph."""
        _Planner(graph).run()


def lies_in_arena(graph: Graph, value: int) -> bool:
    """Whether a value, or what it is a view of, lies in the arena and not in a caller's array."""
    if not isinstance(graph[value].notes.get("layout"), Layout | FlatLayout | RowMajor):
        return False
    while "alias" in graph[value].notes:
        value = graph[value].notes["alias"][0]
    return graph[value].op != "input" and not graph.is_output(value)


def replaceable(graph: Graph, node_id: int) -> list[int]:
    """Operands each element of which is read just before the same element is written."""
    steps = steps_of(graph, node_id)
    if steps[-1].op in WINDOW_POOLS or Trait.SOURCE in lookup(steps[0].op).traits:
        return []
    # What stands before the last anchor is read for other elements of the result as well.
    behind = 1 + max(
        (k for k, s in enumerate(steps) if Trait.POINTWISE not in lookup(s.op).traits), default=-1
    )
    anchored = [a for s in steps[:behind] for a in s.args if a >= 0]
    args = dict.fromkeys(a for s in steps[behind:] for a in s.args if a >= 0)
    return [a for a in args if a not in anchored]


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps = {n: s for s, n in enumerate(graph.order())}
        self.owner: dict[int, int] = {}
        self.offset: dict[int, int] = {}  # elements behind the start of the owner's buffer
        self.members: dict[int, list[int]] = {}
        self.picking: dict[int, list[int]] = {}  # value -> values picked out of it and others
        for node_id in self.steps:
            for value in graph[node_id].notes.get("picks", ()):
                self.picking.setdefault(value, []).append(node_id)

    def run(self) -> None:
        order = self.graph.order()
        for value in order:
            self._join(value)
        for node_id in order:
            self._reuse(node_id)
        intervals = [self._interval(owner) for owner in self.members]
        offsets, size = place(intervals)
        for owner, values in self.members.items():
            for value in values:
                self.graph[value].notes["place"] = offsets[owner] + self.offset[value]
        self._place_picks()
        for interval in intervals:
            self._explain(interval, offsets[interval.owner], intervals, offsets)
        self.graph.meta["arena_elems"] = size
        self.graph.meta["arena_live_elems"] = most_live(intervals)

    def _in_arena(self, value: int) -> bool:
        return lies_in_arena(self.graph, value)

    def _join(self, value: int) -> None:
        """Find the buffer that a value lies in: its own, or that of the value it is a view of."""
        if not self._in_arena(value):
            return
        owner, offset = value, 0
        while "alias" in self.graph[owner].notes:
            at, blocks = self.graph[owner].notes["alias"]
            layout = self.graph[owner].notes["layout"]
            offset += blocks * layout.plane_pitch if isinstance(layout, Layout) else 0
            owner = at
        self.owner[value], self.offset[value] = owner, offset
        self.members.setdefault(owner, []).append(value)

    def _last_use(self, values: Sequence[int]) -> int:
        readers = [u for v in values for u in (v, *self.picking.get(v, ()))]
        reads = [self.steps[u] for v in readers for u, _ in self.graph.users(v)]
        return max([*reads, *(self.steps[v] for v in values)])

    def _place_picks(self) -> None:
        """Tell values that are picked out of several buffers how far apart these lie."""
        for node_id in self.graph.order():
            notes = self.graph[node_id].notes
            if "picks" in notes:
                places = [self.graph[value].notes["place"] for value in notes["picks"]]
                starts = tuple(place - min(places) for place in places)
                notes["layout"] = replace(notes["layout"], starts=starts)

    def _interval(self, owner: int) -> Interval:
        values = self.members[owner]
        layout = self.graph[owner].notes["layout"]
        elems = -(-layout.words // _ALIGN_ELEMS) * _ALIGN_ELEMS
        notes = {v: self.graph[v].notes for v in values}
        writes = [self.steps[v] for v in values if is_computed(self.graph, v)]
        writes += [self.steps[n["made_by"]] for n in notes.values() if "made_by" in n]
        if not writes:
            raise InternalError(f"nothing writes the buffer of node {owner}")
        return Interval(owner, elems, min(writes), self._last_use(values))

    def _explain(
        self, item: Interval, offset: int, all_: Sequence[Interval], offsets: dict[int, int]
    ) -> None:
        """Record where a buffer lies and who lay there before."""
        names = self.graph.order()
        subject = label(self.graph, item.owner)
        end = offset + item.elems
        before = [
            label(self.graph, i.owner)
            for i in all_
            if i.last < item.first
            and offsets[i.owner] < end
            and offset < offsets[i.owner] + i.elems
        ]
        reused = f", over {', '.join(before[-3:])}, read for the last time before" if before else ""
        record(
            self.graph,
            Decision(
                subject,
                f"bytes {offset * _ELEM_BYTES:,} to {end * _ELEM_BYTES:,} of the arena",
                f"the lowest place that is free from {label(self.graph, names[item.first])} to"
                f" {label(self.graph, names[item.last])}{reused}",
                figures={"bytes": item.elems * _ELEM_BYTES},
                by="plan-memory",
            ),
        )

    # -- writing over an operand -------------------------------------------------------------------

    def _reuse(self, node_id: int) -> None:
        if not is_computed(self.graph, node_id) or self.owner.get(node_id) != node_id:
            return
        for index in replaceable(self.graph, node_id):
            operand = self.graph.operands(node_id)[index]
            if not self._dies_here(operand, node_id):
                continue
            node = self.graph[node_id]
            if self.graph[operand].notes["layout"] != node.notes["layout"]:
                continue
            node.notes["in_place"] = index
            self._merge(node_id, self.owner[operand])
            why = f"operand {index} is not read again and lies in the same layout"
            subject = label(self.graph, node_id)
            record(self.graph, Decision(subject, "written over an operand", why, by="plan-memory"))
            return

    def _dies_here(self, operand: int, node_id: int) -> bool:
        """Whether nothing in the operand's buffer is a view or is read after this node."""
        owner = self.owner.get(operand)
        if owner is None or len(self.members[node_id]) != 1:
            return False
        values = self.members[owner]
        if any("alias" in self.graph[v].notes or v in self.picking for v in values):
            return False
        return self._last_use(values) == self.steps[node_id]

    def _merge(self, node_id: int, owner: int) -> None:
        """The result of `node_id` lies in the buffer of `owner` from now on."""
        for value in self.members.pop(node_id):
            self.owner[value] = owner
            self.members[owner].append(value)
