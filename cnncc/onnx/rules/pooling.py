"""Pools over windows and over everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.reduction import reduced
from cnncc.onnx.rules.windows import Geometry, Window, geometry, listed, spatial, swept
from cnncc.onnx.table import rule
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs

_MOST_PLACES = 2**28  # of a map that elements are put back into


def _geometry(call: Call) -> Geometry:
    extents = spatial(call, most=3)
    kernel = call.integers("kernel_shape")
    if kernel is None:
        raise Refused("attribute `kernel_shape` is missing")
    return geometry(call, kernel, extents)


@rule(
    "MaxPool",
    summary="the largest element of each window, and its place",
    limits="one, two or three spatial axes; places with one or two of f32",
)
def max_pool(call: Call) -> tuple[int, int | None]:
    """[N,C,D,H,W], [N,C,H,W] or [N,C,W]; whole numbers are exact in f32 up to 2^24."""
    found = _geometry(call)
    columns = call.flag("storage_order")
    dtype = call.type(0).dtype
    if dtype not in (DType.F32, DType.I8, DType.U8):
        raise Refused(f"a pool of {dtype}", "f32, f16, i8 and u8 are supported")
    ceil, x = call.flag("ceil_mode"), call.cast(call.operand(0), DType.F32)

    def attrs(w: Window) -> MaxPool2dAttrs:
        return MaxPool2dAttrs(w.kernel, w.strides, w.pads, ceil, w.dilations)

    made = swept(call, x, found, lambda part, w: call.add("max_pool2d", [part], attrs(w)))
    made = call.whole_cast(made, dtype)
    if len(call.node.outputs) < 2 or not call.node.outputs[1]:
        return made, None
    if len(found.kernel) == 3:
        raise Refused("places of a pool over three axes")
    places = swept(call, x, found, lambda part, w: call.add("max_pool_places", [part], attrs(w)))
    return made, _by_columns(call, places) if columns else places


def _by_columns(call: Call, places: int) -> int:
    """Places counted with H running fastest, from those with W running fastest."""
    shape = call.type(0).shape
    h, w = (1, *shape[2:])[-2:]
    mod = lookup("mod").Attrs(False)
    within = call.add("mod", [places, call.like(h * w, places)], mod)
    y = call.add("div", [within, call.like(w, places)])
    x = call.add("mod", [within, call.like(w, places)], mod)
    turned = call.add("add", [call.add("mul", [x, call.like(h, x)]), y])
    return call.add("add", [call.add("sub", [places, within]), turned])


@rule("AveragePool", summary="the mean of each window", limits="one, two or three spatial axes")
def average_pool(call: Call) -> int:
    """[N,C,D,H,W], [N,C,H,W] or [N,C,W]."""
    return averaged(call, call.operand(0), _geometry(call))


def averaged(call: Call, x: int, found: Geometry) -> int:
    """Means over windows, as `ceil_mode` and `count_include_pad` say."""
    ceil, count = call.flag("ceil_mode"), call.flag("count_include_pad")

    def pool(part: int, w: Window) -> int:
        attrs = AvgPool2dAttrs(w.kernel, w.strides, w.pads, ceil, w.dilations, count)
        return call.add("avg_pool2d", [part], attrs)

    return swept(call, x, found, pool)


@rule("LpPool", summary="the p-norm of each window", limits="one, two or three spatial axes")
def lp_pool(call: Call) -> int:
    """(area·mean(|x|^p))^(1/p), the border counted as 0."""
    found = _geometry(call)
    p = call.real("p", 2.0) if call.version < 2 else float(call.integer("p", 2))
    if not p >= 1:
        raise Refused(f"`p` is {p}")
    if call.flag("ceil_mode"):
        # A window counts what lies in the border, but nothing beyond it.
        found = replace(found, after=_whole(found, call.type(0).shape[2:]))

    def pool(part: int, w: Window) -> int:
        attrs = AvgPool2dAttrs(w.kernel, w.strides, w.pads, False, w.dilations, count_pad=True)
        return call.add("avg_pool2d", [part], attrs)

    mean = swept(call, powered(call, call.operand(0), p), found, pool)
    total = call.add("mul", [mean, call.like(math.prod(found.kernel), mean)])
    return rooted(call, total, p)


def _whole(found: Geometry, extents: Sequence[int]) -> tuple[int, ...]:
    """Padding behind that makes every window complete."""
    after = []
    for axis, extent in enumerate(extents):
        size = found.dilations[axis] * (found.kernel[axis] - 1) + 1
        whole = extent + found.before[axis] + found.after[axis]
        count = -(-(whole - size) // found.strides[axis]) + 1
        after.append(found.after[axis] + max(0, (count - 1) * found.strides[axis] + size - whole))
    return tuple(after)


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
        if p < 1:
            raise Refused(f"`p` is {p}")
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
    rank = len(shape) - 2
    if rank < 1 or call.type(1).shape != shape:
        raise Refused(f"places {call.type(1)} of elements {call.type(0)}")
    kernel, strides = listed(call, "kernel_shape", rank, 1), listed(call, "strides", rank, 1)
    pads = call.integers("pads") or (0,) * (2 * rank)
    if len(pads) != 2 * rank:
        raise Refused(f"`pads` has {len(pads)} numbers, {2 * rank} are wanted")
    sizes = [
        (n - 1) * s - low - high + k
        for n, s, k, low, high in zip(
            shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True
        )
    ]
    plain = (*shape[:2], *sizes)
    wanted = call.whole(2, "output_shape") if call.has(2) else plain
    if len(wanted) != len(plain) or min(sizes) < 1 or math.prod(plain) > _MOST_PLACES:
        raise Refused(f"a result of {list(plain)}, {list(wanted)} wanted")
    flat = call.array(np.zeros(math.prod(plain)), DType.F32)
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
