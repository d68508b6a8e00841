"""The standard interface: what it compiles when, what it binds, and how it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.backend.base import Backend
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from cnncc.errors import InputError
from cnncc.onnx import backend
from tests.onnx.conformance import cases, judge, page, reason_of, run

pytestmark = pytest.mark.native


def model(nodes: list, inputs: list, outputs: list, opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "small", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def value(name: str, *shape: int | str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def test_it_is_a_backend_for_this_cpu() -> None:
    assert issubclass(backend.CnnccBackend, Backend)
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA:1")
    with pytest.raises(InputError, match="CUDA"):
        backend.prepare(model([], [], []), "CUDA")


def test_a_fixed_model_is_compiled_once_and_runs() -> None:
    made = backend.prepare(
        model([helper.make_node("Relu", ["x"], ["y"])], [value("x", 2, 3)], [value("y", 2, 3)])
    )
    x = np.array([[-1, 0, 2], [3, -4, 5]], np.float32)
    (y,) = made.run([x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert y.dtype == np.float32
    assert made.specialised == ()
    with pytest.raises(InputError, match="1 arrays are wanted"):
        made.run([x, x])


def test_open_dimensions_come_from_the_data() -> None:
    made = backend.prepare(
        model(
            [helper.make_node("Relu", ["x"], ["y"])], [value("x", "n", "k")], [value("y", "n", "k")]
        )
    )
    for shape in ((2, 3), (5, 7), (2, 3)):
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        np.testing.assert_array_equal(made.run([x])[0], np.maximum(x, 0))
    assert made.specialised == ()


def test_operands_that_decide_on_shapes_are_bound_to_the_data() -> None:
    made = backend.prepare(
        model(
            [helper.make_node("Reshape", ["x", "shape"], ["y"])],
            [value("x", 2, 6), value("shape", 3, dtype=TensorProto.INT64)],
            [value("y", "a", "b", "c")],
        )
    )
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    for shape in ((3, 2, 2), (1, 4, 3)):
        (y,) = made.run([x, np.array(shape, np.int64)])
        np.testing.assert_array_equal(y, x.reshape(shape))
        assert made.specialised == ("shape",)


def test_what_cannot_be_compiled_is_refused_by_name() -> None:
    broken = model(
        [helper.make_node("StringNormalizer", ["x"], ["y"])],
        [value("x", 2, dtype=TensorProto.STRING)],
        [value("y", 2, dtype=TensorProto.STRING)],
    )
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="STRING"):
        backend.prepare(broken)


def test_single_nodes() -> None:
    x = np.array([[1, -2], [-3, 4]], np.float32)
    node = helper.make_node("Relu", ["x"], ["y"])
    np.testing.assert_array_equal(backend.run_node(node, [x])[0], np.maximum(x, 0))
    found = backend.run_node(node, x, opset_version=13)
    np.testing.assert_array_equal(found[0], np.maximum(x, 0))


def test_a_sample_of_the_suite() -> None:
    names = ("test_relu", "test_flatten_axis1", "test_transpose_all_permutations_0", "test_add")
    found = {name: judge(cases(["node"], name)[0]) for name in names}
    assert {name: v.reason for name, v in found.items() if v.verdict != "pass"} == {}
    assert found["test_relu"].cnn


def test_a_whole_suite_in_children() -> None:
    found = list(run(cases(["pytorch-operator"])))
    assert len(found) == 35
    assert not [v for v in found if v.verdict in ("wrong", "crash", "timeout")]
    assert sum(v.passed for v in found) >= 30


def test_the_judge_sees_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = cases(["node"], "test_relu")
    real = backend.CnnccRep.run
    monkeypatch.setattr(
        backend.CnnccRep, "run", lambda self, inputs: [real(self, inputs)[0] + np.float32(0.01)]
    )
    assert judge(case).verdict == "wrong"
    assert "absolute difference" in judge(case).reason
    monkeypatch.setattr(
        backend.CnnccRep, "run", lambda self, inputs: [real(self, inputs)[0].astype(np.float64)]
    )
    assert judge(case).verdict == "wrong"
    monkeypatch.setattr(backend.CnnccRep, "run", lambda self, inputs: 1 / 0)
    assert judge(case).verdict == "crash"


def test_reasons_do_not_depend_on_names_and_the_page_lists_them() -> None:
    message = "1 node cannot be compiled:\n  a.b (Foo, opset 3): not yet; use Bar\n  help: x"
    assert reason_of(message) == "Foo: not yet; use Bar"
    (case,) = cases(["node"], "test_strnormalizer_nostopwords_nochangecase")
    made = judge(case)
    assert made.verdict == "refused"
    assert "strnormalizer_nostopwords_nochangecase" in page([made])
