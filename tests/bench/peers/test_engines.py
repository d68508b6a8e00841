"""Real engines on a small model, those that are installed (or that CNNCC_PEERS_PYTHON has)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnncc import driver
from cnncc.bench.latency import OURS, measure_beside
from cnncc.bench.onnx_peer import onnx_model
from cnncc.bench.peers import PEERS
from cnncc.spec import load

TEXT = """\
cnncc 1
weights random { seed = 3 }
input x: 12x10x3
conv(3x3, filters=8, pad=1) -> relu -> maxpool(2x2)
conv(1x1, filters=4) -> global_avgpool -> flatten -> dense(5) -> softmax
output y
"""
SINGLE = """\
cnncc 1
weights random { seed = 4 }
input x: 12x10x3
conv(3x3, filters=8) -> relu
output y
"""
OWN_FORMAT = Path(__file__).parent / "own_format.py"
ENDINGS = {"torch": ".pt", "litert": ".tflite"}
PYTHON = os.environ.get("CNNCC_PEERS_PYTHON") or sys.executable


@pytest.mark.parametrize("name", [peer.name for peer in PEERS.values() if not peer.needs])
def test_an_engine_agrees(name, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path))
    model = driver.Model(load(TEXT, file="t").graph, ())
    compilation = driver.plan_model(model, driver.target_named("host"))
    made = measure_beside(compilation, [name], python=PYTHON, seconds=0.0)
    if "is not installed" in made.failures.get(name, ""):
        pytest.skip(made.failures[name])
    assert made.failures == {}
    assert made.differences[name] < 1e-5
    assert made.told[name]
    assert set(made.timings) == {OURS, name}


@pytest.mark.parametrize("name", [peer.name for peer in PEERS.values() if peer.needs])
def test_an_engine_with_a_format_of_its_own_agrees(name, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "cache"))
    loaded = load(SINGLE, file="t")
    file, weights = tmp_path / "net.onnx", tmp_path / "weights.npz"
    file.write_bytes(onnx_model(loaded.graph))
    arrays = {array.ndim: array for array in loaded.graph.constants.values()}
    np.savez(weights, weights=arrays[4], bias=arrays[1], height=12, width=10)
    order = [PYTHON, str(OWN_FORMAT), name, str(weights), str(file.with_suffix(ENDINGS[name]))]
    made = subprocess.run(order, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in made.stderr:
        pytest.skip(f"{name} is not installed")
    assert made.returncode == 0, made.stderr
    found = measure_beside(
        driver.compile_model(file), [name], python=PYTHON, seconds=0.0, file=file
    )
    assert found.failures == {}
    assert found.differences[name] < 1e-5
    assert set(found.timings) == {OURS, name}
