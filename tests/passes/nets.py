"""Graphs for the tests of passes: a short way to write one, and random ones to rewrite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import cnncc.ops  # noqa: F401 - registers the operators
from cnncc.errors import Span
from cnncc.ir import interp
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.types import DType


class Net:
    """Builds a typed graph; every node but constants gets a name and a place."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph("test")
        self.rng = np.random.default_rng(seed)
        self._count: dict[str, int] = {}

    def add(self, op: str, *operands: int, name: str | None = None, **attrs) -> int:
        self._count[op] = self._count.get(op, 0) + 1
        word = f"{op}{self._count[op]}" if name is None else name
        line = len(self.graph) + 1
        place = (Span("net.cnn", line, 1, 2),)
        made = lookup(op).Attrs(**attrs)
        return add_typed(self.graph, op, operands, made, name=word, spans=place)

    def input(self, *shape: int) -> int:
        return self.add("input", dtype=DType.F32, shape=shape)

    def param(self, *shape: int, low: float = -1.0, high: float = 1.0) -> int:
        return self.array(self.rng.uniform(low, high, shape).astype(np.float32))

    def array(self, values) -> int:
        count = len(self.graph.constants)
        return add_constant(self.graph, f"p{count}", np.asarray(values, np.float32))

    def shape(self, x: int) -> tuple[int, ...]:
        return self.graph.type_of(x).shape

    def conv(self, x: int, filters: int, k: int = 3, *, bias: bool = True, **attrs) -> int:
        groups = attrs.get("groups", 1)
        w = self.param(filters, self.shape(x)[1] // groups, k, k)
        rest = (self.param(filters),) if bias else ()
        return self.add("conv2d", x, w, *rest, **attrs)

    def deconv(self, x: int, filters: int, k: int = 2, **attrs) -> int:
        w = self.param(self.shape(x)[1], filters // attrs.get("groups", 1), k, k)
        return self.add("conv2d_transpose", x, w, **attrs)

    def dense(self, x: int, units: int) -> int:
        return self.add("dense", x, self.param(units, self.shape(x)[1]), self.param(units))

    def batch_norm(self, x: int, **attrs) -> int:
        c = self.shape(x)[1]
        vectors = [self.param(c), self.param(c), self.param(c), self.param(c, low=0.2, high=2.0)]
        return self.add("batch_norm", x, *vectors, **attrs)

    def scale(self, x: int) -> int:
        c = self.shape(x)[1]
        return self.add("scale", x, self.param(c), self.param(c))

    def pool(self, x: int, k: int, s: int, pad: int = 0, op: str = "max_pool2d", **attrs) -> int:
        pads = (pad,) * 4
        return self.add(op, x, window=(k, k), strides=(s, s), pads=pads, **attrs)

    def outputs(self, *nodes: int) -> Graph:
        self.graph.outputs = [(f"y{i}", node) for i, node in enumerate(nodes)]
        return self.graph


def feed(graph: Graph, seed: int = 1, batch: int = 2) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        position: rng.standard_normal((batch, *graph[i].attrs.shape[1:]))
        for position, i in enumerate(graph.inputs)
    }


def values(graph: Graph) -> list[np.ndarray]:
    return interp.run(graph, feed(graph))


def assert_same_numbers(before: list[np.ndarray], after: list[np.ndarray], rtol: float) -> None:
    """Equal within rtol of the largest value; at least one result is finite and not constant."""
    assert len(before) == len(after)
    for want, got in zip(before, after, strict=True):
        assert want.shape == got.shape
        assert np.isfinite(want).all()
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * max(1.0, np.abs(want).max()))


def ops(graph: Graph) -> list[str]:
    """Operators in topological order, without inputs and constants."""
    return [n.op for _, n in graph.nodes() if n.op not in ("input", "constant")]


def node(graph: Graph, name: str):
    return next(n for _, n in graph.nodes() if n.name == name)


