"""The lines of a printed network that are no operations: model, weights, inputs, outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.spec.model import DTYPES
from cnncc.spec.naming import Names, as_name
from cnncc.spec.values import literal, quote, type_text


class Header:
    """The head of a file, and what its inputs are called in it.

    Attributes:
        lines: `cnncc 1`, `model`, `param`, `weights` and `input` lines.
        names: names of the inputs' values by node.
    """

    def __init__(self, graph: Graph, *, full: bool = True) -> None:
        self.graph = graph
        self.full = full
        self.names: dict[int, str] = {}
        self.used = Names(graph.meta.get("params", {}))
        self.outputs = Names()
        model = self.graph.meta.get("model", {})
        props = props_text({name: literal(value) for name, value in model.items()})
        self.lines = ["cnncc 1", f"model {as_name(graph.name, 'network')}{props}"]
        for name, value in graph.meta.get("params", {}).items():
            self.lines.append(f"param {name} = {literal(value)}")
        self.lines += self._weights()
        self.lines += [self._input(node_id) for node_id in graph.inputs]

    def _weights(self) -> list[str]:
        meta = dict(self.graph.meta.get("weights", {"kind": "none"}))
        kind, path = meta.pop("kind"), meta.pop("path", None)
        if kind == "none":
            return []
        words = ("layout", "init")
        props = {k: str(v) if k in words else literal(v) for k, v in meta.items()}
        shown = props_text(props) if self.full else ""
        return [f"weights {'random' if path is None else quote(path)}{shown}"]

    def _input(self, node_id: int) -> str:
        node = self.graph[node_id]
        name = self.used.unique(as_name(node.name, "x"))
        result = node_id
        if is_typed(self.graph, node_id):
            shape = type_text(self.graph.type_of(node_id))
            free = self.graph.meta.get("batched", True)
            props = {"batch": "free"} if free else {}
        else:
            shape, props = self._sample(node_id)
            result = prologue(self.graph, node_id)
            if result != node_id:
                attrs = self.graph[result].attrs
                props["scale"] = literal(attrs.scale)
                props["mean"] = literal(tuple(attrs.mean))
                props["std"] = literal(tuple(attrs.std))
            props["layout"] = node.attrs.memory
            if node.attrs.format:
                props["format"] = node.attrs.format
            if not self.full:
                props = {k: v for k, v in props.items() if (k, v) not in _DEFAULTS}
        if name != node.name:
            props["name"] = quote(node.name)
        self.names[node_id] = self.names[result] = name
        return f"input {name}: {shape}{props_text(props)}"

    def _sample(self, node_id: int) -> tuple[str, dict[str, str]]:
        found = self.graph.type_of(node_id)
        _, channels, *extents = found.shape
        if self.full or not extents:
            shape = literal((*extents, channels))
        else:
            shape = "x".join(map(str, (*extents, channels)))
        return shape, {"dtype": str(found.dtype)}

    def output(self, name: str) -> str:
        """`output NAME`."""
        self._shown = self.outputs.unique(as_name(name, "y"))
        return f"output {self._shown}"

    def output_props(self, name: str) -> dict[str, str]:
        """Labels, how many to show, and the name for callers if it is another."""
        props: dict[str, str] = {}
        labels, top = self.graph.meta.get("labels", {}), self.graph.meta.get("top", {})
        if name in labels:
            props["labels"] = literal(tuple(labels[name]))
        if name in top:
            props["top"] = literal(top[name])
        if name != self._shown:
            props["name"] = quote(name)
        return props


_DEFAULTS: set[tuple[str, Any]] = {("dtype", "f32"), ("layout", "hwc"), ("scale", "1.0")}


def is_typed(graph: Graph, node_id: int) -> bool:
    """Whether an input is a tensor in row-major order, rather than a feature map or vector.

    Raises:
        UnsupportedError: it is neither.
    """
    found, attrs = graph.type_of(node_id), graph[node_id].attrs
    sample = len(found.shape) in (2, 4) and found.shape[0] == 1 and str(found.dtype) in DTYPES
    sample = sample and (found.dtype is DType.F32 or prologue(graph, node_id) != node_id)
    if sample and graph.meta.get("batched", True):
        return False
    if attrs.memory == "chw" and not attrs.format:
        return True
    if not sample:
        raise UnsupportedError(
            f"input `{graph[node_id].name}` is {found} in order {attrs.memory}, without `normalize`"
        )
    return False


def prologue(graph: Graph, node_id: int) -> int:
    """The `normalize` of an input's own line, or the input where it has none."""
    users = [user for user, _ in graph.users(node_id)]
    alone = len(users) == 1 and not graph.is_output(node_id)
    return users[0] if alone and graph[users[0]].op == "normalize" else node_id


def props_text(props: Mapping[str, str]) -> str:
    """Properties between braces, or nothing."""
    return f" {{ {', '.join(f'{k} = {v}' for k, v in props.items())} }}" if props else ""
