"""The graph: one networkx multigraph of typed nodes. The only importer of networkx.

A node is an operator applied to operands; it has one result. Node ids are integers that are never
reused, so they can be kept across rewrites; identity never comes from a position. The edge from an
operand to its user carries the operand's index as its key, so `add(x, x)` is two edges and no
second list has to be kept in step. Every mutator bumps `version`, from which the pass runner knows
whether a pass changed anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx  # noqa: TID251 - the one place where the graph library is seen
from numpy.typing import NDArray

from cnncc.errors import InternalError, Span
from cnncc.ir.types import TensorType


@dataclass(slots=True)
class Node:
    """One operator application.

    Attributes:
        op: the operator's name in the registry (`cnncc.ops`).
        attrs: the operator's frozen `Attrs`; they change results.
        type: the result's type, once inferred.
        name: a stable, dotted path such as `layer1.0.conv1`; unique in the graph, or empty.
        spans: where it came from; a rewritten node keeps the spans of all it replaces.
        notes: decisions of the plan (layout, kernel, tile, ...); they never change results.
    """

    op: str
    attrs: Any
    type: TensorType | None = None
    name: str = ""
    spans: tuple[Span, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


class Graph:
    """A network: nodes, the order of its inputs and outputs, and the arrays of its constants.

    Attributes:
        name: the model's name.
        inputs: ids of the `input` nodes in declared order.
        outputs: ids of the results in declared order, each with its public name.
        constants: arrays by name; a `constant` node names one. Weights are values of the graph.
        meta: facts that do not compute: labels, source, parameter and MAC counts ...
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self.inputs: list[int] = []
        self.outputs: list[tuple[str, int]] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.meta: dict[str, Any] = {}
        self.version = 0
        self._nx: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        self._nodes: dict[int, Node] = {}
        # Passes ask for edges far more often than they change them.
        self._operands: dict[int, tuple[int, ...]] = {}
        self._users: dict[int, list[tuple[int, int]]] = {}
        self._next_id = 0
        self._order: tuple[int, list[int]] = (-1, [])  # version, ids in topological order

    # -- reading ---------------------------------------------------------------------------------

    def __getitem__(self, node_id: int) -> Node:
        return self._nodes[node_id]

    def __contains__(self, node_id: int) -> bool:
        return node_id in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def operands(self, node_id: int) -> tuple[int, ...]:
        """Ids of the operands, in order."""
        found = self._operands.get(node_id)
        if found is None:
            edges = sorted((key, src) for src, _, key in self._nx.in_edges(node_id, keys=True))
            found = self._operands[node_id] = tuple(src for _, src in edges)
        return found

    def operand_indices(self, node_id: int) -> list[int]:
        """Indices at which operands are connected: 0 to n-1 in a sound graph."""
        return sorted(key for _, _, key in self._nx.in_edges(node_id, keys=True))

    def users(self, node_id: int) -> list[tuple[int, int]]:
        """Pairs (user, operand index) that read this node, in a fixed order."""
        return list(self._readers(node_id))

    def _readers(self, node_id: int) -> list[tuple[int, int]]:
        found = self._users.get(node_id)
        if found is None:
            found = sorted((dst, key) for _, dst, key in self._nx.out_edges(node_id, keys=True))
            self._users[node_id] = found
        return found

    def is_output(self, node_id: int) -> bool:
        """Whether the node is a result of the network."""
        return any(node_id == out for _, out in self.outputs)

    def type_of(self, node_id: int) -> TensorType:
        """The inferred type; an internal error when types have not been inferred yet."""
        found = self[node_id].type
        if found is None:
            raise InternalError(f"node {node_id} ({self[node_id].op}) has no type yet")
        return found

    def order(self) -> list[int]:
        """Ids in topological order, ties broken by id: the same for every run.

        Raises:
            InternalError: the graph has a cycle.
        """
        version, known = self._order
        if version == self.version:
            return list(known)
        missing = {n: len(self.operands(n)) for n in self._nodes}
        ready = [n for n, degree in missing.items() if degree == 0]
        heapq.heapify(ready)
        done: list[int] = []
        while ready:
            node_id = heapq.heappop(ready)
            done.append(node_id)
            for user, _ in self._readers(node_id):
                missing[user] -= 1
                if missing[user] == 0:
                    heapq.heappush(ready, user)
        if len(done) != len(self._nodes):
            raise InternalError(f"graph `{self.name}` has a cycle")
        self._order = (self.version, done)
        return list(done)

    def nodes(self) -> Iterator[tuple[int, Node]]:
        """Pairs (id, node) in topological order."""
        for node_id in self.order():
            yield node_id, self[node_id]

    def constant(self, node_id: int) -> NDArray[Any] | None:
        """The array of a `constant` node, else None."""
        node = self[node_id]
        return self.constants[node.attrs.data] if node.op == "constant" else None

    def named_constants(self) -> set[str]:
        """Names of the arrays that some `constant` node names."""
        return {node.attrs.data for node in self._nodes.values() if node.op == "constant"}

    # -- writing ---------------------------------------------------------------------------------

    def add(
        self,
        op: str,
        operands: Sequence[int] = (),
        attrs: Any = None,
        *,
        type: TensorType | None = None,
        name: str = "",
        spans: tuple[Span, ...] = (),
        notes: Mapping[str, Any] | None = None,
    ) -> int:
        """Add a node and return its id. Types are inferred by `cnncc.ir.build` or a pass."""
        node_id = self._next_id
        self._next_id += 1
        self._nx.add_node(node_id)
        self._nodes[node_id] = Node(op, attrs, type, name, spans, dict(notes or {}))
        for index, operand in enumerate(operands):
            self._connect(operand, node_id, index)
        if op == "input":
            self.inputs.append(node_id)
        self.version += 1
        return node_id

    def set_operand(self, node_id: int, index: int, operand: int) -> None:
        """Make `operand` the operand at `index`."""
        for src, _, key in list(self._nx.in_edges(node_id, keys=True)):
            if key == index:
                self._nx.remove_edge(src, node_id, key)
                self._forget(src, node_id)
        self._connect(operand, node_id, index)
        self.version += 1

    def replace_uses(self, old: int, new: int) -> None:
        """Let every user of `old`, and the network's outputs, read `new` instead."""
        if old == new:
            return
        for user, index in self.users(old):
            if user != new:
                self.set_operand(user, index, new)
        self.outputs = [(name, new if out == old else out) for name, out in self.outputs]
        self.version += 1

    def erase(self, node_id: int) -> None:
        """Remove a node that nothing reads."""
        if self._nx.out_degree(node_id) or self.is_output(node_id):
            raise InternalError(f"node {node_id} ({self[node_id].op}) is still used")
        for operand in self.operands(node_id):
            self._users.pop(operand, None)
        self._operands.pop(node_id, None)
        self._users.pop(node_id, None)
        self._nx.remove_node(node_id)
        del self._nodes[node_id]
        self.inputs = [i for i in self.inputs if i != node_id]
        self.version += 1

    def renumber(self, ids: Mapping[int, int], next_id: int) -> None:
        """Give every node another id, and count on from `next_id`: how a dump gets its ids back.

        Raises:
            InternalError: two nodes would share an id, a node has none, or `next_id` is in use.
        """
        new = set(ids.values())
        sound = set(ids) == set(self._nodes) and len(new) == len(ids)
        if not sound or max(new, default=-1) >= next_id:
            raise InternalError("ids must be distinct, one a node, and below the next one")
        self._nx = nx.relabel_nodes(self._nx, dict(ids), copy=True)
        self._nodes = {ids[old]: node for old, node in self._nodes.items()}
        self._operands, self._users = {}, {}
        self.inputs = [ids[i] for i in self.inputs]
        self.outputs = [(name, ids[out]) for name, out in self.outputs]
        self._next_id = next_id
        self.version += 1

    @property
    def next_id(self) -> int:
        """The id that the next node will get."""
        return self._next_id

    def copy(self) -> Graph:
        """An independent graph with the same ids; arrays are shared, nodes are not."""
        twin = Graph(self.name)
        twin.inputs = list(self.inputs)
        twin.outputs = list(self.outputs)
        twin.constants = dict(self.constants)
        twin.meta = {k: list(v) if isinstance(v, list) else v for k, v in self.meta.items()}
        twin._next_id = self._next_id
        for node_id, node in self._nodes.items():
            twin._nx.add_node(node_id)
            twin._nodes[node_id] = replace(node, notes=dict(node.notes))
        for src, dst, key in self._nx.edges(keys=True):
            twin._nx.add_edge(src, dst, key)
        return twin

    def _connect(self, operand: int, user: int, index: int) -> None:
        if operand not in self._nodes:
            raise InternalError(f"operand {operand} of node {user} is not in the graph")
        self._nx.add_edge(operand, user, index)
        self._forget(operand, user)

    def _forget(self, operand: int, user: int) -> None:
        """An edge between the two is another one."""
        self._users.pop(operand, None)
        self._operands.pop(user, None)
