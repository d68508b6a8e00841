"""Pools over windows and over everything."""

from __future__ import annotations

import math
from dataclasses import replace

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.rules.reduction import reduced
from cnncc.onnx.rules.windows import Window, as_before, as_map, spatial, window
from cnncc.onnx.table import Refused, rule
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs


def _window(call: Call) -> Window:
    extents = spatial(call)
    kernel = call.integers("kernel_shape")
    if kernel is None or len(kernel) != len(extents) or min(kernel) < 1:
        raise Refused(f"`kernel_shape` is {kernel} for {call.type(0)}")
    return window(call, kernel, extents, len(extents))


@rule(
    "MaxPool",
    summary="the largest element of each window",
    limits="one or two spatial axes; no places (second output)",
)
def max_pool(call: Call) -> int:
    """[N,C,H,W] or [N,C,W]; whole numbers are exact in f32 up to 2^24."""
    found = _window(call)
    call.ignore("storage_order")
    dtype = call.type(0).dtype
    if dtype not in (DType.F32, DType.I8, DType.U8):
        raise Refused(f"a pool of {dtype}", "f32, f16, i8 and u8 are supported")
    x = as_map(call, call.cast(call.operand(0), DType.F32))
    attrs = MaxPool2dAttrs(
        found.kernel, found.strides, found.pads, call.flag("ceil_mode"), found.dilations
    )
    made = as_before(call, call.add("max_pool2d", [x], attrs), found.lifted)
    return call.whole_cast(made, dtype)


@rule("AveragePool", summary="the mean of each window", limits="one or two spatial axes")
def average_pool(call: Call) -> int:
    """[N,C,H,W] or [N,C,W]."""
    found = _window(call)
    attrs = AvgPool2dAttrs(
        found.kernel,
        found.strides,
        found.pads,
        call.flag("ceil_mode"),
        found.dilations,
        call.flag("count_include_pad"),
    )
    x = as_map(call, call.operand(0))
    return as_before(call, call.add("avg_pool2d", [x], attrs), found.lifted)


@rule("LpPool", summary="the p-norm of each window", limits="one or two spatial axes")
def lp_pool(call: Call) -> int:
    """(area·mean(|x|^p))^(1/p), the border counted as 0."""
    found = _window(call)
    p = call.real("p", 2.0) if call.version < 2 else float(call.integer("p", 2))
    attrs = AvgPool2dAttrs(
        found.kernel,
        found.strides,
        found.pads,
        call.flag("ceil_mode"),
        found.dilations,
        count_pad=True,
    )
    if attrs.ceil:  # a window counts what lies in the border, but nothing beyond it
        attrs = replace(attrs, pads=_whole(call, found), ceil=False)
    x = as_map(call, powered(call, call.operand(0), p))
    mean = call.add("avg_pool2d", [x], attrs)
    total = call.add("mul", [mean, call.like(math.prod(found.kernel), mean)])
    return as_before(call, rooted(call, total, p), found.lifted)


def _whole(call: Call, found: Window) -> tuple[int, int, int, int]:
    """Padding behind that makes every window complete."""
    shape = (*call.type(0).shape[:2], *((1,) if found.lifted else ()), *call.type(0).shape[2:])
    after = []
    for axis in (0, 1):
        size = found.dilations[axis] * (found.kernel[axis] - 1) + 1
        whole = shape[2 + axis] + found.before[axis] + found.after[axis]
        count = -(-(whole - size) // found.strides[axis]) + 1
        after.append(found.after[axis] + max(0, (count - 1) * found.strides[axis] + size - whole))
    return (*found.before, after[0], after[1])


def powered(call: Call, x: int, p: float) -> int:
    """|x|^p."""
    if p == 2:
        return call.add("mul", [x, x])
    size = call.add("abs", [x])
    return size if p == 1 else call.add("pow", [size, call.like(p, x)])


def rooted(call: Call, x: int, p: float) -> int:
    """x^(1/p) of what is not negative."""
    if p == 2:
        return call.add("sqrt", [x])
    return x if p == 1 else call.add("pow", [x, call.like(1 / p, x)])


@rule(
    *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    summary="mean, largest element or p-norm of each channel",
)
def global_pool(call: Call) -> int:
    """All axes behind the channels become 1."""
    x, shape = call.operand(0), call.type(0).shape
    if len(shape) < 3:
        raise Refused(f"a feature map is wanted, got {call.type(0)}")
    axes = tuple(range(2, len(shape)))
    if call.node.op_type == "GlobalLpPool":
        p = float(call.integer("p", 2))
        return rooted(call, reduced(call, powered(call, x, p), "sum", axes, True), p)
    average = call.node.op_type == "GlobalAveragePool"
    if len(shape) == 4 and call.type_of(x).dtype is DType.F32:
        return call.add("global_avg_pool" if average else "global_max_pool", [x])
    return reduced(call, x, "mean" if average else "max", axes, True)


@rule("MaxUnpool", summary="elements put back to the places that a pool took them from")
def max_unpool(call: Call) -> int:
    """A scatter into zeros, by flat places of the result."""
    x, places = call.operand(0), call.operand(1)
    shape = call.type(0).shape
    kernel = call.integers("kernel_shape") or ()
    strides = call.integers("strides") or (1,) * len(kernel)
    pads = call.integers("pads") or (0,) * (2 * len(kernel))
    rank = len(kernel)
    sizes = [
        (n - 1) * s - low - high + k
        for n, s, k, low, high in zip(
            shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True
        )
    ]
    plain = (*shape[:2], *sizes)
    wanted = call.whole(2, "output_shape") if call.has(2) else plain
    flat = call.array([0.0] * math.prod(plain), DType.F32)
    attrs = lookup("scatter_elements").Attrs(0, "none")
    count = call.type(0).elems
    made = call.add(
        "scatter_elements",
        [flat, call.reshape(places, (count,)), call.reshape(x, (count,))],
        attrs,
    )
    if math.prod(wanted) == math.prod(plain):
        return call.reshape(made, wanted)
    whole = call.reshape(made, plain)
    border = tuple(w - n for w, n in zip(wanted, plain, strict=True))
    if min(border) < 0:
        raise Refused(f"`output_shape` {list(wanted)} is smaller than {list(plain)}")
    pad = lookup("pad").Attrs("constant", (0,) * len(plain), border, 0.0)
    return call.add("pad", [whole], pad)
