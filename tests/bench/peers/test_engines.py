"""Real engines on a small model, those that are installed (or that CNNCC_PEERS_PYTHON has)."""

from __future__ import annotations

import os
import sys

import pytest

from cnncc import driver
from cnncc.bench.latency import OURS, measure_beside
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
