"""Activations in pieces, in the orders in which products can be written, and what is none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir import interp
from cnncc.ir.decisions import decisions
from cnncc.ir.types import DType
from cnncc.passes import Recognise
from cnncc.passes.recognise import RULES
from tests.passes.nets import Net, feed, ops

Build = Callable[[Net, int], int]


def _c(net: Net, value: float) -> int:
    return net.array(np.float32(value))


def _mul(net: Net, *factors: int) -> int:
    """A product in a random order and association."""
    left = list(factors)
    while len(left) > 1:
        a = left.pop(int(net.rng.integers(len(left))))
        b = left.pop(int(net.rng.integers(len(left))))
        left.append(net.add("mul", a, b))
    return left[0]


def _add(net: Net, a: int, b: int) -> int:
    return net.add("add", *((a, b) if net.rng.integers(2) else (b, a)))


def _times(net: Net, x: int, value: float) -> int:
    """x·value, as a product or as a quotient."""
    if net.rng.integers(2):
        return _mul(net, x, _c(net, value))
    return net.add("div", x, _c(net, 1 / value))


def _between(net: Net, x: int, low: float, high: float) -> int:
    """One of the ways to write clip(x, low, high)."""
    match int(net.rng.integers(4)):
        case 0:
            return net.add("clip", x, low=low, high=high)
        case 1:
            return net.add("minimum", net.add("maximum", x, _c(net, low)), _c(net, high))
        case 2:
            return net.add("maximum", _c(net, low), net.add("minimum", _c(net, high), x))
        case _:
            inner = net.add("relu", x) if low == 0 else net.add("maximum", x, _c(net, low))
            return net.add("minimum", inner, _c(net, high))


def _gelu(net: Net, x: int) -> int:
    bell = _add(net, net.add("erf", _times(net, x, math.sqrt(0.5))), _c(net, 1))
    if net.rng.integers(2):
        return _mul(net, _times(net, x, 0.5), bell)
    return _times(net, _mul(net, x, bell), 0.5)


def _gelu_tanh(net: Net, x: int) -> int:
    if net.rng.integers(2):
        cube = net.add("pow", x, _c(net, 3)) if net.rng.integers(2) else _mul(net, x, x, x)
        line = _times(net, _add(net, x, _mul(net, cube, _c(net, 0.044715))), math.sqrt(2 / math.pi))
    else:
        bracket = _add(net, _mul(net, x, x, _c(net, 0.044715)), _c(net, 1))
        line = _mul(net, x, _c(net, math.sqrt(2 / math.pi)), bracket)
    return _mul(net, x, _c(net, 0.5), _add(net, net.add("tanh", line), _c(net, 1)))


def _hard_sigmoid(net: Net, x: int) -> int:
    if net.rng.integers(2):
        return _times(net, _between(net, _add(net, x, _c(net, 3)), 0, 6), 1 / 6)
    return _between(net, _add(net, _times(net, x, 1 / 6), _c(net, 0.5)), 0, 1)


def _hard_swish(net: Net, x: int) -> int:
    if net.rng.integers(2):
        return _mul(net, x, _hard_sigmoid(net, x))
    return _times(net, _mul(net, x, _between(net, _add(net, x, _c(net, 3)), 0, 6)), 1 / 6)


def _softplus(net: Net, x: int) -> int:
    return net.add("log", _add(net, net.add("exp", x), _c(net, 1)))


def _guarded_softplus(net: Net, x: int) -> int:
    return net.add("where", net.add("greater", x, _c(net, 20)), x, _softplus(net, x))


def _prelu(net: Net, x: int, slope: int) -> int:
    minus = net.add("neg", x) if net.rng.integers(2) else _mul(net, x, _c(net, -1))
    below, above = net.add("relu", minus), net.add("relu", x)
    if net.rng.integers(2):
        return net.add("sub", above, _mul(net, slope, below))
    return _add(net, above, net.add("neg", _mul(net, slope, below)))


def _chosen(net: Net, x: int, slope: int) -> int:
    scaled = _mul(net, x, slope)
    if net.rng.integers(2):
        return net.add("where", net.add("greater", x, _c(net, 0)), x, scaled)
    return net.add("where", net.add("less", x, _c(net, 0)), scaled, x)


def _softmax(net: Net, x: int, axis: int) -> int:
    powers = net.add("exp", net.add("sub", x, net.add("reduce", x, kind="max", axes=(axis,))))
    return net.add("div", powers, net.add("reduce", powers, kind="sum", axes=(axis,)))


WHOLE: dict[str, tuple[Build, str]] = {
    "gelu": (_gelu, "gelu"),
    "gelu by tanh": (_gelu_tanh, "gelu"),
    "hard sigmoid": (_hard_sigmoid, "hard_sigmoid"),
    "hard swish": (_hard_swish, "hard_swish"),
    "softplus": (_softplus, "softplus"),
    "guarded softplus": (_guarded_softplus, "softplus"),
    "mish": (lambda n, x: _mul(n, x, n.add("tanh", _guarded_softplus(n, x))), "mish"),
    "softmax": (lambda n, x: _softmax(n, x, 1), "softmax"),
    "softmax of rows": (lambda n, x: _softmax(n, x, 3), "softmax"),
    "silu": (lambda n, x: _mul(n, x, n.add("sigmoid", x)), "silu"),
    "clip": (lambda n, x: _between(n, x, -0.5, 1.5), "clip"),
    "relu": (lambda n, x: n.add("maximum", x, _c(n, 0)), "relu"),
    "leaky relu": (lambda n, x: n.add("maximum", _mul(n, x, _c(n, 0.1)), x), "leaky_relu"),
    "chosen slope": (lambda n, x: _chosen(n, x, _c(n, -0.3)), "leaky_relu"),
    "chosen slopes": (lambda n, x: _chosen(n, x, n.param(1, 4, 1, 1)), "prelu"),
    "prelu": (lambda n, x: _prelu(n, x, n.param(4, 1, 1)), "prelu"),
    "leaky relu of two": (lambda n, x: _prelu(n, x, _c(n, 0.2)), "leaky_relu"),
    "largest of slopes": (
        lambda n, x: n.add("maximum", x, n.add("mul", n.param(4, 1, 1, low=0.1), x)),
        "prelu",
    ),
}


@pytest.mark.parametrize("case", WHOLE)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20))
def test_every_way_to_write_an_activation_is_found(case: str, seed: int) -> None:
    net = Net(seed)
    build, op = WHOLE[case]
    graph = net.outputs(build(net, net.input(1, 4, 3, 2)))
    inputs = {0: feed(graph, seed)[0] * 3}
    want = interp.run(graph, inputs)
    Recognise().run(graph)
    assert ops(graph) == [op]
    np.testing.assert_allclose(interp.run(graph, inputs)[0], want[0], rtol=1e-5, atol=1e-6)


def _stays(net: Net, x: int, case: str) -> int:
    gate = net.input(1, 4, 3, 2)
    match case:
        case "another number in gelu":
            bell = _add(net, net.add("erf", _times(net, x, 0.7)), _c(net, 1))
            return _mul(net, x, bell, _c(net, 0.5))
        case "a gate of something else":
            return _mul(
                net, x, net.add("clip", net.add("add", gate, _c(net, 3)), low=0.0, high=6.0)
            )
        case "a slope above one":
            return net.add("maximum", x, _mul(net, x, _c(net, 1.5)))
        case "a negative slope":
            return net.add("maximum", x, _mul(net, x, _c(net, -0.5)))
        case "a threshold":
            test = net.add("greater", x, _c(net, 0.5))
            return net.add("where", test, x, _mul(net, x, _c(net, 0.1)))
        case "a low guard":
            test = net.add("greater", x, _c(net, 2))
            return net.add("where", test, x, net.add("softplus", x))
        case "relu of another":
            below = net.add("relu", net.add("neg", gate))
            return net.add("sub", net.add("relu", x), _mul(net, below, _c(net, 0.1)))
        case "log of a sum":
            return net.add("log", _add(net, net.add("exp", x), _c(net, 2)))
        case "a wider result":
            return net.add("maximum", x, net.array(np.zeros((3, 1, 1, 1, 1))))
        case _:
            raise AssertionError(case)


@pytest.mark.parametrize(
    "case",
    [
        *("another number in gelu", "a gate of something else", "a slope above one"),
        *("a negative slope", "a threshold", "a low guard", "relu of another", "log of a sum"),
        "a wider result",
    ],
)
def test_what_only_looks_like_one_stays(case: str) -> None:
    net = Net()
    graph = net.outputs(_stays(net, net.input(1, 4, 3, 2), case))
    before, version = ops(graph), graph.version
    Recognise().run(graph)
    assert (ops(graph), graph.version) == (before, version)


def test_whole_numbers_keep_their_extremes() -> None:
    net = Net()
    x = net.add("input", dtype=DType.I64, shape=(1, 4))
    zero = net.add("cast", net.array([0.0]), to=DType.I64)
    graph = net.outputs(net.add("maximum", x, zero))
    Recognise().run(graph)
    assert ops(graph) == ["cast", "maximum"]


def test_every_rule_has_a_case() -> None:
    fired: dict[str, int] = {}
    for seed in range(8):
        for build, _ in WHOLE.values():
            net = Net(seed)
            graph = net.outputs(build(net, net.input(1, 4, 3, 2)))
            Recognise().run(graph)
            for decision in decisions(graph):
                fired[decision.reason] = fired.get(decision.reason, 0) + 1
    assert {rule.equation for rule in RULES} <= set(fired)
