"""Graph to text: one operation a line, every name, default and shape written out.

What is printed elaborates to the same graph: operators, attributes, names, types, weights, outputs
and the facts of `Graph.meta`, up to node ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import DType, TensorType
from cnncc.spec.builtins import BUILTINS
from cnncc.spec.lexer import RESERVED
from cnncc.spec.values import Size, literal, quote

_LABEL = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Written = tuple[str, list[str]]


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
        self.names: dict[int, str] = {}
        self.count = 0
        taken = [graph[node].name for node in graph.inputs] + list(graph.meta.get("params", {}))
        self.prefix = next(
            p for p in _prefixes() if not any(re.fullmatch(p + "[0-9]+", name) for name in taken)
        )

    def text(self) -> str:
        graph = self.graph
        lines = ["cnncc 1", f"model {_name(graph.name)}{self._model_props()}"]
        for name, value in graph.meta.get("params", {}).items():
            lines.append(f"param {name} = {literal(value)}")
        lines += self._weights()
        lines += [self._input(node_id) for node_id in graph.inputs]
        for node_id, node in graph.nodes():
            if node_id not in self.names and node.op not in ("constant", "input"):
                self.count += 1
                self.names[node_id] = f"{self.prefix}{self.count}"
                lines.append(f"{self.names[node_id]} = {self._operation(node_id, node)}")
        lines += [self._output(name, node_id) for name, node_id in graph.outputs]
        return "\n".join(lines) + "\n"

    # -- statements --------------------------------------------------------------------------------

    def _model_props(self) -> str:
        props = self.graph.meta.get("model", {})
        return _props({name: literal(value) for name, value in props.items()})

    def _weights(self) -> list[str]:
        meta = dict(self.graph.meta.get("weights", {"kind": "none"}))
        kind, path = meta.pop("kind"), meta.pop("path", None)
        if kind == "none":
            return []
        words = ("layout", "init")
        props = {k: str(v) if k in words else literal(v) for k, v in meta.items()}
        return [f"weights {'random' if path is None else quote(path)}{_props(props)}"]

    def _input(self, node_id: int) -> str:
        node = self.graph[node_id]
        attrs = node.attrs
        props = {"dtype": str(attrs.dtype)}
        users = [user for user, _ in self.graph.users(node_id)]
        result = node_id
        if users and all(self.graph[user].op == "normalize" for user in users):
            if len(users) > 1:
                raise UnsupportedError(f"input `{node.name}` is normalised twice")
            result = users[0]
            normal = self.graph[result].attrs
            props["scale"] = literal(normal.scale)
            props["mean"] = literal(tuple(normal.mean))
            props["std"] = literal(tuple(normal.std))
        elif attrs.dtype is not DType.F32:
            raise UnsupportedError(f"input `{node.name}` is {attrs.dtype} without `normalize`")
        props["layout"] = attrs.memory
        if attrs.format:
            props["format"] = attrs.format
        self.names[node_id] = self.names[result] = _name(node.name)
        shape = _shape(self.graph.type_of(node_id))
        return f"input {_name(node.name)}: {shape}{_props(props)}"

    def _operation(self, node_id: int, node: Node) -> str:
        graph = self.graph
        operands = graph.operands(node_id)
        data = [i for i in operands if graph[i].op != "constant"]
        weights = [graph[i].attrs.data for i in operands if graph[i].op == "constant"]
        types = [graph.type_of(i) for i in operands]
        name, args = _write(node, types)
        if BUILTINS[name].takes == "many":
            call = f"{name}({', '.join(self.names[i] for i in data)})"
        else:
            args = args + self._from(node, name, weights)
            call = f"{self.names[data[0]]} -> {name}" + (f"({', '.join(args)})" if args else "")
        if not _LABEL.fullmatch(node.name):
            raise UnsupportedError(f"the name `{node.name}` cannot be written as a label")
        return f"{call} as {node.name} : {_shape(graph.type_of(node_id))}"

    def _from(self, node: Node, name: str, weights: Sequence[str]) -> list[str]:
        """`from=` for a layer that reads the weights of another path."""
        leaves = BUILTINS[name].leaves[: len(weights)]
        groups = {w.removesuffix(f".{leaf}") for w, leaf in zip(weights, leaves, strict=True)}
        if not groups or groups == {node.name}:
            return []
        if len(groups) > 1 or any(
            not w.endswith(f".{leaf}") for w, leaf in zip(weights, leaves, strict=True)
        ):
            raise UnsupportedError(f"the weights of `{node.name}` are not of one group")
        return [f"from={quote(groups.pop())}"]

    def _output(self, name: str, node_id: int) -> str:
        props: dict[str, str] = {}
        labels, top = self.graph.meta.get("labels", {}), self.graph.meta.get("top", {})
        if name in labels:
            props["labels"] = literal(tuple(labels[name]))
        if name in top:
            props["top"] = literal(top[name])
        return f"output {_name(name)} = {self.names[node_id]}{_props(props)}"


# -- operators to operations -----------------------------------------------------------------------


def _write(node: Node, types: Sequence[TensorType]) -> Written:
    writer = _WRITERS.get(node.op)
    if writer is None:
        raise UnsupportedError(
            f"the language has no operation for `{node.op}`",
            hint="the flat form writes networks as they are read, before passes",
        )
    return writer(node.attrs, types)


def _conv(a: Any, types: Sequence[TensorType]) -> Written:
    channels, (filters, _, *window) = types[0].shape[1], types[1].shape
    args = [_size(window)]
    depthwise = a.groups == channels > 1
    if depthwise:
        args.append(f"multiplier={filters // channels}")
    else:
        args.append(f"filters={filters}")
    args += _window(a) + ([] if depthwise else [f"groups={a.groups}"])
    return "dwconv" if depthwise else "conv", [*args, _bias(types)]


def _deconv(a: Any, types: Sequence[TensorType]) -> Written:
    _, per_group, *window = types[1].shape
    args = [_size(window), f"filters={per_group * a.groups}", *_window(a), f"groups={a.groups}"]
    return "deconv", [*args, f"out_pad={_size(a.output_pads)}", _bias(types)]


def _dense(a: Any, types: Sequence[TensorType]) -> Written:
    return "dense", [str(types[1].shape[0]), _bias(types)]


def _pool(name: str) -> Callable[[Any, Sequence[TensorType]], Written]:
    def write(a: Any, types: Sequence[TensorType]) -> Written:
        rounding = "ceil" if a.ceil else "floor"
        args = [_size(a.window), f"stride={_size(a.strides)}", f"pad={literal(tuple(a.pads))}"]
        args.append(f"round={rounding}")
        if name == "avgpool":
            args.append(f"count_pad={literal(a.count_pad)}")
        return name, args

    return write


def _named(name: str, *attrs: str) -> Callable[[Any, Sequence[TensorType]], Written]:
    """An operation whose arguments are called like the operator's attributes."""

    def write(a: Any, types: Sequence[TensorType]) -> Written:
        values = [(attr, getattr(a, attr)) for attr in attrs]
        return name, [f"{k}={v if isinstance(v, str) else literal(v)}" for k, v in values]

    return write


