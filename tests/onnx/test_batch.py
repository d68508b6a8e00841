"""When a batch may stay free: exactly where samples stay apart."""

import numpy as np
import pytest

from cnncc.ir import interp
from cnncc.onnx.convert import to_graph
from cnncc.onnx.read import read
from tests.onnx.building import model, node

RNG = np.random.default_rng(3)
W = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)


def graph_of(nodes, shape, constants=None, **options):
    return to_graph(read(model(nodes, {"x": shape}, ["y"], constants)), **options)


CONV = node("Conv", "x w", "c", pads=[1, 1, 1, 1])
APART = {
    "conv": ([CONV, node("Relu", "c", "y")], {"w": W}),
    "residual": ([CONV, node("Conv", "x w", "d", pads=[1] * 4), node("Add", "c d", "y")], {"w": W}),
    "gate": (
        [CONV, node("GlobalAveragePool", "c", "g"), node("Mul", "c g", "y")],
        {"w": W},
    ),
    "flatten": ([node("Flatten", "x", "y")], {}),
    "transpose": ([node("Transpose", "x", "y", perm=[0, 2, 3, 1])], {}),
    "mean": ([node("ReduceMean", "x", "y", axes=[1, 2])], {}),
    "channels of a constant": (
        [node("Concat", "x b", "y", axis=1)],
        {"b": np.ones((1, 2, 5, 6), "f4")},
    ),
    "join": ([node("Concat", "x x", "y", axis=1)], {}),
    "constant": ([node("Add", "x b", "y")], {"b": RNG.standard_normal((3, 1, 1)).astype("f4")}),
    "matmul": ([node("MatMul", "x b", "y")], {"b": RNG.standard_normal((6, 2)).astype("f4")}),
}
MIXED = {
    "mean over samples": ([node("ReduceMean", "x", "y", axes=[0], keepdims=1)], {}),
    "samples in another place": ([node("Transpose", "x", "y", perm=[1, 0, 2, 3])], {}),
    "softmax over samples": ([node("Softmax", "x", "y", axis=0)], {}),
    "samples behind samples": ([node("Concat", "x x", "y", axis=0)], {}),
    "folded away": ([node("Reshape", "x s", "y")], {"s": np.array([-1], np.int64)}),
}


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("leading", [1, "N", None])
def test_samples_that_stay_apart_may_be_any_number(name, leading):
    nodes, constants = APART[name]
    graph = graph_of(nodes, [leading, 3, 5, 6], constants)
    assert graph.meta["batched"] is True
    x = RNG.standard_normal((4, 3, 5, 6)).astype(np.float32)
    (together,) = interp.run(graph, {0: x})
    for sample in range(4):
        (alone,) = interp.run(graph, {0: x[sample : sample + 1]})
        np.testing.assert_allclose(together[sample], alone[0], rtol=1e-12)


@pytest.mark.parametrize("name", MIXED)
def test_samples_that_meet_fix_the_batch(name):
    nodes, constants = MIXED[name]
    graph = graph_of(nodes, [1, 3, 5, 6], constants)
    assert graph.meta["batched"] is False


def test_a_fixed_batch_of_layers_becomes_free():
    nodes, constants = APART["gate"]
    graph = graph_of(nodes, [4, 3, 5, 6], constants)
    assert graph.meta["batched"] is True
    assert graph.type_of(graph.outputs[0][1]).shape == (1, 4, 5, 6)


def test_a_fixed_batch_without_layers_stays():
    graph = graph_of([node("Relu", "x", "y")], [4, 3])
    assert graph.meta["batched"] is False
    assert graph.type_of(graph.outputs[0][1]).shape == (4, 3)


def test_a_batch_that_was_asked_for_stays_where_samples_meet():
    nodes, constants = MIXED["mean over samples"]
    graph = graph_of(nodes, ["N", 3, 5, 6], constants, shapes={"x": (4, 3, 5, 6)})
    assert graph.meta["batched"] is False
    assert graph.type_of(graph.inputs[0]).shape == (4, 3, 5, 6)
