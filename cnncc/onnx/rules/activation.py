"""Activations, softmax and what does nothing at inference."""

from __future__ import annotations

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.table import rule

_PLAIN = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "HardSwish": "hard_swish",
    "Mish": "mish",
}


@rule(*_PLAIN, summary="activation")
def plain(call: Call) -> int:
    """One operator of the graph."""
    call.ignore("consumed_inputs")
    return call.add(_PLAIN[call.node.op_type], [call.operand(0)])


@rule("Relu", summary="activation max(x, 0)")
def relu(call: Call) -> int:
    """Whole numbers by a maximum."""
    call.ignore("consumed_inputs")
    x = call.operand(0)
    if call.type_of(x).dtype is DType.F32:
        return call.add("relu", [x])
    return call.add("maximum", [x, call.like(0, x)])


@rule("LeakyRelu", summary="activation with a slope for negative values")
def leaky_relu(call: Call) -> int:
    """One operator of the graph."""
    call.ignore("consumed_inputs")
    attrs = lookup("leaky_relu").Attrs(call.real("alpha", 0.01))
    return call.add("leaky_relu", [call.operand(0)], attrs)


@rule("PRelu", summary="activation with slopes for negative values, broadcast")
def prelu(call: Call) -> int:
    """By channels where the slopes are one a channel, else in pieces."""
    call.ignore("consumed_inputs")
    x, slope = call.operand(0), call.operand(1)
    shape = call.type_of(x).shape
    sizes = call.type_of(slope).shape
    if call.version < 7 and len(sizes) == 1 and len(shape) > 2:
        sizes = (*sizes, *(1,) * (len(shape) - 2))
        slope = call.reshape(slope, sizes)
    a_channel = len(shape) in (2, 4) and (1,) * (len(shape) - len(sizes)) + sizes in (
        (1, shape[1], *(1,) * (len(shape) - 2)),
        (1,) * len(shape),
    )
    known = call.graph.constant(slope)
    if a_channel and known is not None and call.type_of(x).dtype is DType.F32:
        numbers = np.broadcast_to(known.reshape(-1), (shape[1],))
        return call.add("prelu", [x, call.array(numbers)])
    below = call.add("mul", [x, slope])
    return call.add("where", [call.add("less", [x, call.like(0, x)]), below, x])


@rule("Elu", summary="activation alpha·(e^x - 1) for negative values")
def elu(call: Call) -> int:
    """One operator of the graph."""
    call.ignore("consumed_inputs")
    return call.add("elu", [call.operand(0)], lookup("elu").Attrs(call.real("alpha", 1.0)))


@rule("Selu", summary="scaled ELU")
def selu(call: Call) -> int:
    """One operator of the graph."""
    call.ignore("consumed_inputs")
    alpha = call.real("alpha", 1.67326319217681884765625)
    gamma = call.real("gamma", 1.05070102214813232421875)
    return call.add("selu", [call.operand(0)], lookup("selu").Attrs(alpha, gamma))


@rule("Celu", summary="continuously differentiable ELU")
def celu(call: Call) -> int:
    """One operator of the graph."""
    return call.add("celu", [call.operand(0)], lookup("celu").Attrs(call.real("alpha", 1.0)))


@rule("ThresholdedRelu", summary="x where it is above alpha, else 0")
def thresholded_relu(call: Call) -> int:
    """One operator of the graph."""
    attrs = lookup("thresholded_relu").Attrs(call.real("alpha", 1.0))
    return call.add("thresholded_relu", [call.operand(0)], attrs)


@rule("Shrink", summary="values moved towards 0 by a bias, small ones to 0")
def shrink(call: Call) -> int:
    """One operator of the graph, for f32."""
    bias, lambd = call.real("bias", 0.0), call.real("lambd", 0.5)
    return call.add("shrink", [call.operand(0)], lookup("shrink").Attrs(lambd, bias))


@rule("HardSigmoid", summary="activation min(max(alpha·x + beta, 0), 1)")
def hard_sigmoid(call: Call) -> int:
    """One operator of the graph."""
    call.ignore("consumed_inputs")
    attrs = lookup("hard_sigmoid").Attrs(call.real("alpha", 0.2), call.real("beta", 0.5))
    return call.add("hard_sigmoid", [call.operand(0)], attrs)


@rule("Gelu", summary="activation x·Φ(x), exact or by tanh")
def gelu(call: Call) -> int:
    """One operator of the graph."""
    approximate = call.text("approximate", "none", ("none", "tanh")) == "tanh"
    return call.add("gelu", [call.operand(0)], lookup("gelu").Attrs(approximate))


