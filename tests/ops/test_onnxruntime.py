"""The references against an independent implementation, on a fixed list of cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnncc.ir.op import NoAttrs, lookup
from cnncc.ir.types import f32
from cnncc.ops.activation import ClipAttrs, HardSigmoidAttrs, LeakyReluAttrs
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.norm import BatchNormAttrs, LrnAttrs, SoftmaxAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.ops.resize import Upsample2dAttrs
from cnncc.ops.shape import (
    ConcatAttrs,
    Crop2dAttrs,
    FlattenAttrs,
    Pad2dAttrs,
    ReshapeAttrs,
    SliceChannelsAttrs,
    TransposeAttrs,
)
from cnncc.ops.smooth import EluAttrs, GeluAttrs

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

MAP = (2, 6, 9, 7)
LINE = {"alpha": 0.2, "beta": 0.4}
Array = NDArray[np.float32]


def judge(op_type: str, arrays: list[Any], attributes: dict[str, Any]) -> Array:
    """The result of one ONNX node on given arrays."""
    helper = onnx.helper
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(arrays)]
    given = {n: a for n, a in zip(names, arrays, strict=True) if n}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given.items()
    ]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    node = helper.make_node(op_type, names, ["y"], **attributes)
    graph = helper.make_graph([node], "one", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)[0]  # type: ignore[no-any-return]


def conv_attributes(attrs: Conv2dAttrs) -> dict[str, Any]:
    return {
        "strides": attrs.strides,
        "pads": attrs.pads,
        "dilations": attrs.dilations,
        "group": attrs.groups,
    }


def normal(*shape: int) -> Array:
    seed = sum((k + 1) * n for k, n in enumerate(shape))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


CONVS = [
    (MAP, (4, 6, 3, 3), Conv2dAttrs()),
    (MAP, (4, 6, 3, 3), Conv2dAttrs((2, 2), (1, 1, 1, 1))),
    (MAP, (4, 3, 3, 2), Conv2dAttrs((2, 1), (1, 0, 2, 1), (1, 2), 2)),
    (MAP, (6, 1, 5, 5), Conv2dAttrs((1, 1), (2, 2, 2, 2), groups=6)),
    (MAP, (12, 1, 3, 3), Conv2dAttrs((2, 3), (0, 3, 1, 0), groups=6)),
    (MAP, (5, 6, 1, 1), Conv2dAttrs((2, 2))),
    (MAP, (3, 6, 9, 7), Conv2dAttrs()),
    ((1, 1, 1, 1), (2, 1, 3, 3), Conv2dAttrs(pads=(3, 3, 3, 3))),
    ((1, 2, 3, 2), (2, 2, 5, 5), Conv2dAttrs((3, 2), (3, 3, 3, 4), (2, 1))),
]


@pytest.mark.parametrize(("x", "w", "attrs"), CONVS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv2d(x: Any, w: Any, attrs: Conv2dAttrs, bias: bool) -> None:
    arrays = [normal(*x), normal(*w), *([normal(w[0])] if bias else [])]
    expected = judge("Conv", arrays, conv_attributes(attrs))
    compare("conv2d", arrays, attrs, expected)


DECONVS = [
    (MAP, (6, 4, 3, 3), Conv2dTransposeAttrs()),
    (MAP, (6, 4, 2, 2), Conv2dTransposeAttrs((2, 2))),
    (MAP, (6, 2, 3, 2), Conv2dTransposeAttrs((2, 3), (1, 0, 2, 1), (1, 1), 2, (1, 2))),
    (MAP, (6, 2, 3, 3), Conv2dTransposeAttrs((3, 3), (0, 0, 0, 0), (1, 1), 3)),
    ((1, 1, 1, 1), (1, 1, 1, 1), Conv2dTransposeAttrs((3, 3), output_pads=(2, 1))),
    (MAP, (6, 1, 3, 2), Conv2dTransposeAttrs((2, 2), (1, 1, 2, 0), (2, 3), 6, (1, 0))),
]


@pytest.mark.parametrize(("x", "w", "attrs"), DECONVS)
def test_conv2d_transpose(x: Any, w: Any, attrs: Conv2dTransposeAttrs) -> None:
    arrays = [normal(*x), normal(*w), normal(w[1] * attrs.groups)]
    attributes = conv_attributes(attrs) | {"output_padding": attrs.output_pads}
    compare("conv2d_transpose", arrays, attrs, judge("ConvTranspose", arrays, attributes))


POOLS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    (MAP, {"window": (2, 2), "strides": (2, 2)}),
    (MAP, {"window": (3, 2), "strides": (2, 1), "pads": (1, 0, 2, 1)}),
    (MAP, {"window": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    (MAP, {"window": (9, 7), "strides": (1, 1)}),
    (MAP, {"window": (2, 2), "strides": (3, 3)}),
    (MAP, {"window": (2, 2), "strides": (2, 2), "ceil": True}),
    ((1, 2, 6, 8), {"window": (3, 3), "strides": (2, 2), "ceil": True}),
    ((1, 2, 5, 5), {"window": (2, 2), "strides": (3, 3), "pads": (1, 1, 1, 1), "ceil": True}),
]


@pytest.mark.parametrize(("x", "fields"), POOLS)
def test_max_pool2d(x: Any, fields: dict[str, Any]) -> None:
    attrs = MaxPool2dAttrs(**fields)
    compare("max_pool2d", [normal(*x)], attrs, judge("MaxPool", [normal(*x)], pool(attrs)))


@pytest.mark.parametrize(("x", "fields"), POOLS)
@pytest.mark.parametrize("count_pad", [False, True])
def test_avg_pool2d(x: Any, fields: dict[str, Any], count_pad: bool) -> None:
    attrs = AvgPool2dAttrs(**fields, count_pad=count_pad)
    attributes = pool(attrs) | {"count_include_pad": int(count_pad)}
    compare("avg_pool2d", [normal(*x)], attrs, judge("AveragePool", [normal(*x)], attributes))


def pool(attrs: MaxPool2dAttrs) -> dict[str, Any]:
    return {
        "kernel_shape": attrs.window,
        "strides": attrs.strides,
        "pads": attrs.pads,
        "ceil_mode": int(attrs.ceil),
    }


def resize(mode: str) -> dict[str, Any]:
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    place = "asymmetric" if mode == "nearest" else "half_pixel"
    return {"mode": mode, "coordinate_transformation_mode": place, **extra}


def scales(*values: float) -> list[Any]:
    return [None, np.array([1, 1, *values], np.float32)]


def longs(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


SIX = [normal(6), normal(6), normal(6), np.abs(normal(6)) + np.float32(0.1)]
NODES: list[tuple[str, list[Any], Any, str, list[Any], dict[str, Any]]] = [
    ("global_avg_pool", [], NoAttrs(), "GlobalAveragePool", [], {}),
    ("global_max_pool", [], NoAttrs(), "GlobalMaxPool", [], {}),
    ("batch_norm", SIX, BatchNormAttrs(1e-3), "BatchNormalization", SIX, {"epsilon": 1e-3}),
    *(
        ("lrn", [], LrnAttrs(n, 0.5, 0.75, 2.0), "LRN", [], {"size": n, "alpha": 0.5, "bias": 2.0})
        for n in (1, 3, 5)
    ),
    ("softmax", [], SoftmaxAttrs(1), "Softmax", [], {"axis": 1}),
    ("softmax", [], SoftmaxAttrs(3), "Softmax", [], {"axis": 3}),
    ("relu", [], NoAttrs(), "Relu", [], {}),
    ("clip", [], ClipAttrs(-0.5, 1.0), "Clip", [np.float32(-0.5), np.float32(1)], {}),
    ("leaky_relu", [], LeakyReluAttrs(0.1), "LeakyRelu", [], {"alpha": 0.1}),
    ("prelu", [normal(6)], NoAttrs(), "PRelu", [normal(6).reshape(6, 1, 1)], {}),
    ("sigmoid", [], NoAttrs(), "Sigmoid", [], {}),
    ("tanh", [], NoAttrs(), "Tanh", [], {}),
    ("hard_swish", [], NoAttrs(), "HardSwish", [], {}),
    ("hard_sigmoid", [], HardSigmoidAttrs(0.2, 0.4), "HardSigmoid", [], LINE),
    ("elu", [], EluAttrs(0.5), "Elu", [], {"alpha": 0.5}),
    ("gelu", [], GeluAttrs(False), "Gelu", [], {}),
    ("gelu", [], GeluAttrs(True), "Gelu", [], {"approximate": "tanh"}),
    ("mish", [], NoAttrs(), "Mish", [], {}),
    ("softplus", [], NoAttrs(), "Softplus", [], {}),
    ("add", [normal(2, 6, 1, 1)], NoAttrs(), "Add", [normal(2, 6, 1, 1)], {}),
    ("mul", [normal(*MAP)], NoAttrs(), "Mul", [normal(*MAP)], {}),
    ("flatten", [], FlattenAttrs("chw"), "Flatten", [], {}),
    ("reshape", [], ReshapeAttrs((-1, 7, 54)), "Reshape", [longs(2, 7, 54)], {}),
    ("transpose", [], TransposeAttrs((0, 3, 1, 2)), "Transpose", [], {"perm": (0, 3, 1, 2)}),
    ("concat", [normal(2, 3, 9, 7)], ConcatAttrs(1), "Concat", [normal(2, 3, 9, 7)], {"axis": 1}),
    (
        *("pad2d", [], Pad2dAttrs((1, 0, 2, 3), 1.5), "Pad"),
        *([longs(0, 0, 1, 0, 0, 0, 2, 3), np.float32(1.5)], {}),
    ),
    (
        *("crop2d", [], Crop2dAttrs((1, 2, 3, 1)), "Slice"),
        *([longs(1, 2), longs(6, 6), longs(2, 3)], {}),
    ),
    ("slice_channels", [], SliceChannelsAttrs(2, 5), "Slice", [longs(2), longs(5), longs(1)], {}),
    ("upsample2d", [], Upsample2dAttrs((2, 3)), "Resize", scales(2, 3), resize("nearest")),
    *(
        (
            *("upsample2d", [], Upsample2dAttrs((fh, fw), "bilinear"), "Resize"),
            *(scales(fh, fw), resize("linear")),
        )
        for fh, fw in ((2, 2), (3, 2), (1, 4))
    ),
]


@pytest.mark.parametrize("case", NODES, ids=lambda c: f"{c[0]}-{c[2]}")
def test_nodes(case: Any) -> None:
    name, operands, attrs, op_type, theirs, attributes = case
    x = normal(*MAP) * np.float32(2)
    inputs = [np.asarray(a) if a is not None else None for a in theirs]
    compare(name, [x, *operands], attrs, judge(op_type, [x, *inputs], attributes))


def test_dense() -> None:
    arrays = [normal(3, 5), normal(4, 5), normal(4)]
    compare("dense", arrays, NoAttrs(), judge("Gemm", arrays, {"transB": 1}))


def compare(name: str, arrays: list[Array], attrs: Any, expected: Array) -> None:
    op = lookup(name)
    made = op.reference([a.astype(np.float64) for a in arrays], attrs)
    inferred = op.infer([f32(*a.shape) for a in arrays], attrs)
    assert made.shape == expected.shape == inferred.shape
    np.testing.assert_allclose(made, expected, rtol=2e-5, atol=2e-5)