def node_id(graph: Graph, name: str) -> int:
    return next(i for i, n in graph.nodes() if n.name == name)


# -- random networks -----------------------------------------------------------------------------


def _join(net: Net, x: int, pool: list[int]) -> int:
    same = [y for y in pool if net.shape(y) == net.shape(x)]
    other = same[int(net.rng.integers(len(same)))]
    return net.add(("add", "mul")[int(net.rng.integers(2))], x, other)


def _gate(net: Net, x: int, pool: list[int]) -> int:
    gate = net.add("sigmoid", net.add("global_avg_pool", x))
    return net.add("mul", *((x, gate), (gate, x))[int(net.rng.integers(2))])


def _concat(net: Net, x: int, pool: list[int]) -> int:
    same = [y for y in pool if net.shape(y)[2:] == net.shape(x)[2:]][-2:]
    return net.add("concat", *same, x) if net.shape(x)[1] < 24 else net.add("concat", x)


def _grown(net: Net, x: int, pool: list[int]) -> int:
    """Layers that join all maps before them, as exporters write them."""
    maps = [x, net.conv(x, 2, 1)]
    for _ in range(2):
        maps.append(net.conv(net.add("concat", *maps), 2, 1))
    return net.add("concat", *maps)


def _twins(net: Net, x: int, pool: list[int]) -> int:
    """The same expression twice, with operands in the other order."""
    a = net.add("tanh", x)
    return net.add("add", net.add("mul", a, x), net.add("mul", x, net.add("tanh", x)))


def _constant_branch(net: Net, x: int, pool: list[int]) -> int:
    folded = net.add("sigmoid", net.array(net.rng.standard_normal((1, net.shape(x)[1], 1, 1))))
    return net.add("mul", x, folded)


def _neutral(net: Net, x: int, pool: list[int]) -> int:
    c = net.shape(x)[1]
    zeros, ones = net.array(np.zeros((1, c, 1, 1))), net.array(np.ones((1, c, 1, 1)))
    return net.add("mul", ones, net.add("add", x, zeros))


def _pools(net: Net, x: int, pool: list[int]) -> int:
    if min(net.shape(x)[2:]) < 4:
        return net.add("relu", x)
    k, s, pad = ((2, 2, 0), (3, 2, 1), (3, 1, 1), (1, 1, 0))[int(net.rng.integers(4))]
    op = ("max_pool2d", "avg_pool2d")[int(net.rng.integers(2))]
    return net.pool(x, k, s, pad, op)


def _border(net: Net, x: int, pool: list[int]) -> int:
    padded = net.add("pad2d", x, pads=(1, 0, 2, 1), value=float(net.rng.random() < 0.3))
    if net.rng.integers(2):
        return net.conv(padded, 6)
    return net.pool(padded, 2, 1, 0, "avg_pool2d", count_pad=bool(net.rng.integers(2)))


