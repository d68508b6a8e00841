"""Graphs as ONNX models, for engines that take nothing else.

Preprocessing is left out: the model begins behind `normalize`, and the caller feeds what
comes out of it, so that an engine which cannot fold it in pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup

Array = npt.NDArray[Any]
OPSET = 20
IR_VERSION = 9
_INPUT = "in:"  # keeps the names of inputs apart from those of outputs


def peer_feeds(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What a peer takes in place of the caller's arrays [N, *shape] by input name."""
    made = {}
    for node_id in graph.inputs:
        node = graph[node_id]
        array = inputs[str(node.name)]
        if node.attrs.memory == "hwc" and array.ndim == 4:
            array = array.transpose(0, 3, 1, 2)
        for user, _ in graph.users(node_id):
            if graph[user].op == "normalize":
                array = lookup("normalize").reference([array], graph[user].attrs)
        made[f"{_INPUT}{node.name}"] = np.ascontiguousarray(array, np.float32)
    return made


def peer_outputs(graph: Graph) -> list[str]:
    """Names of the outputs of the model that `onnx_model` writes, maps as [N,C,H,W]."""
    return [name for name, _ in graph.outputs]


def onnx_model(graph: Graph, batch: int = 1) -> bytes:
    """The serialised model of a typed graph.

    Raises:
        UnsupportedError: `onnx` is not installed, or an operator has no counterpart.
    """
    try:
        import onnx
    except ImportError as error:
        raise UnsupportedError("onnx is not installed", hint="pip install onnx") from error
    writer = _Writer(graph, batch, onnx.helper, onnx.numpy_helper)
    return writer.model()


