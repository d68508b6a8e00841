"""Graphs as text, one line a node, and back; arrays lie beside in an `.npz`.

    graph "lenet"
    meta {labels=["0", "1"]}
    data "conv1.weight" : f32[6,1,5,5] sha256 "0f3b..."
    inputs %image
    outputs "prob"=%softmax1
    %conv1 = conv2d(%image, %#2) {strides=[1, 1], ...} : f32[1,6,28,28] @kernel("direct") at [...]

Nodes without a name are `%#n`, n counting lines; names that are no plain words are quoted. Types,
notes (`@key(value)`) and places (`at`) may be left out, attributes where they have defaults. Laws:
parsing a printed graph gives the same graph up to ids, and printing that gives the same text.
Dumps in files keep the ids too, for notes that name nodes: `ids [0, 3, 4] next 9`.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.errors import ArtifactError, Frame, InternalError, Span
from cnncc.ir.decisions import Decision
from cnncc.ir.graph import Graph, Node
from cnncc.ir.op import Array, NoAttrs, lookup, registered
from cnncc.ir.types import DType, TensorType
from cnncc.ir.values import Reader, Ref, format_key, format_value

HASH_DIGITS = 16


def fingerprint(array: Array) -> str:
    """The first 16 digits of the SHA-256 of an array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:HASH_DIGITS]


# -- printing ------------------------------------------------------------------------------------


def print_graph(graph: Graph, *, spans: bool = True, meta: bool = True) -> str:
    """The text of a graph; `spans` and `meta` say whether places and facts are printed."""
    order = graph.order()
    refs = {node_id: _ref(graph[node_id], line) for line, node_id in enumerate(order)}
    lines = [f"graph {format_value(graph.name)}"]
    if meta and graph.meta:
        lines.append(f"meta {format_value(graph.meta)}")
    for key in sorted(graph.constants):
        array = graph.constants[key]
        found = TensorType(DType.of(array.dtype), array.shape)
        lines.append(f'data {json.dumps(key)} : {found} sha256 "{fingerprint(array)}"')
    lines.append(f"inputs {', '.join(refs[i] for i in graph.inputs)}".rstrip())
    ends = ", ".join(f"{json.dumps(name)}={refs[out]}" for name, out in graph.outputs)
    lines.append(f"outputs {ends}".rstrip())
    for node_id in order:
        operands = ", ".join(refs[o] for o in graph.operands(node_id))
        lines.append(f"{refs[node_id]} = {_node(graph[node_id], operands, spans)}")
    return "\n".join(lines) + "\n"


def _ref(node: Node, line: int) -> str:
    if not node.name:
        return f"%#{line}"
    plain = re.fullmatch(r"[A-Za-z0-9_.]+", node.name)
    return f"%{node.name if plain else json.dumps(node.name)}"


def _node(node: Node, operands: str, spans: bool) -> str:
    text = f"{node.op}({operands})"
    if not isinstance(node.attrs, NoAttrs):
        text += " " + format_value(node.attrs).removeprefix(type(node.attrs).__name__)
    if node.type is not None:
        text += f" : {node.type}"
    for key in sorted(node.notes):
        text += f" @{format_key(key)}({format_value(node.notes[key])})"
    if spans and node.spans:
        text += f" at {format_value(tuple(map(_place, node.spans)))}"
    return text


def _place(span: Span) -> tuple[Any, ...]:
    calls = ((f.text, f.file, f.line, f.column) for f in span.calls)
    return (span.file, span.line, span.column, span.end_column, *calls)


# -- parsing -------------------------------------------------------------------------------------


def parse_graph(
    text: str,
    constants: Mapping[str, Array],
    *,
    file: str = "graph",
    records: Mapping[str, type] | None = None,
) -> Graph:
    """Read a graph.

    Args:
        text: what `print_graph` wrote, or a hand-written likeness.
        constants: the arrays that its `data` lines name.
        file: for messages.
        records: dataclasses by name that may occur in notes; others come back as `Record`.

    Raises:
        ArtifactError: the text cannot be read, or an array is missing or not the one it names.
    """
    return _Parser(constants, file, records or {}).parse(text)


