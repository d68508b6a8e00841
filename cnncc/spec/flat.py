"""Graph to text: one operation a line, every name, default and shape written out.

What is printed elaborates to the same graph: operators, attributes, names, types, outputs and the
facts of `Graph.meta`, up to node ids and the names of constants that general operators read.
"""

from __future__ import annotations

import re

from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import TensorType
from cnncc.spec.header import Header, props_text
from cnncc.spec.naming import is_label
from cnncc.spec.operands import constant_call, is_literal, number_operands, takes_constants
from cnncc.spec.operations import Operation, general, operation
from cnncc.spec.values import is_sample, quote, type_text


def print_flat(graph: Graph) -> str:
    """The canonical flat text of a network as it was read.

    Passes make operators that have no text.

    Raises:
        UnsupportedError: the graph has an operator or a name that the language cannot write.
    """
    return _Printer(graph).text()


class _Printer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.header = Header(graph)
        self.names: dict[int, str] = dict(self.header.names)
        self.count = 0
        taken = [*self.names.values(), *graph.meta.get("params", {})]
        self.taken = frozenset(taken)
        self.prefix = next(
            p for p in _prefixes() if not any(re.fullmatch(p + "[0-9]+", name) for name in taken)
        )

    def text(self) -> str:
        graph = self.graph
        lines = [*self.header.lines]
        for node_id, node in graph.nodes():
            if node_id in self.names or node.op in ("constant", "input"):
                continue
            made = self._written(node_id, node)
            if made.joins:
                lines += self._constants(node_id, node)
            self.count += 1
            name = f"{self.prefix}{self.count}"
            lines.append(f"{name} = {self._call(node_id, node, made)}")
            self.names[node_id] = name
        for name, node_id in graph.outputs:  # an output may be a constant
            lines += [self._constant(node_id)] if node_id not in self.names else []
            lines.append(f"{self.header.output(name)} = {self.names[node_id]}{self._props(name)}")
        return "\n".join(lines) + "\n"

    def _written(self, node_id: int, node: Node) -> Operation:
        graph = self.graph
        operands = graph.operands(node_id)
        types = [graph.type_of(i) for i in operands]
        made = operation(node, types, [graph[i].op == "constant" for i in operands])
        if made.leaves and self._group(operands[1:], made.leaves) is None:
            return general(node)
        if not made.leaves and not made.joins and graph[operands[0]].op == "constant":
            return general(node)
        constants = any(graph[i].op == "constant" for i in operands)
        if made.joins and not made.general and constants:
            return made if takes_constants(graph, node_id, made) else general(node)
        return made

    def _group(self, constants: tuple[int, ...], leaves: tuple[str, ...]) -> str | None:
        """The path that a layer's weights have in common, before their leaves."""
        keys = [self.graph[i].attrs.data for i in constants]
        groups = {key.rpartition(".")[0] for key in keys}
        sound = len(groups) == 1 and [key.rpartition(".")[2] for key in keys] == list(leaves)
        return groups.pop() if sound else None

    # -- statements --------------------------------------------------------------------------------

    def _constants(self, node_id: int, node: Node) -> list[str]:
        """Lines for the constants that a general operator reads, but for plain numbers."""
        operands = self.graph.operands(node_id)
        numbers = number_operands(self.graph, node_id)
        return [
            self._constant(i)
            for i in dict.fromkeys(operands)
            if self.graph[i].op == "constant" and i not in self.names and i not in numbers
        ]

    def _constant(self, node_id: int) -> str:
        self.count += 1
        self.names[node_id] = f"{self.prefix}{self.count}"
        label = self.graph[node_id].attrs.data
        if not is_label(label):
            raise UnsupportedError(f"the name `{label}` cannot be written as a label")
        call = constant_call(self.graph, node_id, is_literal(self.graph, node_id))
        return f"{self.names[node_id]} = {call} as {label}"

    def _call(self, node_id: int, node: Node, made: Operation) -> str:
        graph = self.graph
        operands = graph.operands(node_id)
        args = made.arguments(self.taken)
        if made.joins:
            numbers = number_operands(graph, node_id)
            shown = [self.names[i] if i in self.names else numbers[i] for i in operands]
            call = f"{made.name}({', '.join([*shown, *args])})"
        else:
            group = self._group(operands[1:], made.leaves) if made.leaves else node.name
            args += [] if group == node.name else [f"from={quote(str(group))}"]
            call = f"{self.names[operands[0]]} -> {made.name}"
            call += f"({', '.join(args)})" if args else ""
        if not is_label(node.name):
            raise UnsupportedError(f"the name `{node.name}` cannot be written as a label")
        return f"{call} as {node.name} : {_shape(graph.type_of(node_id))}"

    def _props(self, name: str) -> str:
        return props_text(self.header.output_props(name))


def _prefixes() -> list[str]:
    return ["v", "t", "r", "value_", "result_", *(f"v{n}_" for n in range(1000))]


def _shape(found: TensorType) -> str:
    if not is_sample(found):
        return type_text(found)
    if found.is_feature_map:
        _, c, h, w = found.shape
        return f"[{h}, {w}, {c}]"
    return f"[{found.shape[1]}]"
