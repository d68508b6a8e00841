from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir.decisions import decisions
from cnncc.passes import FoldBatchNorm
from tests.passes.nets import Net, assert_same_numbers, node, ops, values


def _anchor(net: Net, kind: str) -> int:
    if kind == "dense":
        return net.dense(net.input(1, 6), 4)
    x = net.input(1, 6, 5, 4)
    if kind == "conv2d":
        return net.conv(x, 4, 3, pads=(1, 1, 1, 1))
    if kind == "grouped":
        return net.conv(x, 4, 3, groups=2, bias=False)
    if kind == "depthwise":
        return net.conv(x, 6, 3, groups=6, bias=False)
    return net.deconv(x, 4, 3, strides=(2, 2), groups=2 if kind == "grouped deconv" else 1)


ANCHORS = ("conv2d", "grouped", "depthwise", "deconv", "grouped deconv", "dense")


@pytest.mark.parametrize("kind", ANCHORS)
@pytest.mark.parametrize(
    "affine", ["batch_norm", "scale", "add", "mul", "sub", "swapped sub", "div"]
)
def test_every_affine_map_folds_into_every_anchor(kind: str, affine: str) -> None:
    net = Net()
    x = _anchor(net, kind)
    c = net.shape(x)[1]
    if affine == "batch_norm":
        y = net.batch_norm(x, eps=1e-3)
    elif affine == "scale":
        y = net.scale(x)
    else:
        other = net.param(1, c) if kind == "dense" else net.param(1, c, 1, 1)
        swapped = affine in ("mul", "swapped sub")
        y = net.add(affine.split()[-1], *((other, x) if swapped else (x, other)))
    graph = net.outputs(net.add("relu", y))
    want, anchor = values(graph), graph[x].op
    FoldBatchNorm().run(graph)
    assert ops(graph) == [anchor, "relu"]
    assert_same_numbers(want, values(graph), 1e-6)


def test_several_maps_fold_one_after_the_other_and_keep_name_and_places() -> None:
    net = Net()
    h = net.conv(net.input(1, 3, 5, 5), 4, 3, bias=False)
    graph = net.outputs(net.scale(net.batch_norm(net.scale(h))))
    want, lines = values(graph), {s.line for _, n in graph.nodes() for s in n.spans}
    FoldBatchNorm().run(graph)
    assert ops(graph) == ["conv2d"]
    assert_same_numbers(want, values(graph), 1e-6)
    assert {s.line for _, n in graph.nodes() for s in n.spans} == lines
    assert node(graph, "conv2d1").op == "conv2d"
    assert len(graph.constants) == 2


def test_filters_that_others_use_are_copied_not_changed() -> None:
    net = Net()
    x, w = net.input(1, 2, 4, 4), net.param(3, 2, 1, 1)
    graph = net.outputs(net.batch_norm(net.add("conv2d", x, w)), net.add("conv2d", x, w))
    want, shared = values(graph), graph.constants["p0"].copy()
    FoldBatchNorm().run(graph)
    assert_same_numbers(want, values(graph), 1e-6)
    np.testing.assert_array_equal(graph.constants["p0"], shared)


def _kept(graph) -> str:
    FoldBatchNorm().run(graph)
    assert "batch_norm" in ops(graph)
    ((_, reason),) = decisions(graph)[-1].rejected
    return reason


def test_a_value_that_others_read_is_not_scaled() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 4, 4), 2, 1)
    assert _kept(net.outputs(net.batch_norm(conv), net.add("relu", conv))).endswith("elsewhere too")
    net = Net()
    conv = net.conv(net.input(1, 3, 4, 4), 2, 1)
    assert _kept(net.outputs(net.batch_norm(conv), conv)).endswith("is read elsewhere too")


def test_a_map_behind_something_without_filters_stays() -> None:
    net = Net()
    relu = net.add("relu", net.conv(net.input(1, 3, 4, 4), 2, 1))
    assert "`relu`, which has no filters" in _kept(net.outputs(net.batch_norm(relu)))


def test_filters_that_are_computed_stay() -> None:
    net = Net()
    w = net.add("tanh", net.param(2, 3, 1, 1))
    conv = net.add("conv2d", net.input(1, 3, 4, 4), w)
    assert "are computed, not constant" in _kept(net.outputs(net.batch_norm(conv)))


def test_a_fold_that_would_overflow_is_refused() -> None:
    net = Net()
    conv = net.conv(net.input(1, 1, 2, 2), 1, 1)
    tiny = net.array([0.0])
    vectors = [net.array([1e30]), net.array([0.0]), net.array([0.0]), tiny]
    graph = net.outputs(net.add("batch_norm", conv, *vectors, eps=1e-30))
    assert "overflow" in _kept(graph)


def test_scalars_fold_and_vectors_along_the_last_axis_do_not() -> None:
    net = Net()
    conv = net.conv(net.input(1, 4, 4, 4), 4, 1)
    graph = net.outputs(net.add("add", net.add("div", conv, net.array(3.0)), net.param(4)))
    want = values(graph)
    FoldBatchNorm().run(graph)
    assert ops(graph) == ["conv2d", "add"]
    assert_same_numbers(want, values(graph), 1e-6)


def test_a_quotient_of_a_constant_is_no_affine_map() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 4, 4), 2, 1)
    graph = net.outputs(net.add("div", net.param(1, 2, 1, 1), conv))
    FoldBatchNorm().run(graph)
    assert ops(graph) == ["conv2d", "div"]
