"""Every verb on ONNX files."""

import json

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

import cnncc
from tests.cli.conftest import DIGITS, answer
from tests.onnx.building import model, node


@pytest.fixture
def save(tmp_path):
    def write(made, name="m.onnx"):
        path = tmp_path / name
        path.write_bytes(made.SerializeToString())
        return path

    return write


def small(height="H"):
    """A convolution of maps of any height, whose names are as exporters make them."""
    filters = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", "in:0 w", "maps", name="/net/conv/Conv"),
        node("Relu", "maps", "bent"),
        node("GlobalAveragePool", "bent", "mean"),
        node("Flatten", "mean", "Identity:0"),
    ]
    return model(nodes, {"in:0": ["N", 3, height, 8]}, ["Identity:0"], {"w": filters})


@pytest.fixture
def opened(save):
    return save(small())


@pytest.fixture
def fixed(save):
    return save(small(8))


SHAPE = ("--shape", "in:0=1x3x8x8")


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["inspect"],
        ["inspect", "--fused"],
        ["inspect", "--svg"],
        ["explain"],
        ["explain", "net.conv"],
        ["verify"],
        ["bench", "--seconds", "0.01"],
        ["compile", "--emit", "asm", "-o", "-"],
        ["import", "-o", "-"],
    ],
)
def test_verbs_take_shapes_that_the_file_leaves_open(run, opened, words):
    verb, *more = words
    assert run(verb, opened, *more, *SHAPE).stdout
    told = run(verb, opened, *more, code=1).output
    assert "`in:0` [N, 3, H, 8]: axis 2 is open" in told
    assert "--shape" in told


