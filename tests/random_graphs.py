"""Random networks: residuals, diamonds, joins, several outputs, weights that keep values sane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.build import add_constant, add_typed, infer
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.ops.source import InputAttrs
from tests.op_makers import EXTENTS, MAKERS, Choices, RngChoices, takes_vectors

MAX_ELEMS = 12_000
MAX_MACS = 1_000_000
EXACT_LIMIT = 2.0**22

MAPS = (
    *("conv2d", "conv2d", "conv2d", "conv2d", "conv2d_transpose", "max_pool2d", "avg_pool2d"),
    *("relu", "relu", "clip", "leaky_relu", "prelu", "hard_swish", "sigmoid", "silu", "batch_norm"),
    *("scale", "lrn", "softmax", "add", "add", "mul", "concat", "concat", "upsample2d", "pad2d"),
    *("crop2d", "slice_channels", "channel_shuffle", "identity", "dropout", "tanh", "hard_sigmoid"),
    *("global_avg_pool", "global_max_pool", "flatten", "elu", "gelu", "mish", "softplus"),
)
VECTORS = ("dense", "dense", "relu", "sigmoid", "softmax", "add", "concat", "scale", "batch_norm")
EXACT = frozenset(
    {
        "conv2d",
        "conv2d_transpose",
        "dense",
        "max_pool2d",
        "relu",
        "add",
        "concat",
        "pad2d",
        "crop2d",
    }
    | {"slice_channels", "channel_shuffle", "identity", "dropout", "global_max_pool", "flatten"}
)
JOINS = frozenset({"add", "mul", "concat"})


class _Builder:
    def __init__(self, rng: np.random.Generator, exact: bool) -> None:
        self.rng = rng
        self.ch: Choices = RngChoices(rng)
        self.exact = exact
        self.graph = Graph("random")
        self.values: list[int] = []
        self.bounds: dict[int, float] = {}
        self.counts: dict[str, int] = {}

    def name(self, op: str) -> str:
        self.counts[op] = self.counts.get(op, 0) + 1
        return f"{op}{self.counts[op]}"

    def start(self) -> None:
        """One or two inputs; bytes are normalised first."""
        for _ in range(self.ch.pick((1, 1, 1, 2))):
            dtype = DType.F32 if self.exact else self.ch.pick((DType.F32, DType.F32, DType.U8))
            channels = self.ch.pick((3, 1, 2, 4, 5, 8, 16, 17))
            shape = (1, channels, self.ch.pick(EXTENTS), self.ch.pick(EXTENTS))
            attrs = InputAttrs(dtype, shape, self.ch.pick(("hwc", "chw")))
            node_id = add_typed(self.graph, "input", (), attrs, name=self.name("input"))
            if dtype is DType.U8:
                _, attrs = MAKERS["normalize"](self.ch, self.graph.type_of(node_id))
                name = self.name("normalize")
                node_id = add_typed(self.graph, "normalize", (node_id,), attrs, name=name)
            self.values.append(node_id)
            self.bounds[node_id] = 8.0

    def step(self) -> bool:
        """Try to add one operator on a random value, more often on a recent one."""
        recent = self.values[-3:] if self.rng.random() < 0.7 else self.values
        x = self.ch.pick(recent)
        x_type = self.graph.type_of(x)
        op = self.ch.pick(MAPS if x_type.is_feature_map else VECTORS)
        if not (x_type.is_feature_map or takes_vectors(op)) or (self.exact and op not in EXACT):
            return False
        others, attrs = self._others(op, x)
        if others is None:
            return False
        return self._add(op, x, others, attrs)

    def _others(self, op: str, x: int) -> tuple[Sequence[int | TensorType] | None, object]:
        """Further operands: values of the graph for joins, types of weights otherwise."""
        x_type = self.graph.type_of(x)
        if op not in JOINS:
            return MAKERS[op](self.ch, x_type)
        if op == "concat":
            fits = [v for v in self.values if self._joins(v, x_type)]
            return [self.ch.pick(fits) for _ in range(self.ch.whole(1, 2))], lookup(op).Attrs(1)
        gates = (x_type.shape, (*x_type.shape[:2], 1, 1))
        fits = [v for v in self.values if self.graph.type_of(v).shape in gates]
        return [self.ch.pick(fits)], lookup(op).Attrs()

    def _joins(self, value: int, x_type: TensorType) -> bool:
        found = self.graph.type_of(value).shape
        return len(found) == len(x_type.shape) and found[2:] == x_type.shape[2:]

    def _add(self, op: str, x: int, others: Sequence[int | TensorType], attrs: object) -> bool:
        types = [self.graph.type_of(o) if isinstance(o, int) else o for o in others]
        rule = lookup(op)
        try:
            result = rule.infer([self.graph.type_of(x), *types], attrs)
        except TypeInferenceError:
            return False
        cost = rule.cost([self.graph.type_of(x), *types], result, attrs)
        if result.elems > MAX_ELEMS or cost.macs > MAX_MACS:
            return False
        name = self.name(op)
        weights = {
            k: self._weight(op, k, t) for k, t in enumerate(types) if k not in _values(others)
        }
        bound = self._bound(op, x, others, weights)
        if self.exact and bound > EXACT_LIMIT:
            self.counts[op] -= 1
            return False
        operands = [x]
        for k, other in enumerate(others):
            if isinstance(other, int):
                operands.append(other)
            else:
                label = f"{name}.{rule.operand_names[k + 1]}"
                operands.append(add_constant(self.graph, label, weights[k], name=label))
        node_id = add_typed(self.graph, op, operands, attrs, name=name)
        self.values.append(node_id)
        self.bounds[node_id] = bound
        return True

    def _weight(self, op: str, index: int, found: TensorType) -> np.ndarray:
        """Weights of variance 1/fan-in, so that values neither die nor explode."""
        if self.exact:
            sparse = self.rng.random(found.shape) < 0.3
            return (self.rng.integers(-2, 3, found.shape) * sparse).astype(np.float32)
        values = self.rng.normal(size=found.shape)
        if op in ("conv2d", "conv2d_transpose", "dense") and index == 0:
            values *= np.sqrt(2.0 / max(1, found.elems // found.shape[0]))
        elif op == "batch_norm":
            values = 0.5 + self.rng.random(found.shape) if index in (0, 3) else values * 0.3
        elif op == "prelu":
            values = np.abs(values) * 0.25
        return values.astype(np.float32)

    def _bound(
        self, op: str, x: int, others: Sequence[int | TensorType], weights: dict[int, np.ndarray]
    ) -> float:
        """A bound on the magnitude of the result in exact mode."""
        if not self.exact:
            return 0.0
        bound = self.bounds[x]
        if op == "add":
            return bound + sum(self.bounds[o] for o in others if isinstance(o, int))
        if op == "concat":
            return max(bound, *(self.bounds[o] for o in others if isinstance(o, int)))
        if weights:
            fan = float(np.abs(weights[0]).sum())
            return bound * fan + float(sum(np.abs(w).max() for k, w in weights.items() if k))
        return max(bound, 3.0)

    def finish(self) -> Graph:
        """Everything unread is an output, and sometimes a value that is read too."""
        graph = self.graph
        ends = [v for v in self.values if not graph.users(v)]
        inner = [v for v in self.values if graph.users(v) and graph[v].op != "input"]
        if inner and self.rng.random() < 0.2:
            ends.append(self.ch.pick(inner))
        graph.outputs = [(f"out{k}", v) for k, v in enumerate(ends)]
        return graph


def _values(others: Sequence[int | TensorType]) -> set[int]:
    return {k for k, other in enumerate(others) if isinstance(other, int)}


def random_graph(rng: np.random.Generator, n_ops: int, *, exact: bool = False) -> Graph:
    """A valid, typed network of `n_ops` operators (inputs, weights, normalisation not counted).

    Args:
        rng: decides everything; the same state gives the same network.
        n_ops: from 1.
        exact: only operators and small whole weights whose results are exact in f32, in any order
            of summation, for the inputs of `random_feed(..., exact=True)`.
    """
    builder = _Builder(rng, exact)
    builder.start()
    done = 0
    for _ in range(200 * n_ops):
        done += builder.step()
        if done == n_ops:
            return builder.finish()
    raise AssertionError(f"no network of {n_ops} operators after {200 * n_ops} attempts")


def random_feed(
    rng: np.random.Generator, graph: Graph, batch: int = 1, *, exact: bool = False
) -> dict[str, np.ndarray]:
    """Logical arrays [N,C,H,W] for the inputs of a network, by name, in their dtypes."""
    feed = {}
    for node_id in graph.inputs:
        found = infer(graph, "input", (), graph[node_id].attrs)
        shape = (batch, *found.shape[1:])
        if found.dtype is DType.U8:
            array = rng.integers(0, 256, shape).astype(np.uint8)
        elif exact:
            array = rng.integers(-8, 9, shape).astype(np.float32)
        else:
            array = rng.normal(size=shape).astype(np.float32)
        feed[graph[node_id].name] = array
    return feed