def _slices(net: Net, x: int, pool: list[int]) -> int:
    c = net.shape(x)[1]
    joined = net.add("concat", x, x)
    return net.add("slice_channels", joined, start=0, stop=max(1, c // 2))


def _spelled_out(net: Net, x: int, pool: list[int]) -> int:
    """A hard swish, a PReLU or a clip in pieces."""
    pick = int(net.rng.integers(3))
    if pick == 0:
        line = net.add("add", x, net.array(3.0))
        gate = net.add("div", net.add("clip", line, low=0.0, high=6.0), net.array(6.0))
        return net.add("mul", x, gate)
    if pick == 1:
        below = net.add("relu", net.add("neg", x))
        slope = net.param(net.shape(x)[1], 1, 1)
        return net.add("sub", net.add("relu", x), net.add("mul", slope, below))
    return net.add("minimum", net.add("maximum", x, net.array(-0.5)), net.array(0.5))


def _general(net: Net, x: int, pool: list[int]) -> int:
    """Operators of any rank that do what one of CNNs does."""
    pick = int(net.rng.integers(4))
    if pick == 0:
        mean = net.add("reduce", x, kind="mean", axes=(2, 3))
        return net.add("sub", x, mean)
    if pick == 1:
        return net.add("pad", x, mode="constant", before=(0, 0, 1, 0), after=(0, 0, 0, 2))
    if pick == 2:
        powers = net.add("exp", net.add("sub", x, net.add("reduce", x, kind="max", axes=(1,))))
        return net.add("div", powers, net.add("reduce", powers, kind="sum", axes=(1,)))
    w = net.shape(x)[3]
    places = net.add("cast", net.array(np.arange(w)[:, None]), to=DType.I64)
    same = net.add("resample", x, places, net.array(np.ones((w, 1))), axis=3)
    return net.add("sub", net.add("div", same, net.array(4.0)), net.array(0.5))


def _turned(net: Net, x: int, pool: list[int]) -> int:
    """Pixels in rows: what stands between two turns can be done on maps."""
    to_rows, to_maps = (0, 2, 3, 1), (0, 3, 1, 2)
    rows = net.add("transpose", x, perm=to_rows)
    rows = net.add("tanh", net.add("add", rows, net.param(net.shape(x)[1])))
    if net.rng.integers(2):
        same = [y for y in pool if net.shape(y) == net.shape(x)]
        rows = net.add("concat", rows, net.add("transpose", same[0], perm=to_rows), axis=3)
        rows = net.add("pad", rows, mode="edge", before=(0, 0, 1, 0), after=(0, 0, 0, 0))
    return net.add("transpose", rows, perm=to_maps)


_PIECES: tuple[Callable[[Net, int, list[int]], int], ...] = (
    lambda net, x, pool: net.batch_norm(net.conv(x, int(net.rng.integers(1, 9)), 1)),
    lambda net, x, pool: net.add("relu", net.scale(net.conv(x, 8, 3, pads=(1, 1, 1, 1)))),
    lambda net, x, pool: net.scale(net.batch_norm(net.deconv(x, 4, 1))),
    lambda net, x, pool: net.conv(x, net.shape(x)[1], 3, groups=net.shape(x)[1], pads=(1,) * 4),
    lambda net, x, pool: net.add("clip", net.add("relu", x), low=-1.0, high=3.0),
    lambda net, x, pool: net.add("dropout", net.add("identity", x)),
    lambda net, x, pool: net.batch_norm(x),
    lambda net, x, pool: net.add("mul", x, net.add("sigmoid", x)),
    lambda net, x, pool: net.add("leaky_relu", x, alpha=0.1),
    _join,
    _gate,
    _concat,
    _grown,
    _twins,
    _constant_branch,
    _neutral,
    _pools,
    _border,
    _slices,
    _spelled_out,
    _general,
    _turned,
)


def random_net(seed: int) -> Graph:
    """A network of 1 to 8 random pieces with 1 to 3 outputs, sometimes with a dense head."""
    net = Net(seed)
    x = net.input(1, int(net.rng.integers(1, 6)), 9, 8)
    pool = [x]
    for _ in range(int(net.rng.integers(1, 9))):
        source = pool[-1] if net.rng.random() < 0.8 else pool[int(net.rng.integers(len(pool)))]
        piece = _PIECES[int(net.rng.integers(len(_PIECES)))]
        pool.append(piece(net, source, [y for y in pool if y != source] + [source]))
    last = pool[-1]
    if net.rng.random() < 0.5:
        order = ("hwc", "chw")[int(net.rng.integers(2))]
        flat = net.add("flatten", net.add("global_avg_pool", last), order=order)
        last = net.add("softmax", net.add("relu", net.dense(net.add("flatten", flat), 5)))
    extra = [y for y in pool[1:-1] if net.rng.random() < 0.2][:2]
    return net.outputs(last, *extra)
