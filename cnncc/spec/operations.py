"""Operators to calls: how the language writes a node of the graph.

Where an operation of the language makes exactly this operator, with these attributes and weights of
these shapes, it is that operation; everything else is a general operator's call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Node
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.spec.builtins import ANY_TENSOR, BUILTINS, Builtin, Misfit
from cnncc.spec.general import MISSING, attributes, find, text_of, title
from cnncc.spec.values import Size, Unfit, Word, convert, literal


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call.

    Attributes:
        name: its name.
        value: as the language has it, or an attribute of a general operator.
        default: whether it has the value that it would have unwritten.
        bare: whether it may stand without its name.
    """

    name: str
    value: Any
    default: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """A node as a call.

    Attributes:
        name: what is called: `conv`, `op.add`, `reduce`.
        args: its arguments, all of them.
        joins: whether all operands stand in the brackets, and there may be several.
        leaves: last parts of the names of its weights; operands behind the first.
        general: whether it is a general operator.
    """

    name: str
    args: tuple[Argument, ...] = ()
    joins: bool = False
    leaves: tuple[str, ...] = ()
    general: bool = False

    def arguments(self, taken: Any = (), full: bool = True) -> list[str]:
        """The arguments as text, without defaults if not `full`; `taken` are names of values."""
        shown = [arg for arg in self.args if full or not arg.default]
        return [
            ("" if arg.bare else f"{arg.name}=") + argument_text(arg.value, taken, full)
            for arg in shown
        ]


def argument_text(value: Any, taken: Any = (), full: bool = True) -> str:
    """The value of an argument; if not `full`, pairs of equal numbers are one number."""
    if isinstance(value, Size):
        pair = not full and len(set(value.dims)) == 1
        return str(value.dims[0]) if pair else literal(value)
    if isinstance(value, Pads):
        return literal(value.sides) if full else value.short()
    if isinstance(value, Window):
        return literal(Size(value.dims))
    if isinstance(value, Word):
        return value.text
    return text_of(value, taken)


@dataclass(frozen=True, slots=True)
class Window:
    """The size of a window, which is always written as `3x3`."""

    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pads:
    """Four numbers: top, left, bottom, right."""

    sides: tuple[int, ...]

    def short(self) -> str:
        """`1` or `1x2` where that says the same."""
        top, left, *rest = self.sides
        if (top, left) != tuple(rest):
            return literal(self.sides)
        return str(top) if top == left else f"{top}x{left}"


def operation(node: Node, types: Sequence[TensorType], constants: Sequence[bool]) -> Operation:
    """How a node is written.

    Args:
        node: the node.
        types: the types of its operands.
        constants: for each operand, whether it is a weight that the operation itself may declare.

    Raises:
        UnsupportedError: it cannot be written: passes made it.
    """
    found = _operation(node, types, constants)
    return general(node) if found is None else found


def general(node: Node) -> Operation:
    """A node as a general operator's call.

    Raises:
        UnsupportedError: it has no such call.
    """
    op = find(node.op)
    if op is None:
        raise UnsupportedError(
            f"the language has no operation for `{node.op}`",
            hint="the flat form writes networks as they are read, before passes",
        )
    args = []
    for attribute in attributes(op):
        value = getattr(node.attrs, attribute.name)
        try:
            default = attribute.default is not MISSING and text_of(value) == text_of(
                attribute.default
            )
        except TypeError as wrong:
            raise UnsupportedError(
                f"`{node.op}`: `{attribute.name}` cannot be written ({wrong})"
            ) from None
        args.append(Argument(attribute.name, value, default))
    return Operation(title(node.op), tuple(args), joins=True, general=True)


# -- operations of the language --------------------------------------------------------------------

Pairs = tuple[str, list[tuple[str, Any]]]


def _operation(
    node: Node, types: Sequence[TensorType], constants: Sequence[bool]
) -> Operation | None:
    """The language's own operation for a node, if one makes exactly this node."""
    writer = _WRITERS.get(node.op)
    if writer is None or not types:
        return None
    if node.op in WEIGHTED and not _ready(node, types, constants):
        return None
    name, pairs = writer(node.attrs, types)
    row = BUILTINS[name]
    if not _takes(row, types):
        return None
    args = tuple(_argument(row, key, value) for key, value in pairs)
    leaves = row.leaves[: len(types) - 1] if row.leaves else ()
    made = Operation(name, args, joins=row.takes == "many", leaves=leaves)
    return made if _makes(row, made, node, types) else None


# Layers of the language, which have weights under their own names.
WEIGHTED = frozenset({"conv2d", "conv2d_transpose", "dense", "batch_norm", "prelu", "scale"})
_RANKS = {"conv2d": 4, "conv2d_transpose": 4, "dense": 2}


def _ready(node: Node, types: Sequence[TensorType], constants: Sequence[bool]) -> bool:
    """Whether the operands of a layer with weights are a value and f32 constants."""
    first = _RANKS.get(node.op, 1)
    return (
        not constants[0]
        and len(types) > 1
        and all(constants[1:])
        and all(t.dtype is DType.F32 for t in types)
        and len(types[1].shape) == first
    )


def _takes(row: Builtin, types: Sequence[TensorType]) -> bool:
    """Whether the operation takes these operands as they are, by the language's own rules."""
    data = types if row.takes == "many" else types[:1]
    classic = all(t.dtype is DType.F32 and len(t.shape) in (2, 4) for t in data)
    if row.takes == "many":
        if len(data) < 2 or (row.name != "concat" and len(data) > 2):
            return False
        return not classic or _joinable(row, data)
    if row.takes == "any":
        return classic or row.name in ANY_TENSOR
    return classic and len(types[0].shape) == (4 if row.takes == "map" else 2)


