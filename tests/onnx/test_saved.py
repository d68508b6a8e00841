"""Imported networks that were saved: everything that callers see comes back."""

import json
import pickle

import numpy as np
import pytest

import cnncc
from cnncc.runtime import artifact
from tests.onnx.building import model, node

pytestmark = pytest.mark.native


def mixing():
    nodes = [node("ReduceSum", "x:0 axes", "y:0", keepdims=0)]
    return model(nodes, {"x:0": [2, 3]}, ["y:0"], {"axes": np.array([0])})


def selecting():
    nodes = [node("NonMaxSuppression", "boxes scores most overlap", "picked")]
    constants = {"most": np.array([3]), "overlap": np.array([0.5], np.float32)}
    return model(nodes, {"boxes": [1, 4, 4], "scores": [1, 1, 4]}, ["picked"], constants)


def apart():
    return model([node("Relu", "x", "y")], {"x": ["N", 3]}, ["y"])


def compiled(tmp_path, made):
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return cnncc.compile(path, threads=1)


@pytest.mark.parametrize(("made", "batched"), [(mixing(), False), (apart(), True)])
def test_ports_come_back(tmp_path, made, batched):
    net = compiled(tmp_path, made)
    net.save(tmp_path / "m.cnnc")
    for again in (cnncc.load(tmp_path / "m.cnnc"), pickle.loads(pickle.dumps(net))):
        assert again.interface == net.interface
        assert again.interface.batched is batched
        shape = again.inputs[0].shape if not batched else (5, *again.inputs[0].shape)
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        assert np.array_equal(again(x), net(x))


def test_selected_rows_are_cut_again(tmp_path):
    net = compiled(tmp_path, selecting())
    net.save(tmp_path / "m.cnnc")
    again = cnncc.load(tmp_path / "m.cnnc")
    assert [port.rows for port in again.outputs] == ["picked.count", ""]
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1.1], [5, 5, 6, 6], [0, 0, 1, 0.9]]], np.float32)
    scores = np.array([[[0.9, 0.8, 0.7, 0.6]]], np.float32)
    found = again(boxes, scores)
    assert found.tolist() == [[0, 0, 0], [0, 0, 2]]
    assert np.array_equal(net(boxes, scores), found)
    whole = again.run({"boxes": boxes, "scores": scores})
    assert whole["picked"].shape == (3, 3)
    assert whole["picked.count"].tolist() == [2]


def test_files_of_an_older_layout_are_refused(tmp_path):
    """Code that was made to be called otherwise must never be called."""
    net = compiled(tmp_path, apart())
    data = bytearray(net.to_bytes())
    data[8:12] = (artifact.FORMAT - 1).to_bytes(4, "little")
    with pytest.raises(cnncc.ArtifactError, match="was saved in format"):
        cnncc.Network.from_bytes(bytes(data))


def test_a_description_with_foreign_fields_is_refused(tmp_path, monkeypatch):
    """What another version says of ports is not silently dropped."""
    real = json.dumps

    def more(value, **options):
        value["interface"]["colour"] = "red"
        return real(value, **options)

    net = compiled(tmp_path, apart())
    monkeypatch.setattr(artifact.json, "dumps", more)
    data = net.to_bytes()
    monkeypatch.undo()
    with pytest.raises(cnncc.ArtifactError, match="is damaged"):
        cnncc.Network.from_bytes(data)
