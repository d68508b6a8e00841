"""Whole files become graphs."""

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


def test_errors_are_reported_together():
    with pytest.raises(SpecError) as caught:
        spec.load(SMALL.replace("relu", "Relu").replace("dense(2)", "dense(units=2.5)"))
    assert [d.code for d in caught.value.diagnostics] == ["E0201", "E0304"]
