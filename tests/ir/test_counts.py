"""Counting: parameters once however often they are read, multiply-adds every time."""

from __future__ import annotations

from cnncc.ir.counts import macs, node_cost, node_parameters, parameters
from tests.passes.nets import Net


def test_a_convolution_with_batch_norm():
    net = Net()
    x = net.conv(net.input(1, 3, 8, 8), 6, 3, bias=False)
    y = net.batch_norm(x)
    graph = net.outputs(net.add("relu", y))
    assert node_parameters(graph, x) == 6 * 3 * 9
    assert node_parameters(graph, y) == 12  # scale and shift; mean and variance are measured
    assert parameters(graph) == 6 * 27 + 12
    assert macs(graph) == 6 * 6 * 6 * 27
    assert node_cost(graph, x).macs == macs(graph)


def test_groups_and_transposed():
    net = Net()
    x = net.input(1, 4, 5, 5)
    a = net.conv(x, 4, 3, groups=4)
    b = net.deconv(a, 2, 2, strides=(2, 2))
    graph = net.outputs(b)
    assert parameters(graph) == 4 * 9 + 4 + 4 * 2 * 4
    assert macs(graph) == 3 * 3 * 4 * 9 + 3 * 3 * 4 * 2 * 4


def test_shared_weights_count_once_but_work_twice():
    net = Net()
    x = net.input(1, 4, 5, 5)
    w = net.param(4, 4, 1, 1)
    graph = net.outputs(net.add("conv2d", net.add("conv2d", x, w), w))
    assert parameters(graph) == 16
    assert macs(graph) == 2 * 25 * 16


def test_constants_that_nothing_reads_do_not_count():
    net = Net()
    x = net.input(1, 4, 5, 5)
    net.param(100)
    assert parameters(net.outputs(net.add("relu", x))) == 0
