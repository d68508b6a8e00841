from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir.decisions import decisions
from cnncc.passes import AbsorbPad
from tests.passes.nets import Net, assert_same_numbers, node, ops, values

PADS = (1, 0, 2, 1)


def _absorb(net: Net, *outputs: int) -> list[str]:
    graph = net.outputs(*outputs)
    want = values(graph)
    AbsorbPad().run(graph)
    assert_same_numbers(want, values(graph), 1e-9)
    return ops(graph)


def _border(net: Net, value: float = 0.0) -> int:
    return net.add("pad2d", net.input(1, 2, 6, 7), pads=PADS, value=value)


def test_convolutions_add_the_border_to_their_own_padding() -> None:
    net = Net()
    conv = net.conv(_border(net), 3, 3, pads=(0, 1, 2, 3), strides=(2, 1), dilations=(1, 2))
    assert _absorb(net, conv) == ["conv2d"]
    assert node(net.graph, "conv2d1").attrs.pads == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("size", "attrs", "kernel", "pads"),
    [
        ((5, 5), {"pads": (6,) * 4, "dilations": (6, 6)}, (1, 1), (0,) * 4),
        ((7, 5), {"pads": (6,) * 4, "dilations": (6, 6)}, (3, 1), (6, 0, 6, 0)),
        ((2, 9), {"pads": (3, 1, 3, 1), "dilations": (3, 1)}, (1, 3), (0, 1, 0, 1)),
        ((2, 2), {"pads": (4, 1, 1, 1)}, (3, 3), (4, 1, 1, 1)),
        ((3, 3), {"pads": (1, 1, 1, 1)}, (3, 3), (1, 1, 1, 1)),
        ((1, 1), {"pads": (1, 1, 1, 1)}, (1, 1), (0, 0, 0, 0)),
        ((1, 4), {"pads": (3, 2, 3, 2), "strides": (2, 1)}, (1, 3), (2, 2, 2, 2)),
    ],
)
def test_taps_that_only_meet_padding_are_left_out(size, attrs, kernel, pads) -> None:
    net = Net()
    conv = net.conv(net.input(1, 2, *size), 3, 3, **attrs)
    assert _absorb(net, conv) == ["conv2d"]
    found = [n for _, n in net.graph.nodes() if n.op == "conv2d"]
    weights = [net.graph.type_of(net.graph.operands(i)[1]).shape[2:] for i, n in net.graph.nodes()
               if n.op == "conv2d"]  # fmt: skip
    assert weights == [kernel]
    assert found[0].attrs.pads == pads


def test_taps_with_infinite_weights_stay() -> None:
    """Their product with padding is NaN, and so is the result."""
    net = Net()
    x = net.input(1, 1, 1, 1)
    w = np.ones((1, 1, 3, 3), np.float32)
    w[0, 0, 0, 0] = np.inf
    conv = net.add("conv2d", x, net.array(w), pads=(1, 1, 1, 1))
    graph = net.outputs(conv)
    AbsorbPad().run(graph)
    assert [n.attrs.pads for _, n in graph.nodes() if n.op == "conv2d"] == [(1, 1, 1, 1)]


def test_each_reader_takes_a_border_of_its_own() -> None:
    net = Net()
    border = _border(net)
    assert _absorb(net, net.conv(border, 3, 3), net.conv(border, 2, 1)) == ["conv2d", "conv2d"]


def test_borders_of_borders_are_absorbed_one_after_the_other() -> None:
    net = Net()
    assert _absorb(net, net.conv(net.add("pad2d", _border(net), pads=PADS), 3, 3)) == ["conv2d"]


@pytest.mark.parametrize(("own", "count_pad"), [(0, False), (0, True), (1, True)])
def test_averages_that_count_the_border_absorb_it(own: int, count_pad: bool) -> None:
    net = Net()
    pool = net.pool(_border(net), 4, 2, own, "avg_pool2d", count_pad=count_pad)
    assert _absorb(net, pool) == ["avg_pool2d"]
    assert node(net.graph, "avg_pool2d1").attrs.count_pad


REFUSALS = {
    "max": (lambda net: net.pool(_border(net), 3, 1), "a maximum would see the border's values"),
    "value": (lambda net: net.conv(_border(net, 1.5), 3, 3), "the border holds 1.5"),
    "ceil": (
        lambda net: net.pool(_border(net), 3, 2, 0, "avg_pool2d", ceil=True),
        "with `ceil` the border decides",
    ),
    "own padding": (
        lambda net: net.pool(_border(net), 3, 2, 1, "avg_pool2d"),
        "the pool's own padding does not",
    ),
    "window in the border": (
        lambda net: net.pool(_border(net), 2, 1, 0, "avg_pool2d"),
        "would lie wholly in the padding",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_other_borders_stay_and_the_reason_is_told_once(case: str) -> None:
    net = Net()
    build, reason = REFUSALS[case]
    y = build(net)
    assert _absorb(net, y) == ["pad2d", net.graph[y].op]
    AbsorbPad().run(net.graph)
    (decision,) = decisions(net.graph)
    assert reason in decision.reason
    assert decision.rejected == (("absorb pad2d1", decision.reason),)
