"""Which constants hold one number a channel, and which anchors compute on blocks."""

import numpy as np
import pytest

from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.channels import (
    channel_numbers,
    computes_on_maps,
    is_channel_shaped,
    is_map_or_vector,
)
from tests.passes.nets import Net

MAP, VECTOR = (1, 4, 5, 4), (1, 4)


@pytest.mark.parametrize(
    ("op", "shape", "result", "expected"),
    [
        ("add", (), MAP, True),
        ("add", (1,), MAP, True),
        ("add", (4, 1, 1), MAP, True),
        ("add", (1, 4, 1, 1), MAP, True),
        ("add", (4,), MAP, False),  # along the last axis, although it has as many
        ("add", (5, 1), MAP, False),
        ("add", (1, 4, 5, 4), MAP, False),
        ("add", (2, 4, 1, 1), MAP, False),
        ("prelu", (4,), MAP, True),  # parameters, not broadcast
        ("scale", (4,), VECTOR, True),
        ("add", (4,), VECTOR, True),
        ("add", (1, 4), VECTOR, True),
        ("add", (1, 1, 4), VECTOR, False),
    ],
)
def test_one_number_a_channel(op, shape, result, expected):
    assert is_channel_shaped(lookup(op), shape, result) is expected
    if expected:
        array = np.arange(int(np.prod(shape, dtype=int)), dtype=np.float64).reshape(shape)
        numbers = channel_numbers(array, result[1])
        assert numbers.shape == (4,)
        assert numbers.dtype == np.float32
        if op not in ("prelu", "scale"):
            spread = numbers.reshape((1, 4) + (1,) * (len(result) - 2))
            assert np.array_equal(np.broadcast_to(array, result), np.broadcast_to(spread, result))


def test_maps_and_vectors_of_one_sample():
    assert is_map_or_vector(f32(1, 3, 4, 4))
    assert is_map_or_vector(f32(1, 3))
    assert not is_map_or_vector(f32(2, 3))
    assert not is_map_or_vector(f32(1, 3, 4))
    assert not is_map_or_vector(TensorType(DType.I64, (1, 3)))


def test_anchors_that_blocked_kernels_take():
    net = Net()
    x = net.input(1, 3, 6, 6)
    conv = net.conv(x, 4, 3)
    pool = net.pool(x, 2, 1)
    apart = net.pool(x, 2, 1, dilations=(2, 2))
    filters = net.add("reshape", net.add("tanh", x), shape=(4, 3, 3, 3))
    computed = net.add("conv2d", x, filters)
    several = net.conv(net.input(2, 3, 6, 6), 4, 3)
    found = [computes_on_maps(net.graph, n) for n in (conv, pool, apart, computed, several)]
    assert found == [True, True, False, False, False]
