"""Bridges: copies between values of different storage, and at the ends of the network."""

from __future__ import annotations

from itertools import count

from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.kernels.layout import DenseLayout
from cnncc.ops.channels import is_channel_shaped, is_map_or_vector
from cnncc.plan.choose_storage import TO_MAPS, TO_PIXELS, Storage, turns
from cnncc.plan.site import dimensions, steps_of


def bridge(graph: Graph, storages: dict[int, Storage]) -> None:
    """Bring every operand into the storage of its reader, and outputs into memory of their own.

    `storages` gets an entry for every node that is added.
    """
    _Bridges(graph, storages).build()
    _add_constants(graph, storages)


class _Bridges:
    """Puts copies between values of different storage, and at the ends of the network."""

    def __init__(self, graph: Graph, storages: dict[int, Storage]) -> None:
        self.graph = graph
        self.storages = storages
        self.copies: dict[tuple[int, Storage], int] = {}
        # Results come in the order in which the first input is handed over.
        self.memory = str(graph[graph.inputs[0]].attrs.memory) if graph.inputs else "hwc"

    def build(self) -> None:
        """Every operand in the storage of its reader, every output in memory of its own."""
        for node_id in list(self.graph.order()):
            storage = self.storages.get(node_id)
            if storage is None or self.graph[node_id].op == "normalize":
                continue
            for index, operand in enumerate(self.graph.operands(node_id)):
                if self.graph[operand].op != "constant":
                    wanted = self._wanted(node_id, operand, storage)
                    self.graph.set_operand(node_id, index, self._as(operand, wanted))
        direct: set[int] = set()
        for position, (name, value) in enumerate(list(self.graph.outputs)):
            if not self._is_ready(value, direct):
                value = self._end(name, value)
            direct.add(value)
            self.graph.outputs[position] = (name, value)

    def _wanted(self, node_id: int, operand: int, storage: Storage) -> Storage:
        """The storage in which a node reads an operand: its own, unless it is itself a bridge."""
        perm = turns(self.graph, node_id)
        if perm == TO_MAPS:
            return Storage.ROWS
        if perm == TO_PIXELS and self.storages.get(operand) is Storage.BLOCKED:
            return Storage.BLOCKED
        return storage

    def _as(self, value: int, storage: Storage) -> int:
        """The value in that storage: itself, or a copy that all such readers share."""
        found = self.storages[value] if value in self.storages else self._of_source(value)
        if found is storage:
            return value
        if (value, storage) not in self.copies:
            source = value
            if storage is Storage.ROWS and value not in self.storages:
                source = self._as(value, Storage.BLOCKED)  # a picture in hwc order
            node = self.graph[value]
            suffix = "blocked" if storage is Storage.BLOCKED else "rows"
            label = free_name(self.graph, f"{node.name or node.op}.{suffix}")
            made = add_typed(self.graph, "relayout", [source], name=label, spans=node.spans)
            self.storages[made] = storage
            self.copies[value, storage] = made
        return self.copies[value, storage]

    def _of_source(self, value: int) -> Storage | None:
        """Callers' arrays are in row-major order, but for pictures in hwc order."""
        picture = len(self.graph.type_of(value).shape) == 4
        return None if picture and self.graph[value].attrs.memory == "hwc" else Storage.ROWS

    def _is_ready(self, value: int, direct: set[int]) -> bool:
        """Whether an output may be computed straight into the caller's array."""
        if value in direct or self.storages.get(value) is not Storage.ROWS or self._turns(value):
            return False
        return steps_of(self.graph, value)[0].op not in ("reshape", "relayout")

    def _turns(self, value: int) -> bool:
        """Whether an output is a feature map that callers get in hwc order."""
        type_ = self.graph.type_of(value)
        return self.memory == "hwc" and is_map_or_vector(type_) and len(type_.shape) == 4

    def _end(self, name: str, value: int) -> int:
        graph, node = self.graph, self.graph[value]
        label, spans = free_name(graph, f"{name}.dense"), node.spans
        outside = value not in self.storages
        if not outside and self._turns(value):
            value = self._as(value, Storage.BLOCKED)
        if self.storages.get(value) is Storage.ROWS or (outside and node.op == "constant"):
            end = add_typed(graph, "copy", [value], name=label, spans=spans)
            self.storages[end] = Storage.ROWS
            return end
        if outside and self._of_source(value) is Storage.ROWS:
            end = add_typed(graph, "copy", [value], name=label, spans=spans)
            self.storages[end] = Storage.ROWS
            return end
        if outside:
            value = self._as(value, Storage.BLOCKED)
        end = add_typed(graph, "relayout", [value], name=label, spans=spans)
        type_ = graph.type_of(end)
        graph[end].notes["layout"] = DenseLayout(type_.dtype, *dimensions(type_), self.memory)
        self.storages[end] = Storage.BLOCKED
        return end


def _add_constants(graph: Graph, storages: dict[int, Storage]) -> None:
    """A constant map in a sum or product becomes a value; one number a channel needs no memory."""
    for node_id, node in list(graph.nodes()):
        blocked = storages.get(node_id) is Storage.BLOCKED
        if not blocked or Trait.POINTWISE not in lookup(node.op).traits:
            continue
        result = graph.type_of(node_id).shape
        for index, operand in enumerate(graph.operands(node_id)):
            shape = graph.type_of(operand).shape
            constant = graph[operand].op == "constant"
            if constant and not is_channel_shaped(lookup(node.op), shape, result):
                label = free_name(graph, f"{graph[operand].name or node.op}.blocked")
                spans = graph[operand].spans
                held = add_typed(graph, "relayout", [operand], name=label, spans=spans)
                storages[held] = Storage.BLOCKED
                graph.set_operand(node_id, index, held)


def free_name(graph: Graph, wanted: str) -> str:
    """`wanted`, with a number behind it if a node has that name already."""
    taken = {node.name for _, node in graph.nodes()}
    if wanted not in taken:
        return wanted
    return next(f"{wanted}{n}" for n in count(2) if f"{wanted}{n}" not in taken)