class _Parser:
    def __init__(
        self, constants: Mapping[str, Array], file: str, records: Mapping[str, type]
    ) -> None:
        self.graph = Graph()
        self.constants = constants
        self.file = file
        self.records: dict[str, type] = {"Decision": Decision, **records}
        for op in registered().values():
            self.records.update({c.__name__: c for c in (op.Attrs, *op.records)})
        self.ids: dict[Ref, int] = {}
        self.inputs: list[Ref] = []
        self.outputs: list[tuple[str, Ref]] = []
        self.renumber: Callable[[], None] | None = None

    def parse(self, text: str) -> Graph:
        headers = {
            "graph": self._graph,
            "meta": self._meta,
            "data": self._data,
            "inputs": self._inputs,
            "outputs": self._outputs,
            "ids": self._ids,
        }
        reader = Reader("", self.file, self.records)
        for number, line in enumerate(text.splitlines(), 1):
            reader = Reader(line, f"{self.file}:{number}", self.records)
            kind = reader.peek()
            if kind.kind == "end":
                continue
            if kind.text in headers:
                headers[reader.next().text](reader)
            else:
                self._line(reader)
            reader.next("end")
        self.graph.inputs = [self._id(reader, name) for name in self.inputs]
        self.graph.outputs = [(name, self._id(reader, ref)) for name, ref in self.outputs]
        if self.renumber is not None:
            self.renumber()
        return self.graph

    def _id(self, reader: Reader, ref: Ref) -> int:
        if ref not in self.ids:
            raise reader.error(f"no node is called {ref}")
        return self.ids[ref]

    def _graph(self, reader: Reader) -> None:
        self.graph.name = reader.string()

    def _meta(self, reader: Reader) -> None:
        found = reader.value()
        if not isinstance(found, dict):
            raise reader.error("expected {key=value, ...} after `meta`")
        self.graph.meta = found

    def _data(self, reader: Reader) -> None:
        key = reader.string()
        reader.next(text=":")
        wanted = reader.tensor_type()
        reader.next(text="sha256")
        digest = reader.string()
        array = self.constants.get(key)
        if array is None:
            raise reader.error(f"there is no array `{key}`")
        if array.dtype != wanted.dtype.numpy or array.shape != wanted.shape:
            raise reader.error(f"array `{key}` is {array.dtype}{list(array.shape)}, not {wanted}")
        if fingerprint(array) != digest:
            raise reader.error(f"array `{key}` is not the one that the text names")
        self.graph.constants[key] = array

    def _inputs(self, reader: Reader) -> None:
        while reader.peek().kind == "ref":
            self.inputs.append(reader.reference())
            reader.take(",")

    def _outputs(self, reader: Reader) -> None:
        while reader.peek().kind == "string":
            name = reader.string()
            reader.next(text="=")
            self.outputs.append((name, reader.reference()))
            reader.take(",")

    def _ids(self, reader: Reader) -> None:
        ids = reader.value()
        reader.next(text="next")
        following = reader.value()

        def renumber() -> None:
            sound = isinstance(ids, tuple) and len(ids) == len(self.graph)
            try:
                if not sound:
                    raise InternalError(f"the text has {len(self.graph)} nodes")
                self.graph.renumber(dict(zip(self.graph.order(), ids, strict=True)), following)
            except (InternalError, TypeError) as error:
                raise reader.error(f"the ids do not fit: {error}; leave the line out") from None

        self.renumber = renumber

    def _line(self, reader: Reader) -> None:
        ref = reader.reference()
        if ref in self.ids:
            raise reader.error(f"two nodes are called {ref}")
        reader.next(text="=")
        op = reader.next("word").text
        if op not in registered():
            raise reader.error(f"no operator is called `{op}`")
        operands = self._operands(reader)
        node_id = self.graph.add(op, operands, self._attrs(reader, op))
        self.ids[ref] = node_id
        node = self.graph[node_id]
        node.name = ref.text if ref.named else ""
        node.type = reader.tensor_type() if reader.take(":") else None
        while reader.take("@"):
            key = reader.key()
            reader.next(text="(")
            node.notes[key] = reader.value()
            reader.next(text=")")
        if reader.take("at"):
            node.spans = self._spans(reader)

    def _operands(self, reader: Reader) -> list[int]:
        operands: list[int] = []
        reader.next(text="(")
        while not reader.take(")"):
            if operands:
                reader.next(text=",")
            operands.append(self._id(reader, reader.reference()))
        return operands

    def _attrs(self, reader: Reader, op: str) -> Any:
        cls = lookup(op).Attrs
        fields = reader.value() if reader.peek().text == "{" else {}
        try:
            return cls(**fields)
        except TypeError as error:
            raise reader.error(f"attributes of `{op}`: {error}") from None

    def _spans(self, reader: Reader) -> tuple[Span, ...]:
        try:
            return tuple(
                Span(file, line, column, end, tuple(Frame(*frame) for frame in calls))
                for file, line, column, end, *calls in reader.value()
            )
        except (TypeError, ValueError):
            raise reader.error("expected [[file, line, column, end], ...] after `at`") from None


# -- files ---------------------------------------------------------------------------------------


def dump(graph: Graph, path: Path) -> None:
    """Write the text to `path`, and the arrays beside it with the suffix `.npz`."""
    ids = format_value(tuple(graph.order()))
    text = f"{print_graph(graph)}ids {ids} next {graph.next_id}\n"
    path.write_text(text, encoding="utf-8")
    names = sorted(graph.constants)
    arrays: dict[str, Any] = {
        f"a{index}": graph.constants[name] for index, name in enumerate(names)
    }
    with path.with_suffix(".npz").open("wb") as file:
        np.savez(file, names=np.array(json.dumps(names)), **arrays)


def load(path: Path, *, records: Mapping[str, type] | None = None) -> Graph:
    """Read what `dump` wrote.

    Raises:
        ArtifactError: a file is missing, damaged, or does not belong to the other.
    """
    try:
        text = path.read_text(encoding="utf-8")
        with (
            path.with_suffix(".npz").open("rb") as file,
            np.load(file, allow_pickle=False) as archive,
        ):
            names = json.loads(str(archive["names"]))
            constants = {name: archive[f"a{index}"] for index, name in enumerate(names)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error
    return parse_graph(text, constants, file=path.name, records=records)
