"""Whether any number of samples may be given: the leading axis is a batch that nothing mixes.

A compiled network computes one sample; a batch is computed sample by sample. That is right where
every value that depends on the inputs has the samples along its leading axis, and every operator
treats them apart. Where an operator does not, or is not known here to do so, the network takes
arrays of exactly the shapes that the model was bound to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cnncc.errors import TypeInferenceError
from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.ir.types import TensorType

# These compute feature maps [N,C,H,W] and vectors [N,K] sample by sample, all from operand 0.
_LAYERS = frozenset(
    {
        *("conv2d", "conv2d_transpose", "dense", "batch_norm", "scale", "lrn", "prelu"),
        *("max_pool2d", "avg_pool2d", "global_avg_pool", "global_max_pool"),
        *("upsample2d", "pad2d", "crop2d", "slice_channels", "channel_shuffle", "flatten"),
    }
)
_ONE_SAMPLE_ONLY = frozenset({"conv2d", "conv2d_transpose", "max_pool2d", "avg_pool2d", "lrn"})


def free_batch(graph: Graph, *, wanted: bool) -> Graph:
    """The graph for one sample of a free batch where that is sound, else as it is.

    Notes `meta["batched"]`. A model that is fixed to several samples becomes free too when it has
    layers that are computed for one sample at a time.

    Args:
        graph: typed, for the batch that the model was bound to.
        wanted: whether the file leaves the leading dimension of every input open.
    """
    size = _samples(graph)
    many = size > 1 and (wanted or any(n.op in _ONE_SAMPLE_ONLY for _, n in graph.nodes()))
    graph.meta["batched"] = False
    if size == 0 or not (size == 1 or many) or not _apart(graph, size):
        return graph
    single = graph if size == 1 else _for_one(graph, size)
    if single is None:
        return graph
    single.meta["batched"] = True
    return single


def _samples(graph: Graph) -> int:
    """The extent of every input's leading axis; 0 when they differ or one has none."""
    leading = {graph.type_of(i).shape[:1] for i in graph.inputs}
    return leading.pop()[0] if len(leading) == 1 and () not in leading else 0


def _apart(graph: Graph, size: int) -> bool:
    """Whether samples stay apart along the leading axis, from all inputs to all outputs."""
    carries: set[int] = set(graph.inputs)
    for node_id, node in graph.nodes():
        operands = graph.operands(node_id)
        if not any(o in carries for o in operands):
            continue
        types = [graph.type_of(o) for o in operands]
        carried = [o in carries for o in operands]
        result = graph.type_of(node_id)
        if result.shape[:1] != (size,) or not _keeps(node.op, node.attrs, types, result, carried):
            return False
        carries.add(node_id)
    return bool(graph.outputs) and all(out in carries for _, out in graph.outputs)


def _keeps(
    op: str, attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Sequence[bool]
) -> bool:
    """Whether an operator maps sample to sample, when these operands carry samples."""
    if op in _LAYERS:
        return carried[0] and not any(carried[1:])
    if Trait.POINTWISE in lookup(op).traits:
        return _aligned(types, result, carried)
    rule = _RULES.get(op)
    return rule is not None and rule(attrs, types, result, carried)


def _aligned(types: Sequence[TensorType], result: TensorType, carried: Sequence[bool]) -> bool:
    """Broadcasting: samples lie along axis 0, and what carries none has no such axis."""
    rank = len(result.shape)
    return all(
        len(t.shape) == rank if c else len(t.shape) < rank or t.shape[0] == 1
        for t, c in zip(types, carried, strict=True)
    )


def _all_carry(*_: Any) -> bool:
    carried: Sequence[bool] = _[-1]
    return all(carried)


def _off_axis(word: str) -> Callable[..., bool]:
    """The attribute names an axis, or axes, other than that of the samples; all operands carry."""

    def rule(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
        found = getattr(attrs, word)
        axes = found if isinstance(found, tuple) else (found,)
        return all(carried) and 0 not in axes

    return rule


def _reshape(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    return types[0].shape[0] == result.shape[0]


def _transpose(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    return bool(attrs.perm[0] == 0)


def _slice(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    return bool((attrs.starts[0], attrs.sizes[0]) == (0, types[0].shape[0]))


def _pad(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    return bool(attrs.before[0] == attrs.after[0] == 0)


def _expand(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    return len(types[0].shape) == len(result.shape)


def _matmul(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    ranks = [len(t.shape) for t in types]
    if not carried[0]:
        return False
    if carried[1]:
        return ranks[0] == ranks[1] >= 3
    return ranks[0] >= 2 and (ranks[1] <= 2 or (ranks[1] == ranks[0] and types[1].shape[0] == 1))


def _gather(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    if carried == [True, False]:
        return bool(attrs.axis != 0)
    return bool(carried == [False, True] and attrs.axis == 0)


def _concat(attrs: Any, types: Sequence[TensorType], result: TensorType, carried: Any) -> bool:
    # What carries no sample stands beside each of them.
    alone = all(c or t.shape[:1] == (1,) for c, t in zip(carried, types, strict=True))
    return bool(alone and attrs.axis != 0)


_RULES: dict[str, Callable[..., bool]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "expand": _expand,
    "concat": _concat,
    "matmul": _matmul,
    "gather": _gather,
    "softmax": _off_axis("axis"),
    "reduce": _off_axis("axes"),
    "arg_max": _off_axis("axis"),
    "arg_min": _off_axis("axis"),
    "cumsum": _off_axis("axis"),
    "cumprod": _off_axis("axis"),
    "topk_values": _off_axis("axis"),
    "topk_indices": _off_axis("axis"),
    "gather_elements": _off_axis("axis"),
    "resample": lambda attrs, types, result, carried: (
        carried[0] and not any(carried[1:]) and attrs.axis != 0
    ),
    "grid_sample": _all_carry,
}


def _for_one(graph: Graph, size: int) -> Graph | None:
    """The same network for one sample, or None where a type rule does not allow it."""
    made = Graph(graph.name)
    made.constants = dict(graph.constants)
    made.meta = dict(graph.meta)
    ids: dict[int, int] = {}
    try:
        for node_id, node in graph.nodes():
            attrs = _attrs_for_one(node.op, node.attrs)
            operands = [ids[o] for o in graph.operands(node_id)]
            ids[node_id] = add_typed(
                made, node.op, operands, attrs, name=node.name, spans=node.spans
            )
            before, after = graph.type_of(node_id).shape, made.type_of(ids[node_id]).shape
            if node.op != "constant" and after not in (before, (1, *before[1:])):
                return None
    except TypeInferenceError:
        return None
    made.inputs = [ids[i] for i in graph.inputs]
    made.outputs = [(name, ids[out]) for name, out in graph.outputs]
    return made


def _attrs_for_one(op: str, attrs: Any) -> Any:
    match op:
        case "input" | "expand" | "reshape":
            return replace(attrs, shape=(1, *attrs.shape[1:]))
        case "slice":
            return replace(attrs, sizes=(1, *attrs.sizes[1:]))
        case _:
            return attrs
