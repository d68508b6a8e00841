"""fuse: an anchor and what follows it become one node, computed in one loop nest.

Every value inside a group is read by the next member only, so contracting groups never makes a
cycle: a path that leaves a group leaves it through its last member, and whatever a member reads
from outside was computed without that member. Among the convolutions that a residual `add` could
join, the one behind the longest path takes it: in the first block of a stage that is the one whose
likes in the other blocks take theirs, and like nodes share their code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cnncc.ir.build import add_typed
from cnncc.ir.decisions import Decision, decisions, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.rewrite import merge_spans, replace
from cnncc.ir.types import DType
from cnncc.ops.channels import computes_on_maps, is_channel_shaped
from cnncc.ops.fused import FusedAttrs, Step
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.passes.fuse_pool import prevents_tiles, recomputed, refuses_pool, refuses_window
from cnncc.passes.match import is_pointwise, label, sole_user

ANCHORS = frozenset(
    {
        *("conv2d", "conv2d_transpose", "dense"),
        *WINDOW_POOLS,
        *("global_avg_pool", "global_max_pool"),
    }
)
"""What computes on maps in blocks of channels, and takes steps along."""
ROW_ANCHORS = frozenset({"matmul"})
"""What computes on arrays of any shape, row by row, and takes steps along."""


@dataclass(slots=True)
class _Group:
    """Members of one loop nest, in order.

    Attributes:
        members: their ids.
        anchored: whether the first is one of the operators that compute on maps.
        closed: whether a pool ends it.
        waited_for: whether a deeper group reads its value in a step that it could have taken.
    """

    members: list[int]
    anchored: bool
    closed: bool = False
    waited_for: bool = False
    rejected: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def tail(self) -> int:
        """The member whose value the group gives."""
        return self.members[-1]


@dataclass(frozen=True, slots=True)
class Fuse:
    """Group anchors with pointwise steps and pools behind them, and pointwise chains on their own.

    Attributes:
        max_epilogue: most steps behind the first one.
        pools: whether a convolution may take the pool behind it into its loop nest.
        winograd: whether kernels may filter in a transformed domain, tile by tile, which a pool
            whose windows overlap would prevent.
    """

    name: ClassVar[str] = "fuse"
    needs: ClassVar[str] = "canonical"
    gives: ClassVar[str] = "fused"

    max_epilogue: int = 8
    pools: bool = True
    winograd: bool = True

    def run(self, graph: Graph) -> None:
        """Group the nodes, then build one `fused` node for each group of at least two."""
        for group in _Grouping(graph, self).groups():
            subject = label(graph, group.members[0])
            rejected = tuple(group.rejected)
            if len(group.members) == 1:
                if group.anchored and rejected:
                    reason = "nothing behind it can join its loop nest"
                    self._record(graph, Decision(subject, "alone", reason, rejected, by=self.name))
                if group.waited_for:
                    _delay(graph, group.members[0])
                continue
            words = " + ".join(graph[m].op for m in group.members)
            figures = {"bytes_saved": _bytes_saved(graph, group), **group.figures}
            reason = "values between the members stay in registers"
            if group.closed and group.anchored:
                reason = "values before the pool stay in a band that the cache holds"
            _build(graph, group.members)
            self._record(graph, Decision(subject, words, reason, rejected, figures, self.name))

    @staticmethod
    def _record(graph: Graph, decision: Decision) -> None:
        if all(d.by != decision.by for d in decisions(graph, decision.subject)):
            record(graph, decision)


class _Grouping:
    """The partition of a graph's nodes into groups; reads the graph, never changes it."""

    def __init__(self, graph: Graph, options: Fuse) -> None:
        self._graph = graph
        self._options = options
        self._order = graph.order()
        self._depth: dict[int, int] = {}
        for node_id in self._order:
            self._depth[node_id] = 1 + max(
                map(self._depth.__getitem__, graph.operands(node_id)), default=0
            )
        self._by_tail: dict[int, _Group] = {}
        self._groups: list[_Group] = []

    def groups(self) -> list[_Group]:
        """All groups, each with the reasons why it ends where it does."""
        for node_id in self._order:
            if self._graph[node_id].op in ANCHORS:
                if not computes_on_maps(self._graph, node_id):
                    continue
                if not self._take_pool(node_id):
                    self._open(node_id, anchored=True)
            elif self._graph[node_id].op in ROW_ANCHORS:
                self._open(node_id, anchored=True)
            elif is_pointwise(self._graph, node_id) and not self._take_step(node_id):
                self._open(node_id, anchored=False)
        for group in self._groups:
            self._explain_end(group)
        return self._groups

    def _open(self, node_id: int, *, anchored: bool) -> None:
        group = _Group([node_id], anchored)
        self._groups.append(group)
        self._by_tail[node_id] = group

    def _append(self, group: _Group, node_id: int) -> None:
        del self._by_tail[group.tail]
        group.members.append(node_id)
        self._by_tail[node_id] = group

    def _take_step(self, node_id: int) -> bool:
        """Let the best group take a pointwise node; False when none can."""
        hosts = [
            self._by_tail[o]
            for o in dict.fromkeys(self._graph.operands(node_id))
            if o in self._by_tail and not self._refuses_step(self._by_tail[o], node_id)
        ]
        if not hosts:
            return False
        best = max(hosts, key=lambda g: (g.anchored, self._depth[g.members[0]], g.members[0]))
        for host in hosts:
            host.waited_for = host is not best
        self._append(best, node_id)
        return True

    def _refuses_step(self, group: _Group, node_id: int) -> str:
        """Why a pointwise node cannot run behind a group; empty when it can."""
        graph, tail = self._graph, group.tail
        reason = self._refuses_reader(group, node_id)
        if reason:
            return reason
        if graph.type_of(tail).shape != graph.type_of(node_id).shape:
            return f"its result {graph.type_of(node_id)} is larger than {graph.type_of(tail)}"
        if not group.anchored:
            return ""
        if graph[group.members[0]].op in ROW_ANCHORS:
            return self._refuses_rows(node_id)
        return self._refuses_operands(node_id, tail)

    def _refuses_reader(self, group: _Group, node_id: int) -> str:
        """Why the group cannot grow at its tail at all."""
        if group.closed:
            return "a pool ends the loop nest"
        if self._graph.is_output(group.tail):
            return f"{label(self._graph, group.tail)} is an output of the network"
        if sole_user(self._graph, group.tail) != node_id:
            readers = len({user for user, _ in self._graph.users(group.tail)})
            return f"{label(self._graph, group.tail)} is read by {readers} nodes"
        if len(group.members) > self._options.max_epilogue:
            return f"a group has at most {self._options.max_epilogue} steps behind the first"
        return ""

    def _refuses_rows(self, node_id: int) -> str:
        """Why a step cannot run on the rows of a result; its operands may be spread over them."""
        graph = self._graph
        for value in (*graph.operands(node_id), node_id):
            if graph.type_of(value).dtype is not DType.F32:
                return f"{label(graph, value)} is {graph.type_of(value).dtype}"
        if lookup(graph[node_id].op).per_channel:
            return f"`{graph[node_id].op}` has parameters a channel"
        return ""

    def _refuses_operands(self, node_id: int, tail: int | None) -> str:
        """Why the operands besides the chain cannot be read element by element."""
        graph, result = self._graph, self._graph.type_of(node_id)
        if result.dtype is not DType.F32:
            return f"its result is {result.dtype}"
        for operand in graph.operands(node_id):
            if operand == tail:
                continue
            found, word = graph.type_of(operand), label(graph, operand)
            if found.dtype is not DType.F32:
                return f"{word} is {found.dtype}"
            if graph[operand].op == "constant":
                rule = lookup(graph[node_id].op)
                if is_channel_shaped(rule, found.shape, result.shape):
                    continue
                return f"the constant {word} {found} has more than one value a channel"
            gate = found.shape == (*result.shape[:2], 1, 1)
            if found != result and not gate:
                return f"{word} {found} is neither constant nor of the shape of the result"
        return ""

    def _take_pool(self, node_id: int) -> bool:
        """Let a group end with a pool; False when it stays outside."""
        group = self._by_tail.get(self._graph.operands(node_id)[0])
        if group is None or self._graph[node_id].op not in WINDOW_POOLS:
            return False
        if self._refuses_pool(group, node_id):
            return False
        if group.anchored:
            before, after = self._graph.type_of(group.tail), self._graph.type_of(node_id)
            share = recomputed(before, after, self._graph[node_id].attrs)
            group.figures["times_computed_at_most"] = round(share, 3)
        self._append(group, node_id)
        group.closed = True
        return True

    def _refuses_pool(self, group: _Group, node_id: int) -> str:
        """Why a pool stays outside a group; empty when it can end it."""
        graph, anchor = self._graph, self._graph[group.members[0]]
        reason = self._refuses_reader(group, node_id)
        if reason:
            return reason
        if not self._options.pools:
            return "fusion of pools is switched off"
        if not group.anchored:
            return self._refuses_pool_of_steps(group, node_id)
        if anchor.op != "conv2d":
            return f"only a conv2d takes a pool into its loop nest, not `{anchor.op}`"
        before, after = graph.type_of(group.tail), graph.type_of(node_id)
        w = graph.type_of(graph.operands(group.members[0])[1])
        if self._options.winograd and prevents_tiles(anchor.attrs, w, graph[node_id].attrs):
            return "the convolution has far fewer multiplications in whole tiles of its result"
        return refuses_pool(before, after, graph[node_id].attrs, anchor.attrs.groups)

    def _refuses_pool_of_steps(self, group: _Group, node_id: int) -> str:
        """Why a pool cannot combine in registers what a chain of steps makes of each pixel."""
        for before, member in zip([None, *group.members], group.members, strict=False):
            reason = self._refuses_operands(member, before)
            if reason:
                return reason
        return refuses_window(self._graph[node_id].attrs)

    def _explain_end(self, group: _Group) -> None:
        """Note for each reader of the group's value why it is not a member."""
        graph = self._graph
        for user in dict.fromkeys(user for user, _ in graph.users(group.tail)):
            node = graph[user]
            if node.op in WINDOW_POOLS:
                reason = self._refuses_pool(group, user)
            elif is_pointwise(graph, user):
                reason = self._refuses_step(group, user) or self._taken_by(user)
            elif node.op in ANCHORS | ROW_ANCHORS or node.op == "fused":
                continue  # one anchor a loop nest: nothing was considered, so nothing rejected
            else:
                reason = f"`{node.op}` is a loop nest of its own"
            group.rejected.append((f"take {label(graph, user)}", reason))

    def _taken_by(self, node_id: int) -> str:
        host = next(g for g in self._groups if node_id in g.members)
        why = "lies deeper" if host.anchored else "takes its other operand"
        return f"it runs behind {label(self._graph, host.members[0])}, which {why}"


