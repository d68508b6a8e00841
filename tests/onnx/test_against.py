"""Two opinions on each tensor: they agree on sound graphs, and name the node that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cnncc.ir.graph import Graph
from cnncc.onnx.against import TensorCheck, check_tensors, drifts, relative_l2
from cnncc.onnx.convert import to_graph
from cnncc.onnx.peer import Peer, feeds_of
from cnncc.onnx.read import read
from cnncc.passes import FoldBatchNorm


def chain(nodes: Sequence[onnx.NodeProto], *weights: onnx.TensorProto, half: bool = False) -> bytes:
    """A model from `x` [2,3,5,5] to the last node's output."""
    element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", element, [2, 3, 5, 5])],
        [helper.make_empty_tensor_value_info(nodes[-1].output[0])],
        weights,
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def normalised() -> bytes:
    """Convolution, batch norm, sigmoid, and a constant that is computed."""
    rng = np.random.default_rng(3)
    shapes = {"w": (4, 3, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,), "var": (4,)}
    arrays = {n: np.abs(rng.standard_normal(s)).astype(np.float32) for n, s in shapes.items()}
    return chain(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
            helper.make_node("Sigmoid", ["n"], ["s"]),
            helper.make_node("Exp", ["w0"], ["e"]),
            helper.make_node("Mul", ["s", "e"], ["y"]),
        ],
        *(numpy_helper.from_array(array, name) for name, array in arrays.items()),
        numpy_helper.from_array(np.array([0.3], np.float32), "w0"),
    )


def asked(model: bytes, dtype: type = np.float32) -> tuple[Graph, dict, dict]:
    graph = to_graph(read(model))
    rng = np.random.default_rng(7)
    inputs = {
        graph[i].name: rng.standard_normal(graph.type_of(i).shape).astype(dtype)
        for i in graph.inputs
    }
    return graph, inputs, Peer(model).tensors(feeds_of(graph, inputs))


def wrong(checks: Sequence[TensorCheck]) -> list[str]:
    return [check.tensor for check in checks if check.mismatch is not None]


def test_sound_graphs_agree_and_computed_constants_are_seen() -> None:
    checks = list(check_tensors(*asked(normalised())))
    assert {check.tensor for check in checks} == {"e", "c", "n", "s", "y"}
    assert not wrong(checks)
    assert all(check.max_error <= check.allowed for check in checks)


@pytest.mark.parametrize("tensor", ["c", "n", "s", "y"])
def test_only_the_wrong_node_is_named(tensor: str) -> None:
    graph, inputs, tensors = asked(normalised())
    moved = tensors[tensor].copy()
    moved[0, 1, 2, 3] += 0.01
    checks = list(check_tensors(graph, inputs, {**tensors, tensor: moved}))
    found = wrong(checks)
    assert found[0] == tensor
    first = next(check for check in checks if check.mismatch)
    assert first.mismatch is not None
    assert first.mismatch.index == (0, 1, 2, 3)
    assert first.mismatch.actual == pytest.approx(first.mismatch.expected + 0.01, abs=1e-4)


def test_half_precision_gets_its_own_rounding() -> None:
    model = chain(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Sqrt", ["r"], ["y"])], half=True
    )
    graph, inputs, tensors = asked(model, np.float16)
    assert tensors["y"].dtype == np.float16
    assert not wrong(list(check_tensors(graph, inputs, tensors)))
    far = {**tensors, "y": tensors["y"] + np.float16(0.05)}
    assert wrong(list(check_tensors(graph, inputs, far))) == ["y"]


def test_casts_of_numbers_that_do_not_fit_are_open() -> None:
    model = chain([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)])
    graph, inputs, _ = asked(model)
    (label,) = inputs
    inputs[label][0, 0, 0] = [np.nan, np.inf, 1e20, -1e20, 2.5]
    tensors = Peer(model).tensors(feeds_of(graph, inputs))
    assert not wrong(list(check_tensors(graph, inputs, tensors)))
    tensors["y"][0, 0, 0, 4] = 3
    assert wrong(list(check_tensors(graph, inputs, tensors))) == ["y"]


def test_what_passes_do_to_outputs() -> None:
    graph, inputs, tensors = asked(normalised())
    planned = graph.copy()
    FoldBatchNorm().run(planned)
    (kept,) = drifts(graph, planned, inputs, tensors)
    assert kept.is_sound
    assert kept.passes < 1e-6
    data = next(k for k, array in planned.constants.items() if array.shape == (4, 3, 3, 3))
    planned.constants[data] = planned.constants[data] * np.float32(1.01)
    (moved,) = drifts(graph, planned, inputs, tensors)
    assert not moved.is_sound
    assert not replace(moved, passes=float("inf"), peer=float("inf")).is_sound
    assert replace(kept, peer=float("inf")).is_sound
    assert replace(moved, passes=0.02, peer=0.03).is_sound


def test_relative_l2() -> None:
    right = np.array([3.0, 4.0, np.nan, np.inf], np.float32)
    assert relative_l2(right, right) == 0
    assert relative_l2(right + np.float32([0, 0.5, 0, 0]), right) == pytest.approx(0.1)
    assert relative_l2(np.float32([3, 4, 0, np.inf]), right) == float("inf")
    assert relative_l2(np.float32([3, np.nan, np.nan, np.inf]), right) == float("inf")
