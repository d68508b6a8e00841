import numpy as np
import pytest

from cnncc import driver
from cnncc.bench.latency import OURS, Result, difference, measure, measure_beside
from cnncc.bench.timing import Timing
from cnncc.errors import UnsupportedError
from cnncc.spec import load

TEXT = """\
cnncc 1
weights random
input x: 8x8x3
conv(3x3, filters=8) -> relu
output y
"""


@pytest.fixture
def compilation():
    loaded = load(TEXT, file="t")
    return driver.plan_model(driver.Model(loaded.graph, ()), driver.target_named("host"))


def test_a_network_alone(compilation):
    made = measure(compilation, threads=2, batch=3, seconds=0.0)
    assert (made.threads, made.batch, made.peers) == (2, 3, [])
    assert list(made.timings) == [OURS]
    assert made.peak_gflops > 0


def test_beside_a_peer(compilation):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = measure_beside(compilation, ["onnxruntime"], seconds=0.0)
    assert set(made.timings) == set(made.versions) == set(made.told) == {OURS, "onnxruntime"}
    assert made.peers == ["onnxruntime"]
    assert 0 < made.differences["onnxruntime"] < 1e-5
    assert made.failures == {}


def test_a_peer_that_cannot_run_is_told_and_the_others_go_on(compilation):
    pytest.importorskip("onnx")
    made = measure_beside(compilation, ["litert", "torch"], seconds=0.0, batch=2)
    assert list(made.timings) == [OURS]
    assert set(made.failures) == {"litert", "torch"}
    for name, package in (("litert", "ai-edge-litert"), ("torch", "torch")):
        assert f"pip install {package}" in made.failures[name] or ".pt" in made.failures[name]


def test_an_interpreter_that_is_none(compilation, tmp_path):
    pytest.importorskip("onnx")
    made = measure_beside(compilation, ["mnn"], python=str(tmp_path / "none"), seconds=0.0)
    assert "cannot be started" in made.failures["mnn"]


def test_an_unknown_peer(compilation):
    with pytest.raises(UnsupportedError, match="`tensorflow` is no known peer"):
        measure_beside(compilation, ["tensorflow"])


def test_differences(compilation):
    ports = compilation.plan.interface.outputs
    ours = np.ones((1, 8, 8, 8), np.float32)
    assert difference(ports, [ours], [ours.transpose(0, 3, 1, 2) * 2]) == 0.5
    assert difference(ports, [ours], [ours[:, :4]]) == float("inf")
    assert difference(ports, [ours], []) == float("inf")


def result(ours, theirs):
    timings = {OURS: Timing(ours), "peer": Timing(theirs)}
    return Result(2, 4, 1_000_000, timings, 50.0)


def test_speeds_and_ratios():
    made = result((0.001, 0.002, 0.003), (0.004, 0.005, 0.006))
    assert made.gflops(OURS) == pytest.approx(2 * 1e6 * 4 / 0.001 / 1e9)
    assert made.share(OURS) == pytest.approx(8 / (50 * 2))
    assert made.ratio("peer") == pytest.approx((4.0, 2.5))
    assert made.separate("peer")
    assert not result((0.001, 0.004, 0.009), (0.002, 0.005, 0.006)).separate("peer")
