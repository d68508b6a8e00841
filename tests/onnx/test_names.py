import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.onnx.names import dotted


@pytest.mark.parametrize(
    ("name", "op", "path"),
    [
        ("/layer1/layer1.0/conv1/Conv", "Conv", "layer1.0.conv1"),
        ("/layer1/layer1.0/relu_1/Relu_1", "Relu", "layer1.0.relu_1"),
        ("/features/features.3/features.3.0/Conv", "Conv", "features.3.0"),
        (
            "StatefulPartitionedCall/model/conv2d/Conv2D:0",
            "Conv",
            "StatefulPartitionedCall.model.conv2d.Conv2D.0",
        ),
        ("Conv", "Conv", "Conv"),
        ("", "Conv", "conv7"),
        ("//::", "MaxPool", "maxpool7"),
        ("größe*/x", "Add", "gr_e.x"),
        ("a..b", "Add", "a.b"),
    ],
)
def test_exporters_names(name, op, path):
    assert dotted(name, op, 7) == path


@given(st.text(max_size=300))
def test_every_name_becomes_a_path(name):
    path = dotted(name, "Conv", 3)
    assert re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", path)
    assert len(path) <= 200
