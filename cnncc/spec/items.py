"""A network as lists of items: operations and block calls on values, before they become lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cnncc.ir.graph import Graph
from cnncc.ir.types import TensorType
from cnncc.spec.general import CONSTANT, array_text
from cnncc.spec.header import is_typed, prologue
from cnncc.spec.operands import constant_call, is_literal, number_operands, takes_constants
from cnncc.spec.operations import Argument, Operation, general, operation
from cnncc.spec.values import type_text


@dataclass(frozen=True, slots=True)
class Value:
    """The result of another item, an input, or a block's `in`."""

    key: int


@dataclass(frozen=True, slots=True)
class Inline:
    """A constant that stands in the brackets: a number, or `constant(...)`.

    Attributes:
        text: as it is written, without label; of a constant with a `type`, what follows that.
        label: of the array in the weight file; empty if its numbers stand in the text.
        type: its type; the extents are hidden arguments of the item, called `size.OPERAND.AXIS`.
    """

    text: str
    label: str = ""
    type: TensorType | None = None


@dataclass(frozen=True, slots=True)
class Param:
    """An argument that is a parameter of the block around it.

    Attributes:
        name: the parameter's name.
        kind: what its values have in common.
    """

    name: str
    kind: Any = None


Operand: TypeAlias = Value | Inline


@dataclass(slots=True)
class Item:
    """One operation or block call.

    Attributes:
        key: what names its result.
        name: what is called.
        args: its arguments; their values may be `Param`s.
        operands: what it reads; the first is what is piped in.
        joins: whether operands stand in the brackets, and it may have several.
        general: whether it is a general operator.
        weighted: whether it has weights, or is a block with weights, and so needs a label.
        label: its label in its scope; in use only where `weighted`.
        path: its name in the network, or of what it stands for; for finding modules.
        block: the block that it calls.
    """

    key: int
    name: str
    args: tuple[Argument, ...]
    operands: tuple[Operand, ...]
    joins: bool = False
    general: bool = False
    weighted: bool = False
    label: str = ""
    path: str = ""
    block: Block | None = None
    source: str = ""  # `from=` of a layer with another layer's weights

    @property
    def values(self) -> list[int]:
        """Keys of the values that it reads."""
        return [x.key for x in self.operands if isinstance(x, Value)]


@dataclass(slots=True)
class Formal:
    """A parameter of a block, with its default as it stands in the text, or None."""

    name: str
    default: Any = None


@dataclass(slots=True, eq=False)
class Block:
    """A block: items that read `in` (key `start`) and give the last one's result."""

    name: str
    start: int
    items: list[Item]
    formals: list[Formal] = field(default_factory=list)

    @property
    def weighted(self) -> bool:
        """Whether a call of it needs a label."""
        return any(item.weighted for item in self.items)


def items_of(graph: Graph) -> tuple[list[Item], dict[int, Item]]:
    """The operations of a network in order, and constants that several of them read, by node."""
    shared: dict[int, Item] = {}
    items: list[Item] = []
    layer_of: dict[tuple[int, ...], str] = {}
    sources = {i: prologue(graph, i) for i in graph.inputs if not is_typed(graph, i)}
    for node_id, node in graph.nodes():
        if node.op in ("input", "constant") or node_id in sources.values():
            continue
        operands = graph.operands(node_id)
        made = _written(graph, node_id)
        source = ""
        if made.leaves:
            source = layer_of.setdefault(operands[1:], node.name)
            source = "" if source == node.name else source
            found: tuple[Operand, ...] = (Value(operands[0]),)
        else:
            found = tuple(_operands(graph, node_id, shared))
        args = (*made.args, *_extents(found))
        weighted = bool(made.leaves) or any(isinstance(x, Inline) and x.label for x in found)
        items.append(
            Item(
                *(node_id, made.name, args, found, made.joins, made.general, weighted),
                label=node.name,
                path=node.name,
                source=source,
            )
        )
    for _, out in graph.outputs:
        if graph[out].op == "constant":
            _shared(graph, out, shared)
    return items, shared


def _written(graph: Graph, node_id: int) -> Operation:
    """How a node is written; a layer whose weights are not its own is a general operator."""
    node, operands = graph[node_id], graph.operands(node_id)
    constants = [graph[i].op == "constant" for i in operands]
    made = operation(node, [graph.type_of(i) for i in operands], constants)
    if made.leaves:
        keys = [graph[i].attrs.data for i in operands[1:]]
        leaves = [key.rpartition(".")[2] for key in keys]
        groups = {key.rpartition(".")[0] for key in keys}
        return made if leaves == list(made.leaves) and len(groups) == 1 else general(node)
    if any(constants) and not made.general and not takes_constants(graph, node_id, made):
        return general(node)
    values = {arg.name: arg.value for arg in made.args}
    if made.name == "clip" and values == {"low": 0.0, "high": 6.0}:
        return Operation("relu6")
    return made


def _operands(graph: Graph, node_id: int, shared: dict[int, Item]) -> Iterator[Operand]:
    numbers = number_operands(graph, node_id)
    for operand in graph.operands(node_id):
        if graph[operand].op != "constant":
            yield Value(operand)
        elif operand in numbers:
            yield Inline(numbers[operand])
        elif len(graph.users(operand)) > 1 or graph.is_output(operand):
            _shared(graph, operand, shared)
            yield Value(operand)
        else:
            yield _inline(graph, operand)


def _inline(graph: Graph, node_id: int) -> Inline:
    key = graph[node_id].attrs.data
    if not is_literal(graph, node_id):
        return Inline("", key, graph.type_of(node_id))
    numbers = array_text(graph.constants[key])
    if numbers.startswith("["):
        return Inline(constant_call(graph, node_id, True))
    return Inline(f", value={numbers}", "", graph.type_of(node_id))


def _extents(operands: Sequence[Operand]) -> Iterator[Argument]:
    """The extents of constants, as arguments, so that they can become a block's parameters."""
    for index, operand in enumerate(operands):
        if isinstance(operand, Inline) and operand.type is not None:
            for axis, extent in enumerate(operand.type.shape):
                yield Argument(f"size.{index}.{axis}", extent)


def _shared(graph: Graph, node_id: int, shared: dict[int, Item]) -> None:
    key = graph[node_id].attrs.data
    args = [Argument("type", Written(type_text(graph.type_of(node_id))), bare=True)]
    if is_literal(graph, node_id):
        args.append(Argument("value", Written(array_text(graph.constants[key]))))
    shared[node_id] = Item(node_id, CONSTANT, tuple(args), (), True, True, True, key, key)


@dataclass(frozen=True, slots=True)
class Written:
    """An argument that is text already."""

    text: str


def uses(items: Sequence[Item]) -> dict[int, list[int]]:
    """For each value the positions of its readers; one that reads it twice counts twice."""
    found: dict[int, list[int]] = {}
    for position, item in enumerate(items):
        for key in item.values:
            found.setdefault(key, []).append(position)
    return found