def _softmax(a: Any, types: Sequence[TensorType]) -> Written:
    if a.axis != 1:
        raise UnsupportedError(f"`softmax` works on channels, not on axis {a.axis}")
    return "softmax", []


def _hard_sigmoid(a: Any, types: Sequence[TensorType]) -> Written:
    if a != type(a)():
        raise UnsupportedError("`hsigmoid` has a slope of 1/6 and an offset of 0.5")
    return "hsigmoid", []


def _upsample(a: Any, types: Sequence[TensorType]) -> Written:
    return "upsample", [_size(a.factors), f"mode={a.mode}"]


def _concat(a: Any, types: Sequence[TensorType]) -> Written:
    if a.axis != 1:
        raise UnsupportedError(f"`concat` works on channels, not on axis {a.axis}")
    return "concat", []


def _pad(a: Any, types: Sequence[TensorType]) -> Written:
    return "pad", [literal(tuple(a.pads)), f"value={literal(a.value)}"]


def _crop(a: Any, types: Sequence[TensorType]) -> Written:
    return "crop", [literal(tuple(a.pads))]


def _scale(a: Any, types: Sequence[TensorType]) -> Written:
    return "scale", [_bias(types)]


_WRITERS: Mapping[str, Callable[[Any, Sequence[TensorType]], Written]] = {
    "conv2d": _conv,
    "conv2d_transpose": _deconv,
    "dense": _dense,
    "batch_norm": _named("bn", "eps"),
    "lrn": _named("lrn", "size", "alpha", "beta", "k"),
    "relu": _named("relu"),
    "clip": _named("clip", "low", "high"),
    "leaky_relu": _named("leaky_relu", "alpha"),
    "prelu": _named("prelu"),
    "sigmoid": _named("sigmoid"),
    "tanh": _named("tanh"),
    "silu": _named("silu"),
    "hard_swish": _named("hswish"),
    "hard_sigmoid": _hard_sigmoid,
    "softmax": _softmax,
    "max_pool2d": _pool("maxpool"),
    "avg_pool2d": _pool("avgpool"),
    "global_avg_pool": _named("global_avgpool"),
    "global_max_pool": _named("global_maxpool"),
    "flatten": _named("flatten", "order"),
    "dropout": _named("dropout", "rate"),
    "upsample2d": _upsample,
    "pad2d": _pad,
    "crop2d": _crop,
    "slice_channels": _named("slice", "start", "stop"),
    "channel_shuffle": _named("channel_shuffle", "groups"),
    "scale": _scale,
    "add": _named("add"),
    "mul": _named("mul"),
    "concat": _concat,
}


# -- pieces of text --------------------------------------------------------------------------------


def _prefixes() -> list[str]:
    return ["v", "t", "r", "value_", "result_", *(f"v{n}_" for n in range(1000))]


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or text in RESERVED or text in BUILTINS:
        raise UnsupportedError(f"`{text}` cannot be written as a name")
    return text


def _props(props: Mapping[str, str]) -> str:
    return f" {{ {', '.join(f'{k} = {v}' for k, v in props.items())} }}" if props else ""


def _shape(found: TensorType) -> str:
    if found.is_feature_map:
        _, c, h, w = found.shape
        return f"[{h}, {w}, {c}]"
    return f"[{found.shape[1]}]"


def _size(pair: Sequence[int]) -> str:
    return literal(Size(tuple(pair)))


def _window(a: Any) -> list[str]:
    return [
        f"stride={_size(a.strides)}",
        f"pad={literal(tuple(a.pads))}",
        f"dilation={_size(a.dilations)}",
    ]


def _bias(types: Sequence[TensorType]) -> str:
    return f"bias={literal(len(types) == 3)}"
