"""`cnncc import`: the spec compiles to the model's own numbers, and nothing is lost by accident."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import cnncc
from cnncc.spec import check
from tests.cli.conftest import answer

onnx = pytest.importorskip("onnx")


@pytest.fixture
def model(tmp_path):
    """Two convolutions with a residual between, on a map of open height and width."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(5)
    weights = {
        "a.w": rng.normal(size=(4, 3, 3, 3)),
        "b.w": rng.normal(size=(4, 4, 3, 3)),
        "b.b": rng.normal(size=(4,)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "a.w"], ["a"], "/net/net.0/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"], "/net/net.1/Relu"),
        helper.make_node("Conv", ["r", "b.w", "b.b"], ["b"], "/net/net.2/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "r"], ["soft:0"], "/net/Add"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [value("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [value("soft:0", TensorProto.FLOAT, ["N", 4, "H", "W"])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()],
    )
    path = tmp_path / "net.onnx"
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return path


SHAPE = ("--shape", "image=1x3x9x8")
SPEC = """\
cnncc 1
model net
weights "net.safetensors"
input image: 9x8x3 { layout = chw }

relu1 = conv(3x3, filters=4, pad=1, bias=false) as net.0 -> relu
conv1 = conv(3x3, filters=4, pad=1) as net.2
add(conv1, relu1)
output soft_0 { name = "soft:0" }
"""


def test_the_spec_and_its_weights(run, model):
    result = run("import", model, *SHAPE)
    spec, weights = model.with_suffix(".cnn"), model.with_suffix(".safetensors")
    assert spec.read_text() == SPEC
    assert sorted(load_file(weights)) == ["net.0.weight", "net.2.bias", "net.2.weight"]
    assert (result.stdout, result.stderr.splitlines()[0]) == ("", f"wrote {spec}: 9 lines")
    assert "256 parameters" in result.stderr
    assert run("fmt", "--check", spec).output == ""
    assert check(spec) == ()


def test_the_numbers_are_the_same(run, model):
    run("import", model, *SHAPE)
    x = np.random.default_rng(1).normal(size=(1, 3, 9, 8)).astype(np.float32)
    answers = [
        cnncc.compile(model, shapes={"image": (1, 3, 9, 8)})(x),
        cnncc.compile(model.with_suffix(".cnn"))(x),
    ]
    first, second = (np.asarray(a if isinstance(a, np.ndarray) else a["soft:0"]) for a in answers)
    assert first.tobytes() == second.tobytes()


MODELS = Path(__file__).parents[3] / "shared" / "models"
SMALL = ("digit_cnn", "digit_cnn_int8_qop", "mini_xception", "mtcnn_onet", "blazeface_front")


@pytest.mark.native
@pytest.mark.parametrize("name", SMALL)
def test_real_models(run, tmp_path, name):
    """What the golden input gives is the same, bit for bit, from the model and from its spec."""
    folder = MODELS / name
    if not folder.exists():
        pytest.skip("../shared/models is not there")
    spec = tmp_path / "m.cnn"
    run("import", folder / "model.onnx", "-o", spec)
    assert check(spec) == ()
    assert len(spec.read_text().splitlines()) <= 75
    x = np.load(folder / "golden.npz")["input"]
    answers = [cnncc.compile(path)(x) for path in (folder / "model.onnx", spec)]
    flat = [a.values() if isinstance(a, dict) else a for a in answers]
    flat = [[a] if isinstance(a, np.ndarray) else list(a) for a in flat]
    assert [a.tobytes() for a in flat[0]] == [a.tobytes() for a in flat[1]]


def test_flat(run, model, tmp_path):
    target = tmp_path / "deep" / "flat.cnn"
    run("import", model, "-o", target, "--flat", *SHAPE)
    text = target.read_text()
    assert "v2 = v1 -> relu as net.1 : [9, 8, 4]" in text
    assert (tmp_path / "deep" / "flat.safetensors").exists()


def test_stdout_and_json(run, model):
    assert run("import", model, "-o", "-", *SHAPE).stdout == SPEC
    assert not model.with_suffix(".cnn").exists()
    made = answer(run("import", model, "--json", *SHAPE), "cnncc.import/1")
    assert (made["lines"], made["blocks"], made["parameters"]) == (9, 0, 256)


def test_what_is_there_is_replaced_only_on_demand(run, model):
    run("import", model, *SHAPE)
    spec = model.with_suffix(".cnn")
    spec.write_text("mine")
    assert "exists" in run("import", model, *SHAPE, code=1).stderr
    assert spec.read_text() == "mine"
    run("import", model, "-o", spec, *SHAPE)
    assert spec.read_text() == SPEC


def test_mistakes(run, model, tmp_path):
    assert "open" in run("import", model, code=1).stderr
    assert "no shape" in run("import", model, "--shape", "image=3", "--shape", "x", code=2).stderr
    assert "only .onnx" in run("import", tmp_path / "a.cnn", code=1).stderr
    assert "ends in .cnn" in run("import", model, "-o", "x.txt", *SHAPE, code=2).stderr
