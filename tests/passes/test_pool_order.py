"""Averages and pointwise convolutions: when they change places, and what stays as it is."""

from __future__ import annotations

import pytest

from cnncc.options import Options
from cnncc.passes import PoolOrder
from cnncc.pipeline import standard
from tests.passes.nets import Net, assert_same_numbers, ops, values


def _turned(net: Net, *outputs: int) -> list[str]:
    graph = net.outputs(*outputs)
    want = values(graph)
    PoolOrder().run(graph)
    assert_same_numbers(want, values(graph), 1e-12)
    return ops(graph)


CASES = {
    "windows": lambda net, x: net.pool(net.conv(x, 4, 1), 2, 2, op="avg_pool2d"),
    "groups": lambda net, x: net.pool(net.conv(x, 4, 1, groups=2), 3, 2, op="avg_pool2d"),
    "padding": lambda net, x: net.pool(net.conv(x, 4, 1), 3, 2, 1, op="avg_pool2d"),
    "border": lambda net, x: net.pool(
        net.conv(x, 4, 1, bias=False), 3, 2, 1, op="avg_pool2d", count_pad=True
    ),
    "last window": lambda net, x: net.pool(net.conv(x, 4, 1), 2, 2, op="avg_pool2d", ceil=True),
}


@pytest.mark.parametrize("case", CASES)
def test_windows_are_averaged_first(case: str) -> None:
    net = Net()
    assert _turned(net, CASES[case](net, net.input(1, 4, 7, 9))) == ["avg_pool2d", "conv2d"]


def test_whole_maps_are_averaged_first_through_a_chain() -> None:
    net = Net()
    conv = net.conv(net.conv(net.input(1, 6, 5, 4), 8, 1), 3, 1)
    mean = net.add("global_avg_pool", conv)
    assert _turned(net, mean) == ["global_avg_pool", "conv2d", "conv2d"]


def test_the_convolution_gives_the_value_that_the_pool_was_called() -> None:
    net = Net()
    mean = net.pool(net.conv(net.input(1, 4, 8, 8), 4, 1), 2, 2, op="avg_pool2d")
    graph = net.outputs(mean)
    PoolOrder().run(graph)
    assert graph[graph.outputs[0][1]].name == "avg_pool2d1"
    assert len(graph[graph.outputs[0][1]].spans) == 2


def _mean_first(net: Net, x: int, **attrs) -> int:
    return net.add("avg_pool2d", x, window=(3, 3), pads=(1,) * 4, strides=(1, 1), **attrs)


SMALLER = {
    "fewer filters": (lambda net, x: net.conv(_mean_first(net, x), 2, 1), ["conv2d", "avg_pool2d"]),
    "groups": (
        lambda net, x: net.conv(_mean_first(net, x), 4, 1, groups=2),
        ["conv2d", "avg_pool2d"],
    ),
    "a border that counts": (
        lambda net, x: net.conv(_mean_first(net, x, count_pad=True), 2, 1),
        ["conv2d", "avg_pool2d", "add"],
    ),
    "a border that counts, no bias": (
        lambda net, x: net.conv(_mean_first(net, x, count_pad=True), 2, 1, bias=False),
        ["conv2d", "avg_pool2d"],
    ),
}


@pytest.mark.parametrize("case", SMALLER)
def test_convolutions_with_fewer_filters_come_first(case: str) -> None:
    net = Net()
    build, wanted = SMALLER[case]
    y = build(net, net.input(1, 8, 6, 7))
    assert _turned(net, y) == wanted
    assert net.graph[net.graph.outputs[0][1]].name == "conv2d1"


def test_means_stay_first_where_they_leave_few_pixels_or_others_read_them() -> None:
    net = Net()
    x = net.input(1, 8, 6, 6)
    few = net.conv(net.pool(x, 2, 2, op="avg_pool2d"), 6, 1)
    mean = _mean_first(net, x)
    whole = net.conv(net.add("global_avg_pool", x), 2, 1)
    kept = net.outputs(few, mean, net.conv(mean, 2, 1), whole)
    assert _turned(net, *(n for _, n in kept.outputs)) == ops(kept)


REFUSALS = {
    "a window": lambda net, x: net.pool(net.conv(x, 4, 3), 2, 2, op="avg_pool2d"),
    "a stride": lambda net, x: net.pool(net.conv(x, 4, 1, strides=(2, 2)), 2, 2, op="avg_pool2d"),
    "a border of the convolution": lambda net, x: net.pool(
        net.conv(x, 4, 1, pads=(1, 1, 1, 1)), 2, 2, op="avg_pool2d"
    ),
    "a bias in a border that counts": lambda net, x: net.pool(
        net.conv(x, 4, 1), 3, 2, 1, op="avg_pool2d", count_pad=True
    ),
    "a maximum": lambda net, x: net.pool(net.conv(x, 4, 1), 2, 2),
    "an activation": lambda net, x: net.pool(
        net.add("relu", net.conv(x, 4, 1)), 2, 2, op="avg_pool2d"
    ),
    "as many pixels": lambda net, x: net.pool(net.conv(x, 4, 1), 3, 1, 1, op="avg_pool2d"),
    "many more channels": lambda net, x: net.pool(
        net.conv(net.conv(x, 64, 3), 1, 1), 5, 1, op="avg_pool2d"
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_would_change_the_numbers_or_cost_more_stays(case: str) -> None:
    net = Net()
    y = REFUSALS[case](net, net.input(1, 4, 9, 9))
    kept = ops(net.outputs(y))
    assert _turned(net, y) == kept


def test_another_reader_keeps_the_convolution() -> None:
    net = Net()
    conv = net.conv(net.input(1, 4, 8, 8), 4, 1)
    pool = net.pool(conv, 2, 2, op="avg_pool2d")
    assert _turned(net, pool, conv) == ["conv2d", "avg_pool2d"]


def test_it_can_be_left_out() -> None:
    names = [s.apply.name for s in standard(Options(without=frozenset({"pool-order"})))]
    assert "pool-order" not in names
    assert "pool-order" in [s.apply.name for s in standard()]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_upsampling_comes_behind_the_convolution_that_reads_it(mode: str) -> None:
    net = Net()
    large = net.add("upsample2d", net.input(1, 12, 3, 4), factors=(2, 3), mode=mode)
    assert _turned(net, net.conv(large, 6, 1, groups=2)) == ["conv2d", "upsample2d"]
    net = Net()
    large = net.add("upsample2d", net.input(1, 12, 3, 4), factors=(2, 2), mode=mode)
    ends = net.add("relu", net.conv(net.conv(large, 10, 1), 8, 1))
    assert _turned(net, ends) == ["conv2d", "conv2d", "upsample2d", "relu"]


def test_upsampling_stays_where_it_is_less_work_or_others_see_it() -> None:
    net = Net()
    large = net.add("upsample2d", net.input(1, 2, 3, 4), factors=(2, 2), mode="bilinear")
    assert _turned(net, net.conv(large, 40, 1)) == ["upsample2d", "conv2d"]
    net = Net()
    large = net.add("upsample2d", net.input(1, 12, 3, 4), factors=(2, 2))
    assert _turned(net, net.conv(large, 6, 1), large) == ["upsample2d", "conv2d"]
    net = Net()
    large = net.add("upsample2d", net.input(1, 12, 3, 4), factors=(2, 2))
    assert _turned(net, net.conv(large, 6, 3)) == ["upsample2d", "conv2d"]
