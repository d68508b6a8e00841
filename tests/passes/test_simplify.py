"""One case an equation: what it makes of a graph, and a neighbour that it must leave alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from cnncc.ir import interp
from cnncc.ir.decisions import decisions
from cnncc.ir.types import DType
from cnncc.passes import Simplify
from cnncc.passes.simplify import RULES
from tests.passes.nets import Net, assert_same_numbers, feed, node, ops

Build = Callable[[Net], int]


def _map(net: Net, channels: int = 4) -> int:
    return net.input(1, channels, 3, 2)


def _pixel(net: Net) -> int:
    return net.input(1, 4, 1, 1)


def _reshape(net: Net, x: int, *shape: int) -> int:
    return net.add("reshape", x, shape=shape)


def _flatten(net: Net, x: int, order: str) -> int:
    return net.add("flatten", x, order=order)


def _transpose(net: Net, x: int, *perm: int) -> int:
    return net.add("transpose", x, perm=perm)


def _slice(net: Net, x: int, start: int, stop: int) -> int:
    return net.add("slice_channels", x, start=start, stop=stop)


def _part(
    net: Net, x: int, channels: tuple[int, int], rows: tuple[int, int] = (0, 3), step: int = 1
) -> int:
    """A general slice: first place and size along channels and rows, a step between channels."""
    sizes = (1, channels[1], rows[1], net.shape(x)[3])
    starts, steps = (0, channels[0], rows[0], 0), (1, step, 1, 1)
    return net.add("slice", x, starts=starts, steps=steps, sizes=sizes)


def _clip(net: Net, x: int, low: float, high: float) -> int:
    return net.add("clip", x, low=low, high=high)


def _pad(net: Net, x: int, *pads: int, value: float = 0.0) -> int:
    return net.add("pad2d", x, pads=pads, value=value)


def _crop(net: Net, x: int, *pads: int) -> int:
    return net.add("crop2d", x, pads=pads)


def _full(net: Net, value: float) -> int:
    return net.array(np.full((1, 4, 1, 1), value))


FIRES: dict[str, tuple[str, Build, list[str]]] = {
    "dropout": ("dropout(x) = x", lambda n: n.add("dropout", _map(n)), []),
    "identity": ("identity(x) = x", lambda n: n.add("identity", _map(n)), []),
    "reshapes": (
        "reshape(reshape(x)) = reshape(x)",
        lambda n: _reshape(n, _reshape(n, _map(n), -1, 4, 6), -1, 8, 3),
        ["reshape"],
    ),
    "reshape of flatten": (
        "reshape(reshape(x)) = reshape(x)",
        lambda n: _reshape(n, _flatten(n, _map(n), "chw"), -1, 8, 3),
        ["reshape"],
    ),
    "flatten of reshape": (
        "flatten(reshape(x)) = reshape(x)",
        lambda n: _flatten(n, _reshape(n, _map(n), -1, 6, 2, 2), "chw"),
        ["reshape"],
    ),
    "pixel": (
        "flatten(x[N,C,1,1], chw) = flatten(x, hwc)",
        lambda n: _flatten(n, _pixel(n), "chw"),
        ["flatten"],
    ),
    "move": (
        "move(x) = x, where the type stays and no element moves",
        lambda n: n.add("upsample2d", _crop(n, _map(n), 0, 0, 0, 0), factors=(1, 1)),
        [],
    ),
    "transposes": (
        "transpose(transpose(x)) = transpose(x)",
        lambda n: _transpose(n, _transpose(n, _map(n), 0, 2, 3, 1), 0, 2, 1, 3),
        ["transpose"],
    ),
    "transposes back": (
        "transpose(x, 0..n) = x",
        lambda n: _transpose(n, _transpose(n, _map(n), 0, 2, 3, 1), 0, 3, 1, 2),
        [],
    ),
    "transpose of a pixel": (
        "transpose(x, axes of 1) = reshape(x)",
        lambda n: _transpose(n, _pixel(n), 0, 2, 3, 1),
        ["reshape"],
    ),
    "casts": (
        "cast(cast(x)) = cast(x)",
        lambda n: n.add("cast", n.add("cast", _map(n), to=DType.F64), to=DType.I32),
        ["cast"],
    ),
    "cast back": (
        "cast(cast(x)) = cast(x)",
        lambda n: n.add("cast", n.add("cast", _map(n), to=DType.F64), to=DType.F32),
        [],
    ),
    "pads": (
        "border(border(x)) = border(x)",
        lambda n: _pad(n, _pad(n, _map(n), 1, 0, 2, 0, value=3.0), 0, 1, 0, 0, value=3.0),
        ["pad2d"],
    ),
    "crops": (
        "border(border(x)) = border(x)",
        lambda n: _crop(n, _crop(n, _map(n), 1, 0, 0, 0), 0, 1, 1, 0),
        ["crop2d"],
    ),
    "crop of pad": (
        "crop2d(pad2d(x, p), p) = x",
        lambda n: _crop(n, _pad(n, _map(n), 1, 2, 3, 4), 1, 2, 3, 4),
        [],
    ),
    "slices": (
        "slice(slice(x)) = slice(x)",
        lambda n: _slice(n, _slice(n, _map(n, 9), 2, 8), 1, 4),
        ["slice_channels"],
    ),
    "slice of concat": (
        "slice(concat(.., x, ..)) = slice(x)",
        lambda n: _slice(n, n.add("concat", _map(n), _map(n, 3)), 4, 7),
        [],
    ),
    "parts": (
        "part(part(x)) = part(x)",
        lambda n: _part(n, _part(n, _map(n, 9), (2, 6), (2, 1)), (1, 2), (0, 1)),
        ["slice"],
    ),
    "parts backwards": (
        "part(part(x)) = part(x)",
        lambda n: _part(n, _part(n, _map(n, 9), (8, 9), step=-1), (7, 4), step=-2),
        ["slice"],
    ),
    "part of everything": (
        "part(x) = x, where it is everything",
        lambda n: _part(n, _map(n), (0, 4)),
        [],
    ),
    "part of a join": (
        "part(concat(.., x, ..)) = part(x)",
        lambda n: _part(n, n.add("concat", _map(n), _map(n, 3)), (6, 2), step=-2),
        ["slice"],
    ),
    "join of parts": (
        "concat(parts of x) = part(x)",
        lambda n: n.add("concat", _part(n, x := _map(n), (0, 1)), _part(n, x, (1, 3))),
        [],
    ),
    "join of slices": (
        "concat(parts of x) = part(x)",
        lambda n: n.add("concat", _slice(n, x := _map(n), 0, 1), _slice(n, x, 1, 4)),
        [],
    ),
    "join of halves and more": (
        "concat(parts of x) = part(x)",
        lambda n: n.add(
            "concat",
            _slice(n, x := _map(n), 0, 2),
            _slice(n, x, 2, 4),
            n.add("tanh", _slice(n, x, 2, 4)),
        ),
        ["slice_channels", "tanh", "concat"],
    ),
    "join of parts of a part": (
        "concat(parts of x) = part(x)",
        lambda n: n.add("concat", _part(n, x := _map(n), (1, 1)), _part(n, x, (2, 1)), x),
        ["slice", "concat"],
    ),
    "concat of one": ("concat(x) = x", lambda n: n.add("concat", _map(n)), []),
    "concats": (
        "concat(concat(a, b), c) = concat(a, b, c)",
        lambda n: n.add("concat", x := _map(n), n.add("concat", _map(n), x)),
        ["concat"],
    ),
    "softmax of rows": (
        "reshape(softmax(reshape(x))) = softmax(x)",
        lambda n: _reshape(n, n.add("softmax", _reshape(n, _map(n), -1, 2), axis=1), -1, 4, 3, 2),
        ["softmax"],
    ),
    "shuffle": (
        "channel_shuffle(x, 1) = x",
        lambda n: n.add("channel_shuffle", n.add("channel_shuffle", _map(n), groups=1), groups=4),
        [],
    ),
    "relu of sigmoid": (
        "relu(x) = x, where x >= 0",
        lambda n: n.add("relu", n.add("sigmoid", _map(n))),
        ["sigmoid"],
    ),
    "relu of clip": (
        "relu(x) = x, where x >= 0",
        lambda n: n.add("relu", _clip(n, _map(n), 0.5, 2.0)),
        ["clip"],
    ),
    "clip of relu": (
        "clip(clip(x)) = clip(x)",
        lambda n: _clip(n, n.add("relu", _map(n)), -1.0, 0.5),
        ["clip"],
    ),
    "relu of clip below": (
        "clip(clip(x)) = clip(x)",
        lambda n: n.add("relu", _clip(n, _map(n), -0.5, 0.5)),
        ["clip"],
    ),
    "clips apart": (
        "clip(clip(x)) = clip(x)",
        lambda n: _clip(n, _clip(n, _map(n), -1.0, 0.0), 0.25, 1.0),
        ["clip"],
    ),
    "clip as relu": (
        "clip(x, 0, inf) = relu(x)",
        lambda n: _clip(n, _map(n), 0.0, math.inf),
        ["relu"],
    ),
    "clip of nothing": (
        "clip(x, -inf, inf) = x",
        lambda n: _clip(n, _map(n), -math.inf, math.inf),
        [],
    ),
    "silu": (
        "x * sigmoid(x) = silu(x)",
        lambda n: n.add("mul", n.add("sigmoid", x := _map(n)), x),
        ["silu"],
    ),
    "relu behind a pool": (
        "relu(max_pool2d(conv2d(x))) = max_pool2d(relu(conv2d(x)))",
        lambda n: n.add("relu", n.pool(n.conv(_map(n), 3, 1), 2, 1)),
        ["conv2d", "relu", "max_pool2d"],
    ),
    "add": ("x + 0 = x", lambda n: n.add("add", _full(n, 0.0), _map(n)), []),
    "sub": ("x - 0 = x", lambda n: n.add("sub", _map(n), _full(n, 0.0)), []),
    "div": ("x / 1 = x", lambda n: n.add("div", _map(n), _full(n, 1.0)), []),
    "mul": ("x * 1 = x", lambda n: n.add("mul", _map(n), _full(n, 1.0)), []),
    "scale": (
        "scale(x, 1, 0) = x",
        lambda n: n.add("scale", _map(n), n.array(np.ones(4)), n.array(np.zeros(4))),
        [],
    ),
    "pool": ("pool(x, 1x1) = x", lambda n: n.pool(_map(n), 1, 1, op="avg_pool2d"), []),
    "global pool": (
        "global_pool(x[N,C,1,1]) = x",
        lambda n: n.add("global_max_pool", n.add("global_avg_pool", _map(n))),
        ["global_avg_pool"],
    ),
}


def _shared_concat(net: Net) -> int:
    inner = net.add("concat", x := _map(net), x)
    return net.add("concat", net.add("tanh", inner), inner)


def _shared_sigmoid(net: Net) -> int:
    gate = net.add("sigmoid", x := _map(net))
    return net.add("add", net.add("mul", x, gate), gate)


def _shared_pool(net: Net) -> int:
    pool = net.pool(net.conv(_map(net), 3, 1), 2, 1)
    return net.add("add", net.add("relu", pool), pool)


def _shared_conv(net: Net) -> int:
    conv = net.conv(_map(net), 3, 1)
    return net.add("add", net.add("relu", net.pool(conv, 1, 2)), net.pool(conv, 1, 2))


STAYS: dict[str, Build] = {
    "pool read elsewhere": _shared_pool,
    "convolution read elsewhere": _shared_conv,
    "relu behind an average": lambda n: n.add(
        "relu", n.pool(n.conv(_map(n), 3, 1), 2, 1, op="avg_pool2d")
    ),
    "tanh behind a pool": lambda n: n.add("tanh", n.pool(n.conv(_map(n), 3, 1), 2, 1)),
    "order matters": lambda n: _reshape(n, _flatten(n, _map(n), "hwc"), -1, 8, 3),
    "flatten of reshape by pixels": lambda n: _flatten(n, _reshape(n, _map(n), -1, 6, 2, 2), "hwc"),
    "transpose": lambda n: _transpose(n, n.input(1, 3, 3, 3), 0, 1, 3, 2),
    "pads of other values": lambda n: _pad(n, _pad(n, _map(n), 1, 1, 1, 1), 1, 1, 1, 1, value=1.0),
    "crop of other pad": lambda n: _crop(n, _pad(n, _map(n), 1, 2, 3, 4), 1, 2, 4, 3),
    "slice across": lambda n: _slice(n, n.add("concat", x := _map(n), x), 2, 6),
    "concat of other axis": lambda n: n.add(
        "concat", n.add("concat", x := _map(n), x, axis=2), n.input(1, 4, 6, 2)
    ),
    "softmax of longer rows": lambda n: _reshape(
        n, n.add("softmax", _reshape(n, _map(n), -1, 6), axis=1), -1, 4, 3, 2
    ),
    "softmax across rows": lambda n: _reshape(
        n, n.add("softmax", _reshape(n, _map(n), -1, 2), axis=0), -1, 4, 3, 2
    ),
    "part across": lambda n: _part(n, n.add("concat", x := _map(n), x), (2, 4)),
    "part backwards": lambda n: _part(n, _map(n), (3, 4), step=-1),
    "join of parts in disorder": lambda n: n.add(
        "concat", _part(n, x := _map(n), (1, 3)), _part(n, x, (0, 1))
    ),
    "join of parts of two": lambda n: n.add(
        "concat", _part(n, _map(n), (0, 1)), _part(n, _map(n), (1, 3))
    ),
    "join of parts beside each other": lambda n: n.add(
        "concat", _part(n, x := _map(n), (0, 1), (0, 2)), _part(n, x, (1, 3), (1, 2))
    ),
    "join of parts in steps": lambda n: n.add(
        "concat", _part(n, x := _map(n), (0, 2), step=2), _part(n, x, (2, 2))
    ),
    "cast that rounds": lambda n: n.add("cast", n.add("cast", _map(n), to=DType.I32), to=DType.F32),
    "cast that would wrap around": lambda n: n.add(
        "cast",
        n.add("cast", n.add("cast", _map(n), to=DType.I32), to=DType.F64),
        to=DType.I8,
    ),
    "swapped sub": lambda n: n.add("sub", _full(n, 0.0), _map(n)),
    "swapped div": lambda n: n.add("div", _full(n, 1.0), _map(n)),
    "inner concat read elsewhere": _shared_concat,
    "shuffle": lambda n: n.add("channel_shuffle", _map(n), groups=2),
    "relu of tanh": lambda n: n.add("relu", n.add("tanh", _map(n))),
    "sigmoid read elsewhere": _shared_sigmoid,
    "gate by another sigmoid": lambda n: n.add("mul", _map(n), n.add("sigmoid", _map(n))),
    "add of ones": lambda n: n.add("add", _map(n), _full(n, 1.0)),
    "mul of zeros": lambda n: n.add("mul", _map(n), _full(n, 0.0)),
    "zeros that widen": lambda n: n.add("add", _pixel(n), n.array(np.zeros((1, 4, 3, 2)))),
    "scale": lambda n: n.add("scale", _map(n), n.array(np.ones(4)), n.array(np.ones(4))),
    "strided pixel": lambda n: n.pool(_map(n), 1, 2),
    "upsample": lambda n: n.add("upsample2d", _map(n), factors=(1, 2)),
}


@pytest.mark.parametrize("case", FIRES)
def test_an_equation_fires_and_keeps_the_numbers(case: str) -> None:
    equation, build, left = FIRES[case]
    net = Net()
    graph = net.outputs(build(net))
    batch = 1 if "part" in case else 2  # a general slice fixes the batch
    inputs = {k: v.astype(np.float32) for k, v in feed(graph, batch=batch).items()}
    want = interp.run(graph, inputs)
    Simplify().run(graph)
    assert ops(graph) == left
    assert equation in {d.reason for d in decisions(graph)}
    assert_same_numbers(want, interp.run(graph, inputs), 1e-12)


@pytest.mark.parametrize("case", STAYS)
def test_a_neighbour_is_left_alone(case: str) -> None:
    net = Net()
    graph = net.outputs(STAYS[case](net))
    version = graph.version
    Simplify().run(graph)
    assert graph.version == version, decisions(graph)


def test_every_equation_has_a_case() -> None:
    assert {rule.equation for rule in RULES} == {equation for equation, _, _ in FIRES.values()}


@pytest.mark.parametrize("case", ["relu of clip below", "clip of relu", "clips apart", "silu"])
def test_activations_hand_on_nan_and_infinities(case: str) -> None:
    net = Net()
    graph = net.outputs(FIRES[case][1](net))
    inputs = {k: np.full_like(v, np.nan) for k, v in feed(graph).items()}
    inputs[0][0, 0] = [[np.inf, 1.0], [-0.0, 2.0], [1e30, -1.0]]
    want = interp.run(graph, inputs)
    Simplify().run(graph)
    np.testing.assert_array_equal(interp.run(graph, inputs)[0], want[0])


def test_steps_that_change_places_keep_their_names_and_sources() -> None:
    net = Net()
    h = net.add("clip", net.pool(net.conv(_map(net), 3, 1), 2, 1), low=0.0, high=6.0)
    graph = net.outputs(h)
    places = {n.name: n.spans[:1] for _, n in graph.nodes() if n.spans}
    Simplify().run(graph)
    assert [n.name for _, n in graph.nodes() if n.name][-2:] == ["clip1", "max_pool2d1"]
    assert {n.name: n.spans[:1] for _, n in graph.nodes() if n.spans} == places


def test_names_and_places_of_what_is_merged_survive() -> None:
    net = Net()
    h = _reshape(net, _reshape(net, _map(net), -1, 4, 6), -1, 8, 3)
    graph = net.outputs(h)
    Simplify().run(graph)
    assert [s.line for s in node(graph, "reshape2").spans] == [2, 3]
