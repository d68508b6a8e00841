"""Reductions, extremes and running sums."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.movement import axes_of, sliced
from cnncc.onnx.table import rule

# ONNX moved `axes` from an attribute to an operand: ReduceSum first, the others later.
_SINCE = {"ReduceSum": 13}


def reduced(call: Call, x: int, kind: str, axes: tuple[int, ...], keepdims: bool) -> int:
    """A reduction over axes; nothing to do where there are none."""
    if not axes:
        return x
    if not call.type_of(x).elems:
        return _of_nothing(call, x, kind, axes, keepdims)
    return call.add("reduce", [x], lookup("reduce").Attrs(kind, tuple(sorted(axes)), keepdims))


def _of_nothing(call: Call, x: int, kind: str, axes: tuple[int, ...], keepdims: bool) -> int:
    """What a reduction of no elements gives: the number that changes nothing."""
    dtype = call.type_of(x).dtype
    neutral: dict[str, float] = {"sum": 0, "prod": 1}
    if dtype is DType.BOOL:
        neutral |= {"max": 0, "min": 1}
    elif dtype.is_float:
        neutral |= {"max": -math.inf, "min": math.inf}
    else:
        limits = np.iinfo(dtype.numpy.str)
        neutral |= {"max": limits.min, "min": limits.max}
    if kind not in neutral:
        raise Refused(f"the {kind} of no elements ({call.type_of(x)})")
    shape = call.type_of(x).shape
    left = [1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes]
    return call.array(np.full(left, neutral[kind]), dtype)


def _axes(call: Call) -> tuple[int, ...]:
    rank = len(call.type(0).shape)
    axes = axes_of(call, 1, _SINCE.get(call.node.op_type, 18))
    if not axes:
        return () if call.flag("noop_with_empty_axes") else tuple(range(rank))
    call.ignore("noop_with_empty_axes")
    return tuple(dict.fromkeys(call.axis(a, rank, "axes") for a in axes))


@rule(
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
    summary="a reduction over axes",
)
def reduce_(call: Call) -> int:
    """Sums, products and extremes; the others are compositions of them."""
    x, axes = call.operand(0), _axes(call)
    keepdims = call.flag("keepdims", True)
    match call.node.op_type:
        case "ReduceL1":
            return reduced(call, call.add("abs", [x]), "sum", axes, keepdims)
        case "ReduceL2":
            total = reduced(call, call.add("mul", [x, x]), "sum", axes, keepdims)
            dtype = call.type_of(x).dtype
            return call.cast(call.add("sqrt", [_real(call, total)]), dtype)
        case "ReduceLogSum":
            return call.add("log", [reduced(call, x, "sum", axes, keepdims)])
        case "ReduceLogSumExp":
            return _log_sum_exp(call, x, axes, keepdims)
        case "ReduceSumSquare":
            return reduced(call, call.add("mul", [x, x]), "sum", axes, keepdims)
        case word:
            return reduced(call, x, word.removeprefix("Reduce").lower(), axes, keepdims)


def _real(call: Call, x: int) -> int:
    return x if call.type_of(x).dtype.is_float else call.cast(x, DType.F32)


def _log_sum_exp(call: Call, x: int, axes: tuple[int, ...], keepdims: bool) -> int:
    """The largest is taken out first, so that nothing overflows."""
    if not axes:
        return x
    if not call.type_of(x).elems:
        return call.add("log", [reduced(call, x, "sum", axes, keepdims)])
    largest = reduced(call, x, "max", axes, True)
    powers = call.add("exp", [call.add("sub", [x, largest])])
    total = call.add("log", [reduced(call, powers, "sum", axes, True)])
    result = call.add("add", [total, largest])
    shape = call.type_of(result).shape
    left = [n for a, n in enumerate(shape) if keepdims or a not in axes]
    return call.reshape(result, left)


@rule("ArgMax", "ArgMin", summary="the place of the largest or smallest element along an axis")
def arg(call: Call) -> int:
    """One operator of the graph."""
    axis = call.axis(call.integer("axis", 0), len(call.type(0).shape))
    op = "arg_max" if call.node.op_type == "ArgMax" else "arg_min"
    attrs = lookup(op).Attrs(axis, call.flag("keepdims", True), call.flag("select_last_index"))
    return call.add(op, [call.operand(0)], attrs)


@rule("TopK", summary="the k largest or smallest elements along an axis, and their places")
def top_k(call: Call) -> tuple[int, int]:
    """Always in order."""
    rank = len(call.type(0).shape)
    axis = call.axis(call.integer("axis", -1), rank)
    k = call.integer("k") if call.version < 10 else call.single(1, "K")
    call.flag("sorted", True)
    largest = call.flag("largest", True)
    if not 1 <= k <= call.type(0).shape[axis]:
        raise Refused(f"`k` is {k}, but axis {axis} has {call.type(0).shape[axis]} elements")
    attrs = lookup("topk_values").Attrs(k, axis, largest)
    values = call.add("topk_values", [call.operand(0)], attrs)
    return values, call.add("topk_indices", [call.operand(0)], attrs)


@rule("CumSum", "CumProd", summary="running sums or products along an axis, either way")
def cumulative(call: Call) -> int:
    """One operator of the graph."""
    axis = call.axis(call.single(1, "axis"), len(call.type(0).shape))
    op = "cumsum" if call.node.op_type == "CumSum" else "cumprod"
    attrs = lookup(op).Attrs(axis, call.flag("exclusive"), call.flag("reverse"))
    return call.add(op, [call.operand(0)], attrs)


@rule("Trilu", summary="the upper or lower triangle of matrices, 0 elsewhere")
def trilu(call: Call) -> int:
    """A constant mask chooses."""
    shape = call.type(0).shape
    if len(shape) < 2:
        raise Refused(f"matrices are wanted, got {call.type(0)}")
    k = call.single(1, "k") if call.has(1) else 0
    rows, columns = np.arange(shape[-2])[:, None], np.arange(shape[-1])
    upper = call.flag("upper", True)
    mask = columns - rows >= k if upper else columns - rows <= k
    x = call.operand(0)
    return call.add("where", [call.array(mask), x, call.like(0, x)])


@rule("Compress", summary="elements that a constant condition selects")
def compress(call: Call) -> int:
    """A gather with constant indices."""
    x = call.operand(0)
    chosen = np.flatnonzero(call.constant(1, "condition").reshape(-1))
    axis = call.attr("axis")
    if axis is None or not call.type_of(x).shape:
        x, at = call.reshape(x, (call.type_of(x).elems,)), 0
    else:
        at = call.axis(call.integer("axis"), len(call.type_of(x).shape))
    if not chosen.size:
        raise Refused("the condition selects nothing")
    if chosen.max() >= call.type_of(x).shape[at]:
        raise Refused("the condition selects elements that do not exist")
    shape = call.type_of(x).shape
    steps = np.unique(np.diff(chosen))
    if steps.size <= 1:
        step = int(steps[0]) if steps.size else 1
        starts = [int(chosen[0]) if a == at else 0 for a in range(len(shape))]
        strides = [step if a == at else 1 for a in range(len(shape))]
        sizes = [chosen.size if a == at else n for a, n in enumerate(shape)]
        return sliced(call, x, starts, strides, sizes)
    return call.add("gather", [x, call.array(chosen, DType.I64)], lookup("gather").Attrs(at))
