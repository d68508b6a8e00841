import sys

import numpy as np
import pytest

from cnncc.bench.onnx_peer import _MAKERS, onnx_model, peer_feeds, peer_outputs
from cnncc.errors import UnsupportedError
from cnncc.ir import interp
from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.ops.source import InputAttrs
from cnncc.spec import load
from tests.oracle import OPERATORS, subject

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
# `normalize` is left out of the model, `relayout` is made by plans.
NOT_THERE = {"normalize", "relayout"}


def agree(graph, feed):
    """onnxruntime gives what the float64 interpreter gives."""
    memories = {graph[i].name: graph[i].attrs.memory for i in graph.inputs}
    given = {
        name: a.transpose(0, 2, 3, 1) if memories[name] == "hwc" and a.ndim == 4 else a
        for name, a in feed.items()
    }
    batch = len(next(iter(feed.values())))
    session = onnxruntime.InferenceSession(onnx_model(graph, batch))
    assert [output.name for output in session.get_outputs()] == peer_outputs(graph)
    theirs = session.run(None, peer_feeds(graph, given))
    with np.errstate(all="ignore"):
        ours = interp.run(graph, feed)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        size = float(np.max(np.abs(mine), initial=1.0))
        np.testing.assert_allclose(other, mine, rtol=0, atol=1e-4 * size)


def test_every_operator_of_the_language_is_written():
    assert set(_MAKERS) >= set(OPERATORS) - NOT_THERE


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - NOT_THERE))
def test_operators(name):
    for seed in (1, 2, 3):
        case = subject(f"op:{name}:float:{seed}")
        agree(case.graph, case.feed)


# Seed 6 has a transposed convolution whose output padding onnxruntime 1.32 refuses.
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 7, 8])
def test_networks(seed):
    case = subject(f"graph:{3 + seed}:float:{seed}")
    agree(case.graph, case.feed)


TEXT = """\
cnncc 1
weights random
input x: 6x6x4 { dtype = u8, scale = 1/255, mean = [0.1, 0.2, 0.3, 0.4] }
conv(3x3, filters=4) -> bn -> silu -> channel_shuffle(groups=2)
skip = upsample(2, mode=bilinear) -> slice(start=1, stop=3) -> crop(1)
output map = skip
output flat = skip -> flatten(order=hwc) -> dense(3) -> softmax
"""


@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_with_preprocessing_and_a_batch(batch):
    graph = load(TEXT, file="t").graph
    feed = np.random.default_rng(0).integers(0, 256, (batch, 4, 6, 6)).astype(np.uint8)
    agree(graph, {"x": feed})


def test_an_operator_without_counterpart():
    graph = Graph("g")
    x = add_typed(graph, "input", [], InputAttrs(DType.F32, (1, 2, 3, 3), "chw", ""), name="x")
    graph.outputs = [("y", add_typed(graph, "relayout", [x]))]
    with pytest.raises(UnsupportedError, match="`relayout` has no counterpart"):
        onnx_model(graph)


def test_without_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnsupportedError, match="onnx is not installed"):
        onnx_model(load(TEXT, file="t").graph)
