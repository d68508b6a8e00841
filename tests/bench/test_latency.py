import pytest

from cnncc import driver
from cnncc.bench.latency import OURS, Result, measure
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
    assert (made.threads, made.batch, made.difference) == (2, 3, None)
    assert list(made.timings) == [OURS]
    assert made.peak_gflops > 0


def test_beside_a_peer(compilation):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = measure(compilation, seconds=0.0, against="onnxruntime")
    assert list(made.timings) == [OURS, "onnxruntime"]
    assert made.difference is not None
    assert 0 < made.difference < 1e-5


def test_an_unknown_peer(compilation):
    with pytest.raises(UnsupportedError, match="`tensorflow` is no known peer"):
        measure(compilation, against="tensorflow")


def result(ours, theirs):
    timings = {OURS: Timing(ours), "peer": Timing(theirs)}
    return Result(2, 4, 1_000_000, timings, {"peer": "1"}, 50.0, 0.0)


def test_speeds_and_ratios():
    made = result((0.001, 0.002, 0.003), (0.004, 0.005, 0.006))
    assert made.gflops(OURS) == pytest.approx(2 * 1e6 * 4 / 0.001 / 1e9)
    assert made.share(OURS) == pytest.approx(8 / (50 * 2))
    assert made.ratio("peer") == pytest.approx((4.0, 2.5))
    assert made.separate("peer")
    assert not result((0.001, 0.004, 0.009), (0.002, 0.005, 0.006)).separate("peer")