def _joinable(row: Builtin, types: Sequence[TensorType]) -> bool:
    a, b = types[0], types[1]
    if row.name == "concat":
        return all(t.shape[2:] == a.shape[2:] and len(t.shape) == len(a.shape) for t in types)
    if a.shape == b.shape:
        return True
    maps = a.is_feature_map and b.is_feature_map and row.name == "mul"
    return maps and any(
        t.shape[1] == a.shape[1] and t.shape[2:] == (1, 1) and t.shape[1] == b.shape[1]
        for t in types
    )


def _argument(row: Builtin, key: str, value: Any) -> Argument:
    spec = next(arg for arg in row.args if arg.name == key)
    bare = row.bare and spec is row.args[0]
    default = spec.default
    if key == "stride" and default is None:  # of a pool: its window
        return Argument(key, value, False, bare)
    same = default is not None and _plain(value) == _plain(default)
    return Argument(key, value, same, bare)


def _plain(value: Any) -> Any:
    """A value for comparison with a default."""
    match value:
        case Size() | Window():
            return value.dims
        case Pads():
            return "valid" if not any(value.sides) else value.sides
        case Word():
            return value.text
    return value


def _makes(row: Builtin, made: Operation, node: Node, types: Sequence[TensorType]) -> bool:
    """Whether the operation, read back, is the node: same operator, attributes and weights."""
    specs = {arg.name: arg for arg in row.args}
    values = {arg.name: arg.default for arg in row.args}
    try:
        for arg in made.args:
            values[arg.name] = convert(_value(arg.value), specs[arg.name])
        lowered = row.lower(values, types[0])
    except (Unfit, Misfit):
        return False
    attrs = lookup(lowered.op).Attrs(**lowered.attrs)
    weights = [weight.type for weight in lowered.weights]
    return (
        lowered.op == node.op
        and attrs == node.attrs
        and (row.takes == "many" or weights == list(types[1:]))
    )


def _value(value: Any) -> Any:
    match value:
        case Window():
            return Size(value.dims)
        case Pads():
            return value.sides
    return value


def _conv(a: Any, types: Sequence[TensorType]) -> Pairs:
    channels, (filters, _, *window) = types[0].shape[1], types[1].shape
    pairs: list[tuple[str, Any]] = [("window", Window(tuple(window)))]
    depthwise = a.groups == channels > 1
    if depthwise:
        pairs.append(("multiplier", filters // channels))
    else:
        pairs.append(("filters", filters))
    pairs += _window(a) + ([] if depthwise else [("groups", a.groups)])
    return "dwconv" if depthwise else "conv", [*pairs, _bias(types)]


def _deconv(a: Any, types: Sequence[TensorType]) -> Pairs:
    _, per_group, *window = types[1].shape
    pairs: list[tuple[str, Any]] = [("window", Window(tuple(window)))]
    pairs += [("filters", per_group * a.groups), *_window(a), ("groups", a.groups)]
    return "deconv", [*pairs, ("out_pad", Size(tuple(a.output_pads))), _bias(types)]


def _dense(a: Any, types: Sequence[TensorType]) -> Pairs:
    return "dense", [("units", types[1].shape[0]), _bias(types)]


def _pool(name: str) -> Callable[[Any, Sequence[TensorType]], Pairs]:
    def write(a: Any, types: Sequence[TensorType]) -> Pairs:
        pairs: list[tuple[str, Any]] = [
            ("window", Window(tuple(a.window))),
            ("stride", Size(tuple(a.strides))),
            ("pad", Pads(tuple(a.pads))),
            ("round", Word("ceil" if a.ceil else "floor")),
        ]
        return name, pairs + ([("count_pad", a.count_pad)] if name == "avgpool" else [])

    return write


def _named(name: str, *attrs: str) -> Callable[[Any, Sequence[TensorType]], Pairs]:
    """An operation whose arguments are called like the operator's attributes."""

    def write(a: Any, types: Sequence[TensorType]) -> Pairs:
        values = [(attr, getattr(a, attr)) for attr in attrs]
        return name, [(key, Word(v) if isinstance(v, str) else v) for key, v in values]

    return write


def _upsample(a: Any, types: Sequence[TensorType]) -> Pairs:
    return "upsample", [("factors", Size(tuple(a.factors))), ("mode", Word(a.mode))]


def _pad(a: Any, types: Sequence[TensorType]) -> Pairs:
    return "pad", [("border", Pads(tuple(a.pads))), ("value", a.value)]


def _crop(a: Any, types: Sequence[TensorType]) -> Pairs:
    return "crop", [("border", Pads(tuple(a.pads)))]


def _scale(a: Any, types: Sequence[TensorType]) -> Pairs:
    return "scale", [_bias(types)]


def _window(a: Any) -> list[tuple[str, Any]]:
    return [
        ("stride", Size(tuple(a.strides))),
        ("pad", Pads(tuple(a.pads))),
        ("dilation", Size(tuple(a.dilations))),
    ]


def _bias(types: Sequence[TensorType]) -> tuple[str, Any]:
    return "bias", len(types) == 3


_WRITERS: Mapping[str, Callable[[Any, Sequence[TensorType]], Pairs]] = {
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
    "hard_sigmoid": _named("hsigmoid"),
    "softmax": _named("softmax"),
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
    "concat": _named("concat"),
}
