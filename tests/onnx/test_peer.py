"""The witness: every tensor is seen, as the file says and not as an optimiser would have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnncc.errors import UnsupportedError
from cnncc.onnx.convert import to_graph
from cnncc.onnx.peer import Peer, feeds_of
from cnncc.onnx.read import read


def padded_pool() -> onnx.ModelProto:
    """A border of zeros around negative numbers, and the largest of each window."""
    value = helper.make_tensor_value_info
    pads = helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1])
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["wide"], mode="constant"),
        helper.make_node("MaxPool", ["wide"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [value("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [value("y", TensorProto.FLOAT, [1, 1, 3, 3])],
        [pads],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_tensor_is_seen_and_the_optimiser_is_off(tmp_path: Path) -> None:
    x = -np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    path = tmp_path / "pooled.onnx"
    path.write_bytes(padded_pool().SerializeToString())
    for source in (path, path.read_bytes()):
        peer = Peer(source)
        found = peer.tensors({"x": x})
        assert set(found) >= {"x", "wide", "y"}
        assert peer.outputs == ("y",)
        np.testing.assert_array_equal(found["wide"], np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))))
        # Its optimiser would make the border one of minus infinity.
        assert found["y"].max() == 0


def test_feeds_have_the_names_of_the_file() -> None:
    graph = to_graph(read(padded_pool().SerializeToString()))
    x = np.zeros((1, 4, 4), np.float32)
    (label,) = (graph[i].name for i in graph.inputs)
    assert feeds_of(graph, {label: x})["x"].shape == (1, 1, 4, 4)


def test_what_it_does_not_take_is_said() -> None:
    broken = padded_pool()
    broken.graph.node[1].op_type = "NoSuchPool"
    with pytest.raises(UnsupportedError, match="onnxruntime does not take the model"):
        Peer(broken.SerializeToString())
    with pytest.raises(UnsupportedError, match="cannot run"):
        Peer(padded_pool().SerializeToString()).tensors({"x": np.zeros((1, 1, 9, 9), np.float32)})