@rule("Swish", summary="activation x·sigmoid(alpha·x)")
def swish(call: Call) -> int:
    """SiLU where alpha is 1."""
    x, alpha = call.operand(0), call.real("alpha", 1.0)
    if alpha == 1.0:
        return call.add("silu", [x])
    gate = call.add("sigmoid", [call.add("mul", [x, call.like(alpha, x)])])
    return call.add("mul", [x, gate])


@rule("Clip", summary="values brought between two bounds, either of which may be left out")
def clip(call: Call) -> int:
    """Bounds are attributes up to opset 10, operands from 11 on."""
    call.ignore("consumed_inputs")
    x = call.operand(0)
    if call.version < 11:
        low, high = call.attr("min"), call.attr("max")
        bounds = [None if v is None else call.like(float(v), x) for v in (low, high)]  # type: ignore[arg-type]
    else:
        bounds = [call.operand(i) if call.has(i) else None for i in (1, 2)]
    if call.type_of(x).dtype is DType.F32 and None not in bounds:
        arrays = [call.graph.constant(b) for b in bounds if b is not None]
        numbers = [float(a.reshape(-1)[0]) for a in arrays if a is not None and a.size == 1]
        if len(numbers) == 2 and np.isfinite(numbers).all() and numbers[0] <= numbers[1]:
            return call.add("clip", [x], lookup("clip").Attrs(*numbers))
    for op, bound in zip(("maximum", "minimum"), bounds, strict=True):
        if bound is not None:
            x = call.add(op, [x, bound])
    return x


@rule(
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    summary="over one axis, or (to opset 12) over all from it on",
)
def softmax(call: Call) -> int:
    """One operator of the graph; the logarithm of one in pieces."""
    x = call.operand(0)
    shape = call.type_of(x).shape
    old = call.version < 13
    axis = call.axis(call.integer("axis", 1 if old else -1), len(shape))
    if old:  # the operand as a matrix
        rows = int(np.prod(shape[:axis], dtype=np.int64))
        x = call.reshape(x, (rows, -1 if not shape else int(np.prod(shape[axis:], dtype=np.int64))))
        axis = 1
    made = _softmax(call, x, axis)
    return call.reshape(made, shape)


def _softmax(call: Call, x: int, axis: int) -> int:
    kind, shape = call.node.op_type, call.type_of(x).shape
    if kind == "Hardmax":
        arg = call.add("arg_max", [x], lookup("arg_max").Attrs(axis, True, False))
        places = np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - axis - 1))
        chosen = call.add("equal", [arg, call.array(places, DType.I64)])
        return call.cast(chosen, call.type_of(x).dtype)
    if call.type_of(x).dtype is not DType.F32:
        raise Refused(f"{kind} of {call.type_of(x).dtype}", "f32 and f16 are supported")
    if kind == "Softmax":
        return call.add("softmax", [x], lookup("softmax").Attrs(axis))
    largest = _reduced(call, x, "max", axis)
    moved = call.add("sub", [x, largest])
    powers = call.add("exp", [moved])
    total = _reduced(call, powers, "sum", axis)
    if kind == "LogSoftmax":
        return call.add("sub", [moved, call.add("log", [total])])
    return call.add("div", [powers, total])


def _reduced(call: Call, x: int, kind: str, axis: int) -> int:
    return call.add("reduce", [x], lookup("reduce").Attrs(kind, (axis,), True))


@rule("Identity", summary="its operand")
def identity(call: Call) -> int:
    """Nothing."""
    return call.operand(0)


@rule(
    "Dropout",
    summary="its operand: dropout works in training only",
    limits="training mode is refused",
)
def dropout(call: Call) -> tuple[int, int | None]:
    """Nothing; the mask is all true."""
    call.ignore("ratio", "seed", "consumed_inputs", "is_test")
    if call.has(2) and call.number(2, "training_mode"):
        ratio = call.number(1, "ratio") if call.has(1) else 0.5
        if ratio:
            raise Refused(f"training mode, which drops {ratio:.0%} of the elements")
    x = call.operand(0)
    if len(call.node.outputs) == 1:
        return x, None
    shape = call.type_of(x).shape
    dtype = DType.BOOL if call.version >= 10 else call.type_of(x).dtype
    return x, call.array(np.ones(shape), dtype)