def test_run(run, opened, tmp_path):
    rows = np.random.default_rng(2).standard_normal((2, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    run("run", opened, *SHAPE, "-i", f"in:0={tmp_path}/x.npy", "-o", f"{tmp_path}/y.npy")
    found = np.load(tmp_path / "y.npy")
    assert found.shape == (2, 4)
    session = ReferenceEvaluator(str(opened))
    np.testing.assert_allclose(found, session.run(None, {"in:0": rows})[0], rtol=1e-4, atol=1e-5)


def test_verify_beside_another_engine(run, opened):
    pytest.importorskip("onnxruntime")
    result = run("verify", opened, *SHAPE, "--against", "onnxruntime")
    assert "all 4 tensors agree with onnxruntime" in result.stderr


def test_shapes_in_tables_have_the_order_of_the_file(run, fixed):
    rows = answer(run("inspect", fixed, "--json"), "cnncc.layers/1")["layers"]
    assert [row["shape"] for row in rows] == ["1x3x8x8", "1x4x6x6", "1x4x6x6", "1x4x1x1", "1x4"]


def test_explain_names_tensors_of_the_file_and_no_lines(run, fixed):
    shown = run("explain", fixed, "net.conv").stdout
    assert "  in ONNX   maps, bent" in shown
    assert "written" not in shown
    (group,) = answer(run("explain", fixed, "net.conv", "--json"), "cnncc.explanation/1")["groups"]
    assert (group["lines"], group["tensors"][:2]) == ([], ["maps", "bent"])


def test_only_the_ends_of_a_network_lie_outside_of_the_arena(run, save):
    nodes = [node("Exp", "x", "a"), node("ReduceSum", "a axes", "b"), node("Sin", "b", "y")]
    path = save(model(nodes, {"x": [2, 3, 4]}, ["y"], {"axes": np.array([0])}))
    rows = answer(run("inspect", "--fused", path, "--json"), "cnncc.groups/1")["groups"]
    assert [row["in_arena"] for row in rows] == [True] * (len(rows) - 1) + [False]
    assert len(rows) > 1


def test_check(run, fixed, save, tmp_path):
    assert run("check", fixed).stdout == f"{fixed}: no mistakes\n"
    nodes = [node("NonZero", "x", "y", name="places"), node("Loop", "nowhere", "z", name="again")]
    bad = save(model(nodes, {"x": [1, 2]}, ["y", "z"]), "bad.onnx")
    (tmp_path / "torn.onnx").write_bytes(fixed.read_bytes()[:-9])
    found = json.loads(run("check", "--message-format", "json", bad, fixed, code=1).stdout)
    assert {entry["code"] for entry in found} == {"ONNX"}
    assert {entry["file"] for entry in found} == {str(bad)}
    shown = run("check", tmp_path / "torn.onnx", code=1).stdout
    assert "error[ONNX]: " in shown
    assert f"  --> {tmp_path}/torn.onnx\n" in shown
    assert shown.endswith("torn.onnx: 1 error\n")
    assert "only ONNX files" in run("check", DIGITS, *SHAPE, code=2).stderr


def test_unsupported_nodes_are_a_mistake_each(run, save):
    nodes = [
        node("Unique", "x", "y", name="first"),
        node("NonZero", "x", "z", name="second"),
    ]
    bad = save(model(nodes, {"x": [1, 1, 2]}, ["y", "z"]))
    found = json.loads(run("check", "--message-format", "json", bad, code=1).stdout)
    assert [entry["message"].split(":")[0] for entry in found] == [
        "first (Unique, opset 17)",
        "second (NonZero, opset 17)",
    ]
    assert "`cnncc ops --onnx` lists what is supported" in found[0]["help"]


def test_what_does_not_belong_to_onnx_files(run, fixed, tmp_path):
    assert "`cnncc import` writes it as a spec" in run("fmt", fixed, code=1).stderr
    assert "no `param`s" in run("inspect", fixed, "-D", "a=1", code=1).stderr
    assert "no `param`s" in run("inspect", fixed, "--weights", "w.npz", code=1).stderr
    assert "declares the shape" in run("inspect", DIGITS, *SHAPE, code=1).stderr
    assert "--shape" in run("inspect", "-", *SHAPE, code=2, stdin="cnncc 1\n").stderr
    assert "whose name ends in .onnx" in run("run", "-", code=1, stdin=fixed.read_bytes()).stderr


@pytest.mark.parametrize("text", ["x", "=1x2", "x=", "x=1x-2", "x=1,2", f"x={'9' * 5000}"])
def test_shapes_that_are_none(run, fixed, text):
    assert "is no shape such as" in run("check", fixed, "--shape", text, code=2).stderr


def test_an_input_whose_name_holds_signs(run, save, tmp_path):
    made = model([node("Relu", "a=b/c:0", "y")], {"a=b/c:0": ["N", "K"]}, ["y"])
    path = save(made)
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    words = ("--shape", "a=b/c:0=1x3", "-i", f"a=b/c:0={tmp_path}/x.npy")
    assert "1" in run("run", path, *words).stdout


# -- pictures --------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path):
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png", pixels


@pytest.mark.parametrize("shape", [(1, 3, 2, 4), (1, 2, 4, 3), (2, 4, 3)])
def test_pictures_fit_channels_first_and_last(run, save, tmp_path, photo, shape):
    path, pixels = photo
    nodes = [node("Relu", "x", "y")]
    place = tmp_path / "y.npy"
    run("run", save(model(nodes, {"x": shape}, ["y"])), "-i", path, "-o", place)
    expected = pixels.transpose(2, 0, 1) if shape[1] == 3 else pixels
    assert np.array_equal(np.load(place), expected.reshape(shape).astype(np.float32))


def test_pictures_are_scaled_on_request(run, save, tmp_path, photo):
    path, pixels = photo
    made = save(model([node("Identity", "x", "y")], {"x": (1, 3, 2, 4)}, ["y"]))
    words = ("--scale", "1/255", "--mean", "0.5,0.25,0.125", "--std", "0.5")
    run("run", made, "-i", path, *words, "-o", tmp_path / "y.npy")
    wanted = (pixels / 255 - [0.5, 0.25, 0.125]) / 0.5
    found = np.load(tmp_path / "y.npy")[0].transpose(1, 2, 0)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--mean", "1,2"], 1, "--mean has 2 numbers, but input `x` has 3 channels"),
        (["--mean", "1,x"], 2, "`1,x` is no list like"),
        (["--std", "0"], 2, "all must be above 0"),
        (["--scale", "1/0"], 2, "`1/0` is no number"),
        (["--scale", "inf"], 2, "`inf` is no number"),
    ],
)
def test_scales_that_are_none(run, save, photo, words, code, message):
    made = save(model([node("Identity", "x", "y")], {"x": (1, 3, 2, 4)}, ["y"]))
    assert message in run("run", made, "-i", photo[0], *words, code=code).stderr


def test_bytes_are_not_scaled(run, photo):
    shown = run("run", DIGITS, "-i", DIGITS.parent / "two.png", "--scale", "1/255", code=1).stderr
    assert "input `digit` takes u8: bytes that are not scaled" in shown


