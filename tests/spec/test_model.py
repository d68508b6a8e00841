"""Whole files become graphs."""

import numpy as np
import pytest

from cnncc import spec
from cnncc.errors import SpecError

SMALL = """cnncc 1
weights random
input photo: 10x10x3 { dtype = u8, scale = 1/255 }
conv(3x3, filters=16) -> relu
maxpool(2x2, stride=2)
flatten
dense(2) -> softmax
output animal { labels = ["cat", "dog"], top = 1 }
"""


def test_small_network():
    graph = spec.load(SMALL).graph
    ops = [node.op for _, node in graph.nodes() if node.op != "constant"]
    assert ops == [
        *("input", "normalize", "conv2d", "relu"),
        *("max_pool2d", "flatten", "dense", "softmax"),
    ]
    assert graph.meta["labels"] == {"animal": ["cat", "dog"]}
    assert graph.meta["top"] == {"animal": 1}
    assert graph.meta["parameters"] == 16 * 27 + 16 + 256 * 2 + 2
    assert graph.constants["conv1.weight"].shape == (16, 3, 3, 3)


def test_paths_that_are_no_files(tmp_path, monkeypatch):
    """Paths of the command line are relative to no file, and a folder was found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.npy").touch()
    (tmp_path / "m.cnn").write_text(SMALL.replace("random", '"other.npz"'))
    assert spec.render_text(spec.check("x/y.cnn")).endswith("help: the folder `x` was not found\n")
    assert spec.render_text(spec.check("unlike")) == "error[E0505]: `unlike` was not found\n"
    assert "error[E0505]: `.` is a folder\n" in spec.render_text(spec.check("."))
    given = spec.check("m.cnn", weights="net.npz")[0]
    assert (given.span, given.help) == (None, "")
    clause = next(d for d in spec.check("m.cnn") if d.code == "E0505")
    assert clause.span is not None
    assert clause.help == "paths are relative to the file"


def test_order_of_one_channel_does_not_matter():
    text = "cnncc 1\ninput x: 4x4x1\nflatten -> dense(2)\noutput y\n"
    arrays = {"dense1.weight": np.ones((2, 16), np.float32), "dense1.bias": np.ones(2, np.float32)}
    codes = [d.code for d in spec.load(text, weights=arrays).diagnostics]
    assert "E0504" not in codes
    with pytest.raises(SpecError, match="the order of `flatten` matters"):
        spec.load(text.replace("4x4x1", "2x4x2"), weights=arrays)


def test_layers_that_were_trained_without_bias():
    text = "cnncc 1\ninput x: [16]\ndense(2) -> bn\noutput y\n"
    arrays = {"dense1.weight": np.ones((2, 16), np.float32), "bn1.weight": np.ones(2, np.float32)}
    with pytest.raises(SpecError) as caught:
        spec.load(text, weights=arrays)
    helps = {d.message.split("`")[1]: "bias=false" in d.help for d in caught.value.diagnostics}
    assert helps["dense1.bias"]
    assert not helps["bn1.bias"]


def test_errors_are_reported_together():
    with pytest.raises(SpecError) as caught:
        spec.load(SMALL.replace("relu", "Relu").replace("dense(2)", "dense(units=2.5)"))
    assert [d.code for d in caught.value.diagnostics] == ["E0201", "E0304"]
