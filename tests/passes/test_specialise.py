"""General operators with random attributes: same numbers, and which of them leave a general one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir import interp
from cnncc.ir.build import add_constant
from cnncc.ir.decisions import decisions
from cnncc.ir.graph import Graph
from cnncc.ir.verify import verify
from cnncc.ops.resize import bilinear_taps
from cnncc.passes import Simplify, Specialise
from cnncc.passes.specialise import RULES
from tests.passes.nets import Net, assert_same_numbers, node, ops

Build = Callable[[Net], int]


def _specialised(net: Net, *outputs: int) -> Graph:
    """The graph after the pass, which keeps its numbers and has nothing left to do."""
    graph = net.outputs(*outputs)
    graph.meta["batched"] = False
    rng = np.random.default_rng(1)
    shapes = [graph[i].attrs.shape for i in graph.inputs]
    inputs = {k: rng.standard_normal(shape, np.float32) for k, shape in enumerate(shapes)}
    want = interp.run(graph, inputs)
    Specialise().run(graph)
    assert_same_numbers(want, interp.run(graph, inputs), 1e-6)
    verify(graph, spans=True)
    version = graph.version
    Specialise().run(graph)
    assert graph.version == version
    return graph


def _whole(net: Net, *values: object) -> int:
    return add_constant(net.graph, "places", np.asarray(values, np.int64))


def _resample(net: Net, x: int, axis: int, factor: int, mode: str) -> int:
    n = net.shape(x)[axis]
    if mode == "nearest":
        places, weights = np.repeat(np.arange(n), factor)[:, None], np.ones((n * factor, 1))
    else:
        low, high, second = bilinear_taps(n, factor)
        places = np.stack([low, high], 1)
        weights = np.stack([1 - np.asarray(second), second], 1)
    return net.add("resample", x, _whole(net, *places), net.array(weights), axis=axis)


def _shuffle(net: Net, x: int, groups: int) -> int:
    n, c, h, w = net.shape(x)
    apart = net.add("reshape", x, shape=(n, groups, c // groups, h, w))
    turned = net.add("transpose", apart, perm=(0, 2, 1, 3, 4))
    return net.add("reshape", turned, shape=(n, c, h, w))


def _pad(net: Net, x: int, before: tuple[int, ...], after: tuple[int, ...], **attrs) -> int:
    return net.add("pad", x, before=before, after=after, **{"mode": "constant", **attrs})


def _slice(net: Net, x: int, starts: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    return net.add("slice", x, starts=starts, steps=(1,) * len(starts), sizes=sizes)


def _map(net: Net) -> int:
    return net.input(1, 6, 4, 5)


def _dense_of(net: Net, vector: int) -> int:
    return net.add("dense", vector, net.param(3, net.shape(vector)[1]))


BECOMES: dict[str, tuple[Build, list[str]]] = {
    "mean": (lambda n: n.add("reduce", _map(n), kind="mean", axes=(2, 3)), ["global_avg_pool"]),
    "maximum of a row": (
        lambda n: n.add("reduce", n.input(1, 6, 1, 5), kind="max", axes=(3,), keepdims=False),
        ["global_max_pool", "reshape"],
    ),
    "mean as a vector": (
        lambda n: n.add("reduce", _map(n), kind="mean", axes=(2, 3), keepdims=False),
        ["global_avg_pool", "flatten"],
    ),
    "part of all axes": (
        lambda n: _slice(n, _map(n), (0, 2, 1, 0), (1, 3, 2, 5)),
        ["slice_channels", "crop2d"],
    ),
    "part of a vector": (lambda n: _slice(n, n.input(1, 7), (0, 3), (1, 4)), ["slice_channels"]),
    "border": (lambda n: _pad(n, _map(n), (0, 0, 1, 0), (0, 0, 2, 1), value=0.5), ["pad2d"]),
    "border of channels": (
        lambda n: _pad(n, _map(n), (0, 1, 1, 0), (0, 2, 0, 0), value=-2.0),
        ["pad2d", "concat"],
    ),
    "row by matrix": (lambda n: n.add("matmul", n.input(1, 6), n.param(6, 4)), ["dense"]),
    "flat row by matrix": (
        lambda n: n.add("matmul", n.add("reshape", _map(n), shape=(1, 1, 120)), n.param(120, 4)),
        ["reshape", "reshape", "dense", "reshape"],
    ),
    "map by matrix": (
        lambda n: n.add("matmul", n.add("reshape", _map(n), shape=(1, 120)), n.param(120, 4)),
        ["flatten", "dense"],
    ),
    "pixels by matrix": (
        lambda n: _dense_of(
            n,
            n.add("reshape", n.add("transpose", _map(n), perm=(0, 2, 3, 1)), shape=(1, 120)),
        ),
        ["flatten", "dense"],
    ),
    "pixel as a vector": (
        lambda n: n.add("reshape", n.input(1, 6, 1, 1), shape=(1, 6)),
        ["flatten"],
    ),
    "shuffle": (lambda n: _shuffle(n, _map(n), 3), ["channel_shuffle"]),
    "nearest": (
        lambda n: _resample(n, _resample(n, _map(n), 3, 2, "nearest"), 2, 3, "nearest"),
        ["upsample2d"],
    ),
    "bilinear": (
        lambda n: _resample(n, _resample(n, _map(n), 2, 2, "bilinear"), 3, 4, "bilinear"),
        ["upsample2d"],
    ),
    "bilinear twice along one axis": (
        lambda n: _resample(n, _resample(n, _map(n), 2, 2, "bilinear"), 2, 2, "bilinear"),
        ["upsample2d", "upsample2d"],
    ),
    "gate": (
        lambda n: n.add(
            "mul", x := _map(n), n.add("expand", n.input(1, 6, 1, 1), shape=n.shape(x))
        ),
        ["mul"],
    ),
    "eighth": (lambda n: n.add("div", _map(n), n.array(-8.0)), ["mul"]),
    "difference": (lambda n: n.add("sub", _map(n), n.param(6, 1, 1)), ["add"]),
}

STAYS: dict[str, Build] = {
    "sum": lambda n: n.add("reduce", _map(n), kind="sum", axes=(2, 3)),
    "mean of rows": lambda n: n.add("reduce", _map(n), kind="mean", axes=(3,)),
    "mean of all": lambda n: n.add("reduce", _map(n), kind="mean", axes=(1, 2, 3)),
    "mean of two samples": lambda n: n.add("reduce", n.input(2, 3, 4, 4), kind="mean", axes=(2, 3)),
    "every other row": lambda n: n.add(
        "slice", _map(n), starts=(0, 0, 0, 0), steps=(1, 1, 2, 1), sizes=(1, 6, 2, 5)
    ),
    "part of a cube": lambda n: _slice(n, n.input(1, 4, 4), (0, 1, 1), (1, 2, 2)),
    "mirror": lambda n: _pad(n, _map(n), (0, 0, 1, 1), (0, 0, 1, 1), mode="reflect"),
    "border of samples": lambda n: _pad(n, _map(n), (1, 0, 0, 0), (0, 0, 0, 0)),
    "rows by matrix": lambda n: n.add("matmul", n.input(3, 6), n.param(6, 4)),
    "row by row": lambda n: n.add("matmul", n.input(1, 6), n.input(6, 4)),
    "map that others read flat": lambda n: n.add("reshape", _map(n), shape=(1, 120)),
    "turned groups of rows": lambda n: n.add(
        "reshape",
        n.add(
            "transpose",
            n.add("reshape", n.input(1, 4, 4, 4), shape=(1, 2, 2, 4, 4)),
            perm=(0, 2, 1, 4, 3),
        ),
        shape=(1, 4, 4, 4),
    ),
    "taps of another rule": lambda n: n.add(
        "resample",
        _map(n),
        _whole(n, *[[k // 2] for k in range(1, 9)]),
        n.array([[1.0]] * 8),
        axis=2,
    ),
    "channels repeated": lambda n: _resample(n, _map(n), 1, 2, "nearest"),
    "expand that widens": lambda n: n.add(
        "relu", n.add("expand", n.input(1, 6, 1, 1), shape=(1, 6, 2, 2))
    ),
    "third": lambda n: n.add("div", _map(n), n.array(3.0)),
    "quotient of nothing": lambda n: n.add("add", _map(n), n.param(6, 1, 1)),
}


@pytest.mark.parametrize("case", BECOMES)
def test_a_general_form_becomes_that_of_cnns(case: str) -> None:
    net = Net()
    build, left = BECOMES[case]
    assert ops(_specialised(net, build(net))) == left


@pytest.mark.parametrize("case", STAYS)
def test_other_general_forms_stay(case: str) -> None:
    net = Net()
    y = STAYS[case](net)
    before = ops(net.outputs(y))
    assert ops(_specialised(net, y)) == before


def test_every_rule_has_a_case() -> None:
    fired = set()
    for build, _ in BECOMES.values():
        net = Net()
        fired |= {d.reason for d in decisions(_specialised(net, build(net)))}
    assert fired == {rule.equation for rule in RULES}


def test_pixels_in_rows_keep_their_order_as_a_vector() -> None:
    net = Net()
    graph = _specialised(net, BECOMES["pixels by matrix"][0](net))
    assert [n.attrs.order for _, n in graph.nodes() if n.op == "flatten"] == ["hwc"]


def test_a_border_of_zeros_never_enters_a_maximum() -> None:
    net = Net()
    border = _pad(net, net.add("relu", _map(net)), (0, 0, 1, 1), (0, 0, 1, 1))
    graph = _specialised(net, net.pool(border, 3, 2))
    assert ops(graph) == ["relu", "pad2d", "max_pool2d"]
    assert node(graph, "max_pool2d1").attrs.pads == (0, 0, 0, 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_attributes_keep_the_numbers(data: st.DataObject) -> None:
    net = Net(data.draw(st.integers(0, 999)))
    x = net.input(1, *(data.draw(st.integers(1, 5)) for _ in range(3)))
    for _ in range(data.draw(st.integers(1, 4))):
        shape = net.shape(x)
        match data.draw(st.sampled_from(["slice", "pad", "reduce", "resample", "flat"])):
            case "slice":
                starts = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
                sizes = tuple(
                    data.draw(st.integers(1, n - s)) for n, s in zip(shape, starts, strict=True)
                )
                x = _slice(net, x, starts, sizes)
            case "pad" if max(shape) < 9:
                before, after = (
                    (0, *(data.draw(st.integers(0, 2)) for _ in shape[1:])) for _ in range(2)
                )
                x = _pad(net, x, before, after, value=data.draw(st.sampled_from([0.0, 1.5])))
            case "reduce":
                axes = tuple(sorted(data.draw(st.sets(st.sampled_from([1, 2, 3]), min_size=1))))
                kind = data.draw(st.sampled_from(["mean", "max", "sum"]))
                x = net.add("reduce", x, kind=kind, axes=axes)
            case "resample" if max(shape) < 9:
                mode = data.draw(st.sampled_from(["nearest", "bilinear"]))
                factor = data.draw(st.integers(1, 3))
                x = _resample(net, x, data.draw(st.integers(1, 3)), factor, mode)
            case "flat":
                perm = data.draw(st.sampled_from([(0, 1, 2, 3), (0, 2, 3, 1)]))
                x = net.add("transpose", x, perm=perm)
    flat = net.add("reshape", x, shape=(1, int(np.prod(net.shape(x)))))
    graph = net.outputs(net.add("matmul", flat, net.param(net.shape(flat)[1], 3)), x)
    Simplify().run(graph)
    _specialised(net, *(out for _, out in graph.outputs))