# -- types, ranks, and models without a batch ------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "i64", "i32", "i8", "u8", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 2, 1, 3)])
def test_arrays_of_every_type_and_rank(run, save, tmp_path, dtype, shape):
    names = {"f": "float", "i": "int", "u": "uint"}
    wanted = np.dtype("bool" if dtype == "bool" else names[dtype[0]] + dtype[1:])
    code = helper.np_dtype_to_tensor_dtype(wanted)
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(wanted)
    made = model([node("Identity", "x", "y")], {"x": shape}, ["y"])
    made.graph.input[0].type.tensor_type.elem_type = code
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", code, shape))
    np.save(tmp_path / "x.npy", x)
    path = save(made)
    run("run", path, "-i", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    found = np.load(tmp_path / "y.npy")
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert np.array_equal(found, x)
    assert run("run", path, "-i", tmp_path / "x.npy").stdout
    rows = answer(run("run", path, "-i", tmp_path / "x.npy", "--json"), "cnncc.answers/1")
    assert rows["samples"][0]["outputs"][0]["type"] == dtype


def mixing():
    """A model that mixes samples: the sum over the leading axis."""
    nodes = [node("ReduceSum", "x axes", "y", keepdims=0)]
    return model(nodes, {"x": [2, 3]}, ["y"], {"axes": np.array([0])})


def test_models_without_a_batch(run, save, tmp_path):
    path = save(mixing())
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "wide.npy", np.ones((4, 2, 3), np.float32))
    x = tmp_path / "x.npy"
    run("run", path, "-i", x, "-o", tmp_path / "y.npy")
    assert np.array_equal(np.load(tmp_path / "y.npy"), [2, 2, 2])
    shown = run("run", path, "-i", tmp_path / "wide.npy", code=1).stderr
    assert "expected f32[2,3], got float32[4, 2, 3]" in shown
    assert "mixes samples" in run("run", path, "-i", x, "-i", x, code=1).stderr
    run("bench", path, "--seconds", "0.01")
    assert "has no batch" in run("bench", path, "--batch", "2", code=1).stderr
    assert answer(run("verify", path, "--json"), "cnncc.verification/1")["ok"] is True


def test_selected_rows_are_cut(run, save, tmp_path):
    nodes = [node("NonMaxSuppression", "boxes scores most overlap least", "picked")]
    constants = {
        "most": np.array([3]),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.0], np.float32),
    }
    shapes = {"boxes": [1, 4, 4], "scores": [1, 1, 4]}
    path = save(model(nodes, shapes, ["picked"], constants))
    boxes = [[0, 0, 1, 1], [0, 0, 1, 1.1], [5, 5, 6, 6], [0, 0, 1, 0.9]]
    np.save(tmp_path / "b.npy", np.array([boxes], np.float32))
    np.save(tmp_path / "s.npy", np.array([[[0.9, 0.8, 0.7, 0.6]]], np.float32))
    words = ("-i", f"boxes={tmp_path}/b.npy", "-i", f"scores={tmp_path}/s.npy")
    run("run", path, *words, "-o", f"picked={tmp_path}/y.npy")
    assert np.load(tmp_path / "y.npy").tolist() == [[0, 0, 0], [0, 0, 2]]
    shown = run("run", path, *words).stdout
    assert "i64[2, 3], of at most 3 rows:" in shown
    assert "picked.count:" in shown


def test_an_imported_spec_has_the_ports_of_the_model(run, save, tmp_path):
    nodes = [node("NonMaxSuppression", "boxes:0 scores most", "picked:0")]
    shapes = {"boxes:0": [1, 4, 4], "scores": [1, 1, 4]}
    path = save(model(nodes, shapes, ["picked:0"], {"most": np.array([3])}))
    run("import", path, "-o", tmp_path / "n.cnn")
    first, again = cnncc.compile(path), cnncc.compile(tmp_path / "n.cnn")
    assert again.inputs == first.inputs
    assert again.outputs == first.outputs
    assert again.outputs[0].rows == "picked:0.count"


def test_bench_beside_the_file_itself(run, fixed):
    pytest.importorskip("onnxruntime")
    words = ("--seconds", "0.01", "--against", "onnxruntime", "--batch", "1,2", "--json")
    rows = answer(run("bench", fixed, *words), "cnncc.bench/2")["results"]
    assert [row["engine"] for row in rows] == ["cnncc", "onnxruntime"] * 2
    assert all(row["relative_difference"] < 1e-5 for row in rows[1::2])
