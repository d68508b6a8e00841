"""The equations of `simplify` about moves of elements: reshapes, transposes, borders, joins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnncc.errors import Span
from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.rewrite import Rule, merge_spans
from cnncc.passes.decompose import hand_on
from cnncc.passes.match import beyond, producer, same_type, sole_user


def _same_op(graph: Graph, node_id: int) -> int | None:
    return producer(graph, node_id, graph[node_id].op)


def _is_row_major(graph: Graph, node_id: int) -> bool:
    """Whether the node keeps the row-major order of its elements."""
    node, x = graph[node_id], graph.type_of(graph.operands(node_id)[0])
    if node.op == "flatten":
        return node.attrs.order == "chw" or len(x.shape) == 2 or x.shape[2:] == (1, 1)
    return node.op == "reshape"


def _reshape_of_reshape(graph: Graph, node_id: int) -> int | None:
    inner = graph.operands(node_id)[0]
    if graph[inner].op not in ("reshape", "flatten") or not _is_row_major(graph, inner):
        return None
    return beyond(graph, inner, "reshape", graph[node_id].attrs)


def _flatten_of_reshape(graph: Graph, node_id: int) -> int | None:
    """Both are row-major: one reshape, whose -1 takes what a free batch leaves."""
    inner = graph.operands(node_id)[0]
    if graph[inner].op != "reshape" or not _is_row_major(graph, node_id):
        return None
    length = graph.type_of(node_id).shape[1]
    attrs = lookup("reshape").Attrs((-1, length))
    return beyond(graph, inner, "reshape", attrs)


def _flatten_of_pixel(graph: Graph, node_id: int) -> int | None:
    """One order for [N,C,1,1], where both are the same."""
    x = graph.type_of(graph.operands(node_id)[0])
    if graph[node_id].attrs.order == "hwc" or x.shape[2:] != (1, 1):
        return None
    return add_typed(graph, "flatten", graph.operands(node_id), lookup("flatten").Attrs("hwc"))


def _transpose_of_transpose(graph: Graph, node_id: int) -> int | None:
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    first, second = graph[inner].attrs.perm, graph[node_id].attrs.perm
    attrs = lookup("transpose").Attrs(tuple(first[p] for p in second))
    return beyond(graph, inner, "transpose", attrs)


def _transpose_of_nothing(graph: Graph, node_id: int) -> int | None:
    perm = graph[node_id].attrs.perm
    return hand_on(graph, node_id) if perm == tuple(range(len(perm))) else None


def _transpose_of_ones(graph: Graph, node_id: int) -> int | None:
    """No element moves when only axes of extent 1 change their places."""
    x = graph.operands(node_id)[0]
    perm, shape = graph[node_id].attrs.perm, graph.type_of(x).shape
    wide = [p for p in perm if shape[p] != 1]
    if wide != sorted(wide):
        return None
    result = graph.type_of(node_id).shape
    sizes = (-1, *result[1:]) if perm[0] == 0 else result  # the batch stays free
    return add_typed(graph, "reshape", (x,), lookup("reshape").Attrs(sizes))


def _cast_of_cast(graph: Graph, node_id: int) -> int | None:
    """The inner cast loses nothing, and the outer one treats its result like the number before."""
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    source = graph.type_of(graph.operands(inner)[0]).dtype
    middle, last = graph.type_of(inner).dtype, graph[node_id].attrs.to
    wide = source.is_integer and source.size_bytes == 8 and middle.is_float  # numpy calls it safe
    if not np.can_cast(source.numpy, middle.numpy, "safe") or wide:
        return None
    saturates = source.is_integer and middle.is_float and last.is_integer  # else it wraps around
    if saturates and not np.can_cast(source.numpy, last.numpy, "safe"):
        return None
    return beyond(graph, inner, "cast", graph[node_id].attrs)


def _border_of_border(graph: Graph, node_id: int) -> int | None:
    """crop2d(crop2d(x)), or pad2d(pad2d(x)) with equal values: the extents add up."""
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    first, second = graph[inner].attrs, graph[node_id].attrs
    if replace(first, pads=second.pads) != second:
        return None
    pads = tuple(p + q for p, q in zip(first.pads, second.pads, strict=True))
    return beyond(graph, inner, graph[node_id].op, replace(first, pads=pads))


def _crop_of_pad(graph: Graph, node_id: int) -> int | None:
    pad = producer(graph, node_id, "pad2d")
    if pad is None or graph[pad].attrs.pads != graph[node_id].attrs.pads:
        return None
    return graph.operands(pad)[0]


def _slice_of_slice(graph: Graph, node_id: int) -> int | None:
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    start, attrs = graph[inner].attrs.start, graph[node_id].attrs
    moved = replace(attrs, start=start + attrs.start, stop=start + attrs.stop)
    return beyond(graph, inner, "slice_channels", moved)


def _slice_of_concat(graph: Graph, node_id: int) -> int | None:
    """The slice lies within one operand of the concat: no need to join first."""
    concat = producer(graph, node_id, "concat")
    if concat is None or graph[concat].attrs.axis != 1:
        return None
    attrs, begin = graph[node_id].attrs, 0
    for operand in graph.operands(concat):
        end = begin + graph.type_of(operand).shape[1]
        if begin <= attrs.start and attrs.stop <= end:
            inner = replace(attrs, start=attrs.start - begin, stop=attrs.stop - begin)
            return add_typed(graph, "slice_channels", (operand,), inner)
        begin = end
    return None


def _part_of_part(graph: Graph, node_id: int) -> int | None:
    inner = _same_op(graph, node_id)
    if inner is None:
        return None
    first, second = graph[inner].attrs, graph[node_id].attrs
    starts = tuple(
        s + step * t for s, step, t in zip(first.starts, first.steps, second.starts, strict=True)
    )
    steps = tuple(a * b for a, b in zip(first.steps, second.steps, strict=True))
    return beyond(graph, inner, "slice", replace(second, starts=starts, steps=steps))


def _part_of_everything(graph: Graph, node_id: int) -> int | None:
    attrs = graph[node_id].attrs
    forward = all(step == 1 or n == 1 for step, n in zip(attrs.steps, attrs.sizes, strict=True))
    return same_type(graph, node_id) if forward else None


def _part_of_join(graph: Graph, node_id: int) -> int | None:
    """The part lies within one operand of the concat."""
    concat = producer(graph, node_id, "concat")
    if concat is None:
        return None
    attrs, axis, begin = graph[node_id].attrs, graph[concat].attrs.axis, 0
    first = attrs.starts[axis]
    ends = sorted((first, first + attrs.steps[axis] * (attrs.sizes[axis] - 1)))
    for operand in graph.operands(concat):
        end = begin + graph.type_of(operand).shape[axis]
        if begin <= ends[0] and ends[1] < end:
            starts = (*attrs.starts[:axis], first - begin, *attrs.starts[axis + 1 :])
            return add_typed(graph, "slice", (operand,), replace(attrs, starts=starts))
        begin = end
    return None


def _join_of_parts(graph: Graph, node_id: int) -> int | None:
    """Parts of one value that follow each other are one part, or the value itself."""
    attrs, operands = graph[node_id].attrs, list(graph.operands(node_id))
    merged: list[int] = []
    while operands:
        run = _run_of_parts(graph, operands, attrs.axis)
        merged.append(_whole(graph, operands[:run], attrs.axis) if run > 1 else operands[0])
        operands = operands[run:]
    if len(merged) == len(graph.operands(node_id)):
        return None
    return merged[0] if len(merged) == 1 else add_typed(graph, "concat", merged, attrs)


def _run_of_parts(graph: Graph, operands: list[int], axis: int) -> int:
    """How many of the first operands are parts of one value that follow each other."""
    first = _bounds(graph, operands[0], axis)
    if first is None:
        return 1
    source, end, other = graph.operands(operands[0]), first[1], _elsewhere(graph, operands[0], axis)
    for count, operand in enumerate(operands[1:], 1):
        bounds = _bounds(graph, operand, axis)
        same = bounds is not None and graph.operands(operand) == source and bounds[0] == end
        if bounds is None or not same or _elsewhere(graph, operand, axis) != other:
            return count
        end = bounds[1]
    return len(operands)


def _whole(graph: Graph, parts: list[int], axis: int) -> int:
    """All those parts as one, or what they are parts of."""
    x, node = graph.operands(parts[0])[0], graph[parts[0]]
    ends = [bounds for p in parts if (bounds := _bounds(graph, p, axis)) is not None]
    start, stop = ends[0][0], ends[-1][1]
    if node.op == "slice_channels":
        attrs = replace(node.attrs, stop=stop)
    else:
        sizes = (*node.attrs.sizes[:axis], stop - start, *node.attrs.sizes[axis + 1 :])
        attrs = replace(node.attrs, sizes=sizes)
    spans = merge_spans(*(graph[p].spans for p in parts))
    made = add_typed(graph, node.op, (x,), attrs, spans=spans)
    if graph.type_of(made) != graph.type_of(x):
        return made
    graph.erase(made)
    return x


def _elsewhere(graph: Graph, node_id: int, axis: int) -> object:
    """What a part takes along other axes than that of the join."""
    attrs = graph[node_id].attrs
    if graph[node_id].op == "slice_channels":
        return "slice_channels"
    kept = [a for a in range(len(attrs.sizes)) if a != axis]
    return [(attrs.starts[a], attrs.sizes[a]) for a in kept]


def _bounds(graph: Graph, node_id: int, axis: int) -> tuple[int, int] | None:
    """First place along an axis that a node takes, and the one behind its last; None for others."""
    attrs = graph[node_id].attrs
    if graph[node_id].op == "slice_channels" and axis == 1:
        return attrs.start, attrs.stop
    if graph[node_id].op != "slice" or attrs.steps[axis] != 1:
        return None
    others = [a for a in range(len(attrs.sizes)) if a != axis]
    if any(attrs.steps[a] != 1 and attrs.sizes[a] != 1 for a in others):
        return None
    return attrs.starts[axis], attrs.starts[axis] + attrs.sizes[axis]


def _concat_of_one(graph: Graph, node_id: int) -> int | None:
    operands = graph.operands(node_id)
    return operands[0] if len(operands) == 1 else None


def _concat_of_concat(graph: Graph, node_id: int) -> int | None:
    """Inner concats that nobody else reads; another reader would need the inner one made anyway."""
    attrs, operands = graph[node_id].attrs, graph.operands(node_id)
    flat: list[int] = []
    spans: tuple[Span, ...] = ()
    for operand in operands:
        nested = graph[operand].op == "concat" and graph[operand].attrs == attrs
        if nested and sole_user(graph, operand) == node_id:
            flat.extend(graph.operands(operand))
            spans = merge_spans(spans, graph[operand].spans)
        else:
            flat.append(operand)
    if tuple(flat) == operands:
        return None
    return add_typed(graph, "concat", flat, attrs, spans=spans)


def _softmax_of_rows(graph: Graph, node_id: int) -> int | None:
    """Rows joined for a softmax of each, and apart again: how ONNX says it up to opset 12."""
    rows = producer(graph, node_id, "softmax")
    flat = producer(graph, rows, "reshape") if rows is not None else None
    if rows is None or flat is None or not graph.type_of(rows).shape:
        return None
    x, (found, joined) = graph.operands(flat)[0], (graph.type_of(n) for n in (node_id, rows))
    last = graph[rows].attrs.axis == len(joined.shape) - 1
    if graph.type_of(x) != found or not last or found.shape[-1:] != joined.shape[-1:]:
        return None
    attrs = lookup("softmax").Attrs(len(found.shape) - 1)
    return add_typed(graph, "softmax", (x,), attrs, spans=graph[rows].spans)


def _shuffle_of_nothing(graph: Graph, node_id: int) -> int | None:
    groups = graph[node_id].attrs.groups
    trivial = groups in (1, graph.type_of(node_id).shape[1])
    return hand_on(graph, node_id) if trivial else None


MOVES = (
    Rule("reshape(reshape(x)) = reshape(x)", _reshape_of_reshape, frozenset({"reshape"})),
    Rule("flatten(reshape(x)) = reshape(x)", _flatten_of_reshape, frozenset({"flatten"})),
    Rule("flatten(x[N,C,1,1], chw) = flatten(x, hwc)", _flatten_of_pixel, frozenset({"flatten"})),
    Rule(
        "move(x) = x, where the type stays and no element moves",
        same_type,
        frozenset(
            {"reshape", "flatten", "pad2d", "crop2d", "slice_channels", "upsample2d"}
            | {"pad", "expand", "cast"}
        ),
    ),
    Rule(
        "transpose(transpose(x)) = transpose(x)", _transpose_of_transpose, frozenset({"transpose"})
    ),
    Rule("transpose(x, 0..n) = x", _transpose_of_nothing, frozenset({"transpose"})),
    Rule("transpose(x, axes of 1) = reshape(x)", _transpose_of_ones, frozenset({"transpose"})),
    Rule("cast(cast(x)) = cast(x)", _cast_of_cast, frozenset({"cast"})),
    Rule("border(border(x)) = border(x)", _border_of_border, frozenset({"pad2d", "crop2d"})),
    Rule("crop2d(pad2d(x, p), p) = x", _crop_of_pad, frozenset({"crop2d"})),
    Rule("slice(slice(x)) = slice(x)", _slice_of_slice, frozenset({"slice_channels"})),
    Rule("slice(concat(.., x, ..)) = slice(x)", _slice_of_concat, frozenset({"slice_channels"})),
    Rule("part(part(x)) = part(x)", _part_of_part, frozenset({"slice"})),
    Rule("part(x) = x, where it is everything", _part_of_everything, frozenset({"slice"})),
    Rule("part(concat(.., x, ..)) = part(x)", _part_of_join, frozenset({"slice"})),
    Rule("concat(parts of x) = part(x)", _join_of_parts, frozenset({"concat"})),
    Rule("concat(x) = x", _concat_of_one, frozenset({"concat"})),
    Rule("concat(concat(a, b), c) = concat(a, b, c)", _concat_of_concat, frozenset({"concat"})),
    Rule("reshape(softmax(reshape(x))) = softmax(x)", _softmax_of_rows, frozenset({"reshape"})),
    Rule("channel_shuffle(x, 1) = x", _shuffle_of_nothing, frozenset({"channel_shuffle"})),
)