class _Writer:
    """One ONNX graph while it is written; `names` says which value each node became."""

    def __init__(self, graph: Graph, batch: int, helper: Any, arrays: Any) -> None:
        self.graph = graph
        self.batch = batch
        self.helper = helper
        self.arrays = arrays
        self.names: dict[int, str] = {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []

    def model(self) -> bytes:
        for node_id in self.graph.order():
            self._value(node_id)
        outputs = []
        for name, node_id in self.graph.outputs:
            self.nodes.append(self.helper.make_node("Identity", [self.names[node_id]], [name]))
            outputs.append(self._info(name, node_id))
        body = self.helper.make_graph(
            self.nodes, "peer", self.inputs, outputs, initializer=self.initializers
        )
        opsets = [self.helper.make_opsetid("", OPSET)]
        made = self.helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION)
        return bytes(made.SerializeToString())

    def _info(self, name: str, node_id: int) -> Any:
        shape = [self.batch, *self.graph.type_of(node_id).shape[1:]]
        return self.helper.make_tensor_value_info(name, 1, shape)

    def _value(self, node_id: int) -> None:
        node = self.graph[node_id]
        if node.op == "input":
            self.names[node_id] = f"{_INPUT}{node.name}"
            self.inputs.append(self._info(self.names[node_id], node_id))
            return
        if node.op == "normalize":
            self.names[node_id] = self.names[self.graph.operands(node_id)[0]]
            return
        constant = self.graph.constant(node_id)
        if constant is not None:
            self.names[node_id] = self.constant(constant)
            return
        maker = _MAKERS.get(node.op)
        if maker is None:
            raise UnsupportedError(f"`{node.op}` has no counterpart in ONNX here")
        operands = self.graph.operands(node_id)
        self.names[node_id] = maker(self, node_id, node.attrs, [self.names[o] for o in operands])

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """An array of the model."""
        name = f"c{len(self.initializers)}"
        array = np.ascontiguousarray(values, dtype)
        self.initializers.append(self.arrays.from_array(array, name))
        return name

    def node(self, op: str, operands: Sequence[str], **attributes: Any) -> str:
        """The result of a new node."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(op, list(operands), [name], **attributes))
        return name

    def channelled(self, node_id: int, position: int) -> Array:
        """The `[C]` constant that is an operand, shaped so that it spreads over a map."""
        operand = self.graph.operands(node_id)[position]
        values = self.graph.constant(operand)
        if values is None:
            raise UnsupportedError(f"`{self.graph[node_id].op}` with computed factors")
        rank = len(self.graph.type_of(node_id).shape)
        return values.reshape(-1, *[1] * (rank - 2))


Maker = Callable[[_Writer, int, Any, list[str]], str]


def _plain(op: str, **names: str) -> Maker:
    """A node of the same meaning; `names` maps its attributes to ours."""

    def make(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
        return w.node(
            op, operands, **{theirs: getattr(attrs, ours) for theirs, ours in names.items()}
        )

    return make


def _conv(op: str) -> Maker:
    def make(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
        extra = {"output_padding": attrs.output_pads} if op == "ConvTranspose" else {}
        return w.node(
            op,
            operands,
            strides=attrs.strides,
            pads=attrs.pads,
            dilations=attrs.dilations,
            group=attrs.groups,
            **extra,
        )

    return make


def _pool(op: str) -> Maker:
    def make(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
        extra = {"count_include_pad": int(attrs.count_pad)} if op == "AveragePool" else {}
        return w.node(
            op,
            operands,
            kernel_shape=attrs.window,
            strides=attrs.strides,
            pads=attrs.pads,
            ceil_mode=int(attrs.ceil),
            **extra,
        )

    return make


def _dense(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    return w.node("Gemm", operands, transB=1)


def _clip(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    return w.node("Clip", [*operands, w.constant(attrs.low), w.constant(attrs.high)])


def _prelu(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    return w.node("PRelu", [operands[0], w.constant(w.channelled(node_id, 1))])


def _scale(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    product = w.node("Mul", [operands[0], w.constant(w.channelled(node_id, 1))])
    if len(operands) < 3:
        return product
    return w.node("Add", [product, w.constant(w.channelled(node_id, 2))])


def _silu(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    return w.node("Mul", [operands[0], w.node("Sigmoid", operands)])


def _gelu(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    return w.node("Gelu", operands, approximate="tanh" if attrs.approximate else "none")


def _flatten(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    (operand,) = w.graph.operands(node_id)
    if attrs.order == "hwc" and len(w.graph.type_of(operand).shape) == 4:
        operands = [w.node("Transpose", operands, perm=(0, 2, 3, 1))]
    return w.node("Flatten", operands)


def _reshape(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    shape = (w.batch, *w.graph.type_of(node_id).shape[1:])
    return w.node("Reshape", [*operands, w.constant(shape, np.int64)])


def _pad(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    top, left, bottom, right = attrs.pads
    pads = w.constant((0, 0, top, left, 0, 0, bottom, right), np.int64)
    return w.node("Pad", [*operands, pads, w.constant(attrs.value)])


def _slice(
    w: _Writer, operands: list[str], starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]
) -> str:
    return w.node("Slice", [*operands, *(w.constant(v, np.int64) for v in (starts, ends, axes))])


def _crop(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    top, left, _, _ = attrs.pads
    height, width = w.graph.type_of(node_id).shape[2:]
    return _slice(w, operands, (top, left), (top + height, left + width), (2, 3))


def _slice_channels(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    return _slice(w, operands, (attrs.start,), (attrs.stop,), (1,))


def _shuffle(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    _, channels, *extents = w.graph.type_of(node_id).shape
    parts = (w.batch, attrs.groups, channels // attrs.groups, *extents)
    split = w.node("Reshape", [*operands, w.constant(parts, np.int64)])
    turned = w.node("Transpose", [split], perm=(0, 2, 1, *range(3, len(parts))))
    whole = w.constant((w.batch, channels, *extents), np.int64)
    return w.node("Reshape", [turned, whole])


def _upsample(w: _Writer, node_id: int, attrs: Any, operands: list[str]) -> str:
    scales = w.constant((1, 1, *attrs.factors))
    if attrs.mode == "nearest":
        how = {"mode": "nearest", "nearest_mode": "floor"}
        place = "asymmetric"
    else:
        how, place = {"mode": "linear"}, "half_pixel"
    return w.node("Resize", [*operands, "", scales], coordinate_transformation_mode=place, **how)


_MAKERS: dict[str, Maker] = {
    "conv2d": _conv("Conv"),
    "conv2d_transpose": _conv("ConvTranspose"),
    "dense": _dense,
    "max_pool2d": _pool("MaxPool"),
    "avg_pool2d": _pool("AveragePool"),
    "global_avg_pool": _plain("GlobalAveragePool"),
    "global_max_pool": _plain("GlobalMaxPool"),
    "batch_norm": _plain("BatchNormalization", epsilon="eps"),
    "scale": _scale,
    "lrn": _plain("LRN", size="size", alpha="alpha", beta="beta", bias="k"),
    "softmax": _plain("Softmax", axis="axis"),
    "relu": _plain("Relu"),
    "clip": _clip,
    "leaky_relu": _plain("LeakyRelu", alpha="alpha"),
    "prelu": _prelu,
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "silu": _silu,
    "hard_swish": _plain("HardSwish"),
    "hard_sigmoid": _plain("HardSigmoid", alpha="alpha", beta="beta"),
    "elu": _plain("Elu", alpha="alpha"),
    "gelu": _gelu,
    "mish": _plain("Mish"),
    "softplus": _plain("Softplus"),
    "add": _plain("Add"),
    "mul": _plain("Mul"),
    "identity": _plain("Identity"),
    "dropout": _plain("Identity"),
    "flatten": _flatten,
    "reshape": _reshape,
    "transpose": _plain("Transpose", perm="perm"),
    "concat": _plain("Concat", axis="axis"),
    "pad2d": _pad,
    "crop2d": _crop,
    "slice_channels": _slice_channels,
    "channel_shuffle": _shuffle,
    "upsample2d": _upsample,
}
