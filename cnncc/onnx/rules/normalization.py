"""Normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.reduction import reduced
from cnncc.onnx.table import rule


@rule(
    "BatchNormalization",
    summary="running mean and variance, scale and bias per channel",
    limits="training mode is refused",
)
def batch_normalization(call: Call) -> int:
    """One operator for maps and vectors with constant parameters, else in pieces."""
    call.ignore("momentum", "is_test", "consumed_inputs")
    if call.flag("training_mode") or not call.flag("spatial", True):
        raise Refused("training mode, or parameters a pixel (spatial=0)")
    x, *vectors = [call.operand(i) for i in range(5)]
    eps, shape = call.real("epsilon", 1e-5), call.type_of(x).shape
    known = all(call.graph.constant(v) is not None for v in vectors)
    if known and len(shape) in (2, 4) and call.type_of(x).dtype is DType.F32:
        flat = [call.reshape(v, (call.type_of(v).elems,)) for v in vectors]
        return call.add("batch_norm", [x, *flat], lookup("batch_norm").Attrs(eps))
    scale, bias, mean, var = (_along(call, v, 1, len(shape)) for v in vectors)
    return _affine(call, x, mean, var, eps, scale, bias)


def _along(call: Call, vector: int, axis: int, rank: int) -> int:
    """A vector that lies along an axis of a value of that rank."""
    return call.reshape(vector, (call.type_of(vector).elems, *(1,) * (rank - axis - 1)))


def _affine(
    call: Call, x: int, mean: int, var: int, eps: float, scale: int | None, bias: int | None
) -> int:
    """(x - mean) / √(var + eps) · scale + bias, all broadcast."""
    root = call.add("sqrt", [call.add("add", [var, call.like(eps, var)])])
    made = call.add("div", [call.add("sub", [x, mean]), root])
    for op, operand in (("mul", scale), ("add", bias)):
        if operand is not None:
            made = call.add(op, [made, operand])
    return made


def _moments(call: Call, x: int, axes: Sequence[int]) -> tuple[int, int]:
    """Mean and variance over axes, which stay as 1."""
    mean = reduced(call, x, "mean", tuple(axes), True)
    off = call.add("sub", [x, mean])
    return mean, reduced(call, call.add("mul", [off, off]), "mean", tuple(axes), True)


@rule("InstanceNormalization", summary="each channel of each sample by its own mean and variance")
def instance_normalization(call: Call) -> int:
    """In pieces."""
    call.ignore("consumed_inputs")
    x, rank = call.operand(0), len(call.type(0).shape)
    mean, var = _moments(call, x, range(2, rank))
    scale, bias = (_along(call, call.operand(i), 1, rank) for i in (1, 2))
    return _affine(call, x, mean, var, call.real("epsilon", 1e-5), scale, bias)


@rule("GroupNormalization", summary="groups of channels by their own mean and variance")
def group_normalization(call: Call) -> int:
    """In pieces; scale and bias are one a group up to opset 20, one a channel from 21 on."""
    call.ignore("stash_type")
    x, shape = call.operand(0), call.type(0).shape
    groups = call.integer("num_groups")
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise Refused(f"`num_groups` {groups} does not divide the channels of {call.type(0)}")
    parts = call.reshape(x, (shape[0], groups, math.prod(shape[1:]) // groups))
    mean, var = _moments(call, parts, (2,))
    scale, bias = call.operand(1), call.operand(2)
    eps = call.real("epsilon", 1e-5)
    if call.type_of(scale).elems == groups != shape[1]:
        vectors = [_along(call, v, 1, 3) for v in (scale, bias)]
        return call.reshape(_affine(call, parts, mean, var, eps, *vectors), shape)
    made = call.reshape(_affine(call, parts, mean, var, eps, None, None), shape)
    made = call.add("mul", [made, _along(call, scale, 1, len(shape))])
    return call.add("add", [made, _along(call, bias, 1, len(shape))])


@rule("LayerNormalization", summary="all axes from one on by their mean and variance")
def layer_normalization(call: Call) -> tuple[int, int, int]:
    """In pieces; also gives the mean and one over the deviation."""
    call.ignore("stash_type")
    x, rank = call.operand(0), len(call.type(0).shape)
    axis = call.axis(call.integer("axis", -1), rank)
    mean, var = _moments(call, x, range(axis, rank))
    eps = call.real("epsilon", 1e-5)
    bias = call.operand(2) if call.has(2) else None
    made = _affine(call, x, mean, var, eps, call.operand(1), bias)
    if len(call.node.outputs) == 1:
        return made, mean, mean
    root = call.add("sqrt", [call.add("add", [var, call.like(eps, var)])])
    return made, mean, call.add("div", [call.like(1, root), root])


@rule("LRN", summary="local response normalisation over neighbouring channels")
def lrn(call: Call) -> int:
    """One operator of the graph; other ranks as maps."""
    attrs = lookup("lrn").Attrs(
        call.integer("size"),
        call.real("alpha", 1e-4),
        call.real("beta", 0.75),
        call.real("bias", 1.0),
    )
    shape = call.type(0).shape
    if len(shape) < 3:
        raise Refused(f"a feature map is wanted, got {call.type(0)}")
    x = call.reshape(call.operand(0), (*shape[:2], math.prod(shape[2:-1]), shape[-1]))
    return call.reshape(call.add("lrn", [x], attrs), shape)


@rule("LpNormalization", summary="divided by the 1- or 2-norm along an axis")
def lp_normalization(call: Call) -> int:
    """In pieces; 0 where the norm is 0."""
    x = call.operand(0)
    axis = call.axis(call.integer("axis", -1), len(call.type(0).shape))
    p = call.integer("p", 2)
    if p not in (1, 2):
        raise Refused(f"`p` is {p}", "1 and 2 are supported")
    size = call.add("abs", [x]) if p == 1 else call.add("mul", [x, x])
    norm = reduced(call, size, "sum", (axis,), True)
    norm = norm if p == 1 else call.add("sqrt", [norm])
    zero = call.add("equal", [norm, call.like(0, norm)])
    return call.add("div", [x, call.add("where", [zero, call.like(1, norm), norm])])


@rule("MeanVarianceNormalization", summary="minus the mean, over the deviation, across axes")
def mean_variance(call: Call) -> int:
    """In pieces, as ONNX's own definition: the variance is the mean square minus the square."""
    axes = call.integers("axes") or (0, 2, 3)
    x, rank = call.operand(0), len(call.type(0).shape)
    mean, var = _moments(call, x, [call.axis(a, rank, "axes") for a in axes])
    root = call.add("add", [call.add("sqrt", [var]), call.like(1e-9, var)])
    return call.add("div", [call.add("sub", [x, mean]), root])
