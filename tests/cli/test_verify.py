import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import cnncc.onnx.against
import cnncc.verification
from cnncc.ir.tolerance import Mismatch
from tests.cli.conftest import DIGITS, answer


@pytest.mark.parametrize("threads", [1, 2])
def test_a_good_network(run, threads):
    result = run("verify", DIGITS, "--json", "--threads", threads)
    made = answer(result, "cnncc.verification/1")
    assert made["ok"] is True
    assert made["first_bad"] is None
    assert {row["verdict"] for row in made["layers"]} == {"ok"}
    assert made["layers"][1]["ops"] == ["conv2d", "relu", "max_pool2d"]
    assert all(row["max_error"] <= row["allowed"] for row in made["layers"])
    assert result.stderr == "all 7 layers agree with the oracle\n"


def test_on_a_picture(run):
    assert "conv1" in run("verify", DIGITS, "-i", DIGITS.parent / "two.png", "-q").stdout


def test_the_first_bad_layer_is_named(run, monkeypatch):
    real = cnncc.verification.check_layers

    def broken(*words):
        wrong = Mismatch("value", (0, 3), 1.0, 2.0, 1e-6, 5, 10)
        for check in real(*words):
            bad = check.path in ("conv2", "fc1")
            yield dataclasses.replace(check, mismatch=wrong if bad else None)

    monkeypatch.setattr("cnncc.verification.check_layers", broken)
    result = run("verify", DIGITS, code=1)
    assert "2 of 7 layers are wrong, the first is `conv2`" in result.stderr
    assert "digits.cnn:19:1): value differs at [0,3]: 1.0 instead of 2.0" in result.stderr
    assert (
        answer(run("verify", DIGITS, "--json", code=1), "cnncc.verification/1")["first_bad"]
        == "conv2"
    )


def test_inputs_of_another_type(run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((28, 28, 1), np.float32))
    shown = run("verify", DIGITS, "-i", tmp_path / "x.npy", code=1).stderr
    assert "expected u8, got float32" in shown


@pytest.fixture
def exported(tmp_path):
    """An ONNX file of three layers."""
    value = helper.make_tensor_value_info
    filters = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], name="first"),
        helper.make_node("Relu", ["maps"], ["bent"], name="second"),
        helper.make_node("GlobalAveragePool", ["bent"], ["y"], name="third"),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 4, 1, 1])],
        [onnx.numpy_helper.from_array(filters, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "three.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_beside_onnxruntime(run, exported):
    result = run("verify", exported, "--against", "onnxruntime", "--json")
    made = answer(result, "cnncc.verification/1")
    assert made["ok"] is True
    assert made["against"]["first_bad"] is None
    assert [row["tensor"] for row in made["against"]["tensors"]] == ["maps", "bent", "y"]
    assert made["against"]["outputs"][0]["passes"] < 1e-6
    assert "all 3 tensors agree with onnxruntime" in result.stderr
    assert "largest difference" in run("verify", exported, "--against", "onnxruntime").stdout


def test_the_first_tensor_that_differs_is_named_with_both_values(run, exported, monkeypatch):
    real = cnncc.onnx.against.check_tensors

    def broken(*words):
        wrong = Mismatch("value", (0, 1, 2, 3), 1.25, 2.5, 1e-6, 5, 144)
        for check in real(*words):
            bad = check.tensor in ("bent", "y")
            yield dataclasses.replace(check, mismatch=wrong if bad else None)

    monkeypatch.setattr("cnncc.onnx.against.check_tensors", broken)
    result = run("verify", exported, "--against", "onnxruntime", code=1)
    assert "2 of 3 tensors differ from onnxruntime" in result.stderr
    assert "the first is `bent` (layer `second`): at [0,1,2,3]" in result.stderr
    assert "onnxruntime has 1.25, cnncc 2.5" in result.stderr


def test_an_output_that_the_passes_have_moved(run, exported, monkeypatch):
    real = cnncc.onnx.against.drifts

    def broken(*words):
        for drift in real(*words):
            yield dataclasses.replace(drift, passes=0.5)

    monkeypatch.setattr("cnncc.onnx.against.drifts", broken)
    result = run("verify", exported, "--against", "onnxruntime", code=1)
    assert "the passes have moved output `y` by 5.0e-01" in result.stderr


def test_other_files_have_no_tensors_to_compare(run):
    shown = run("verify", DIGITS, "--against", "onnxruntime", code=2).stderr
    assert "is for ONNX files" in shown
