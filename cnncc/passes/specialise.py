"""specialise: general operators where they do what an operator of CNNs does.

The general forms (slice, pad, reduce, resample, matrix product) run on row-major arrays. On one
sample of a feature map [1,C,H,W] those of CNNs compute in blocks of channels, where they stand
beside convolutions without copies, fuse with what follows, and meet the rules of other passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.ir.types import DType, TensorType
from cnncc.ops.channels import is_map_or_vector
from cnncc.passes.match import is_pointwise, label, producer
from cnncc.passes.specialise_resample import RESAMPLING

_POOLS = {"mean": "global_avg_pool", "max": "global_max_pool"}
_SPATIAL = {2, 3}
_TO_HWC = (0, 2, 3, 1)


def _is_map(type_: TensorType) -> bool:
    return is_map_or_vector(type_) and len(type_.shape) == 4


def _as_shape(graph: Graph, node_id: int, shape: tuple[int, ...]) -> int:
    """The node under another shape of as many samples; a vector of a pixel is flattened."""
    found = graph.type_of(node_id).shape
    if found == shape:
        return node_id
    if len(shape) == 2 and found[2:] == (1, 1):
        return add_typed(graph, "flatten", (node_id,), lookup("flatten").Attrs("hwc"))
    return add_typed(graph, "reshape", (node_id,), lookup("reshape").Attrs((-1, *shape[1:])))


def _reduce_to_pool(graph: Graph, node_id: int) -> int | None:
    """A mean or maximum over all pixels; an axis of one pixel may be left out."""
    attrs, x = graph[node_id].attrs, graph.operands(node_id)[0]
    found, axes = graph.type_of(x), set(attrs.axes)
    if attrs.kind not in _POOLS or not _is_map(found) or not axes or axes - _SPATIAL:
        return None
    if any(found.shape[axis] != 1 for axis in _SPATIAL - axes):
        return None
    pool = add_typed(graph, _POOLS[attrs.kind], (x,))
    return _as_shape(graph, pool, graph.type_of(node_id).shape)


def _slice_to_crop(graph: Graph, node_id: int) -> int | None:
    """Neighbouring channels, rows and columns."""
    attrs, x = graph[node_id].attrs, graph.operands(node_id)[0]
    shape = graph.type_of(x).shape
    single = all(s == 1 or n == 1 for s, n in zip(attrs.steps, attrs.sizes, strict=True))
    if not is_map_or_vector(graph.type_of(x)) or not single:
        return None
    start, size = attrs.starts[1], attrs.sizes[1]
    if size < shape[1]:
        channels = lookup("slice_channels").Attrs(start, start + size)
        x = add_typed(graph, "slice_channels", (x,), channels)
    if attrs.sizes[2:] != shape[2:]:
        top, left = attrs.starts[2:]
        below, right = (
            n - s - k for n, s, k in zip(shape[2:], attrs.starts[2:], attrs.sizes[2:], strict=True)
        )
        x = add_typed(graph, "crop2d", (x,), lookup("crop2d").Attrs((top, left, below, right)))
    return x


def _pad_to_pad2d(graph: Graph, node_id: int) -> int | None:
    """A constant border around the pixels; more channels are a join with constants."""
    attrs, x = graph[node_id].attrs, graph.operands(node_id)[0]
    if attrs.mode != "constant" or not _is_map(graph.type_of(x)):
        return None
    if attrs.before[0] or attrs.after[0]:
        return None
    pads = (*attrs.before[2:], *attrs.after[2:])
    if any(pads):
        border = lookup("pad2d").Attrs(pads, float(attrs.value))
        x = add_typed(graph, "pad2d", (x,), border)
    front, behind = (_filled(graph, node_id, x, ends[1]) for ends in (attrs.before, attrs.after))
    parts = [*front, x, *behind]
    return x if len(parts) == 1 else add_typed(graph, "concat", parts)


def _filled(graph: Graph, node_id: int, x: int, channels: int) -> list[int]:
    """So many channels of a border beside x, as a constant; nothing for none."""
    if not channels:
        return []
    shape = (1, channels, *graph.type_of(x).shape[2:])
    filled = np.full(shape, graph[node_id].attrs.value, np.float32)
    return [add_constant(graph, f"{label(graph, node_id)}.border", filled)]


def _matmul_to_dense(graph: Graph, node_id: int) -> int | None:
    """A row times a constant matrix; also one row of more axes, where it was a row before."""
    x, w = graph.operands(node_id)
    weights, shape = graph.constant(w), graph.type_of(x).shape
    if weights is None or weights.ndim != 2 or weights.dtype != np.float32 or not shape:
        return None
    if graph.type_of(x).elems != shape[-1] or graph[x].op == "constant":
        return None
    if shape != (1, shape[-1]):
        if graph[x].op not in ("reshape", "flatten"):
            return None
        x = add_typed(graph, "reshape", (x,), lookup("reshape").Attrs((-1, shape[-1])))
    turned = np.ascontiguousarray(weights.T)
    filters = add_constant(graph, f"{label(graph, node_id)}.weight", turned)
    made = add_typed(graph, "dense", (x, filters))
    wanted = graph.type_of(node_id).shape
    if graph.type_of(made).shape == wanted:
        return made
    sizes = (-1, *wanted[1:]) if len(wanted) > 1 else wanted
    return add_typed(graph, "reshape", (made,), lookup("reshape").Attrs(sizes))


def _reshape_to_flatten(graph: Graph, node_id: int) -> int | None:
    """A map as a vector that only fully connected layers read: they permute their weights."""
    x, result = graph.operands(node_id)[0], graph.type_of(node_id)
    if len(result.shape) != 2 or not _is_map(graph.type_of(x)) or result.shape[0] != 1:
        return None
    order = "chw"
    if graph[x].op == "transpose" and graph[x].attrs.perm == _TO_HWC:
        order, x = "hwc", graph.operands(x)[0]
    pixel = graph.type_of(x).shape[2:] == (1, 1)
    readers = graph.users(node_id)
    for_layers = readers and all(graph[u].op == "dense" and i == 0 for u, i in readers)
    if not pixel and (graph.is_output(node_id) or not for_layers):
        return None
    return add_typed(graph, "flatten", (x,), lookup("flatten").Attrs("hwc" if pixel else order))


def _pieces_to_shuffle(graph: Graph, node_id: int) -> int | None:
    """reshape(transpose(reshape(x))) that takes channels from groups in turn."""
    turn = producer(graph, node_id, "transpose")
    split = producer(graph, turn, "reshape") if turn is not None else None
    if turn is None or split is None:
        return None
    x = graph.operands(split)[0]
    found, apart, perm = graph.type_of(x), graph.type_of(split).shape, graph[turn].attrs.perm
    if not is_map_or_vector(found) or found != graph.type_of(node_id) or len(apart) < 3:
        return None
    samples, groups, depth = apart[:3]
    turns = perm == (0, 2, 1, *range(3, len(apart)))
    if not turns or samples != found.shape[0] or groups * depth != found.shape[1]:
        return None
    return add_typed(graph, "channel_shuffle", (x,), lookup("channel_shuffle").Attrs(groups))


def _join_without_expand(graph: Graph, node_id: int) -> int | None:
    """Pointwise operators broadcast by themselves."""
    node, operands = graph[node_id], graph.operands(node_id)
    if not is_pointwise(graph, node_id) or lookup(node.op).per_channel:
        return None
    bare = [graph.operands(o)[0] if graph[o].op == "expand" else o for o in operands]
    types = [graph.type_of(o) for o in bare]
    if tuple(bare) == operands or lookup(node.op).infer(types, node.attrs) != node.type:
        return None
    return add_typed(graph, node.op, bare, node.attrs)


def _half_or_double(graph: Graph, node_id: int) -> int | None:
    """A quotient by powers of two as a product: exact, and products fuse and fold at less cost."""
    x, divisor = graph.operands(node_id)
    array = graph.constant(divisor)
    if array is None or graph.type_of(node_id).dtype is not DType.F32:
        return None
    mantissa, exponent = np.frexp(array)
    if not np.all(np.abs(mantissa) == 0.5) or np.any(np.abs(exponent) > 120):
        return None
    inverse = np.asarray(1 / array, np.float32)
    factor = add_constant(graph, f"{label(graph, node_id)}.factor", inverse)
    return add_typed(graph, "mul", (x, factor))


def _sub_to_add(graph: Graph, node_id: int) -> int | None:
    x, other = graph.operands(node_id)
    array = graph.constant(other)
    if array is None or graph.type_of(node_id).dtype is not DType.F32:
        return None
    minus = add_constant(graph, f"{label(graph, node_id)}.minus", np.asarray(-array))
    return add_typed(graph, "add", (x, minus))


RULES = (
    Rule("reduce(x, all pixels) = global_pool(x)", _reduce_to_pool, frozenset({"reduce"})),
    Rule("slice(x) = crop2d(slice_channels(x))", _slice_to_crop, frozenset({"slice"})),
    Rule("pad(x) = pad2d(x)", _pad_to_pad2d, frozenset({"pad"})),
    Rule("matmul(x[1,K], w) = dense(x, w)", _matmul_to_dense, frozenset({"matmul"})),
    Rule("reshape(x[1,C,H,W]) = flatten(x)", _reshape_to_flatten, frozenset({"reshape"})),
    Rule(
        "reshape(transpose(reshape(x))) = channel_shuffle(x)",
        _pieces_to_shuffle,
        frozenset({"reshape"}),
    ),
    Rule("f(expand(x), y) = f(x, y)", _join_without_expand),
    Rule("x / 2^n = x * 2^-n", _half_or_double, frozenset({"div"})),
    Rule("x - c = x + -c", _sub_to_add, frozenset({"sub"})),
    *RESAMPLING,
)


@dataclass(frozen=True, slots=True)
class Specialise:
    """Apply `RULES` until none fires."""

    name: ClassVar[str] = "specialise"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Rewrite `graph` to a fixpoint."""
        rewrite(graph, RULES, by=self.name)