def _steps(graph: Graph, members: list[int]) -> tuple[list[int], tuple[Step, ...]]:
    """The operands of a group in order of use, and its steps."""
    operands: list[int] = []
    steps = []
    for node_id in members:
        args = []
        for operand in graph.operands(node_id):
            if operand in members:
                args.append(~members.index(operand))
                continue
            if operand not in operands:
                operands.append(operand)
            args.append(operands.index(operand))
        steps.append(Step(graph[node_id].op, graph[node_id].attrs, tuple(args)))
    return operands, tuple(steps)


def _bytes_saved(graph: Graph, group: _Group) -> int:
    """Bytes neither written nor read again, as the values between members stay inside."""
    return 2 * sum(graph.type_of(m).size_bytes for m in group.members[:-1])


def _delay(graph: Graph, node_id: int) -> None:
    """Give a node a new id, so that it runs behind the nodes before it and just before its reader.

    Its operands are alive anyway when they are those of the longer path as well.
    """
    node, name = graph[node_id], graph[node_id].name
    operands, notes = graph.operands(node_id), dict(node.notes)
    new = add_typed(graph, node.op, operands, node.attrs, spans=node.spans, notes=notes)
    replace(graph, node_id, new)
    graph[new].name = name


def _build(graph: Graph, members: list[int]) -> int:
    operands, steps = _steps(graph, members)
    names = [label(graph, m) for m in members]
    name = next((graph[m].name for m in members if graph[m].name), "")
    spans = merge_spans(*(graph[m].spans for m in members))
    fused = add_typed(
        graph, "fused", operands, FusedAttrs(steps), spans=spans, notes={"members": names}
    )
    replace(graph, members[-1], fused)
    graph[fused].name = name
    return fused
