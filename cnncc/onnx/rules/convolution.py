"""Convolutions."""

from __future__ import annotations

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.movement import sliced
from cnncc.onnx.rules.windows import (
    AUTO,
    Geometry,
    as_before,
    as_map,
    geometry,
    lift,
    listed,
    spatial,
    window,
)
from cnncc.onnx.table import rule
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.deform_conv import DeformConvAttrs

_MOST_PLANES = 512  # each is a convolution of its own


@rule(
    "Conv",
    summary="convolution with groups, strides, dilations and any padding",
    limits="one, two or three spatial axes; f32 and f16",
)
def conv(call: Call) -> int:
    """[N,C,D,H,W], [N,C,H,W] or [N,C,W]; weights and bias may be computed."""
    x, w = _operands(call, "Conv")
    extents, kernel = spatial(call, most=3), call.type_of(w).shape[2:]
    _check_kernel(call, kernel)
    if len(extents) == 3:
        return _conv_3d(call, x, w, geometry(call, kernel, extents))
    found = window(call, kernel, extents)
    attrs = Conv2dAttrs(found.strides, found.pads, found.dilations, call.integer("group", 1))
    bias = [call.operand(2)] if call.has(2) else []
    made = call.add("conv2d", [as_map(call, x), as_map(call, w), *bias], attrs)
    return as_before(call, made, found.lifted)


def _conv_3d(call: Call, x: int, w: int, found: Geometry) -> int:
    """A convolution of maps for each plane of the result, over the planes that it sees.

    These are stacked as channels, [N,C,k,H,W] as [N,C·k,H,W], and so are the weights.
    """
    low, high = found.before[0], found.after[0]
    if low or high:
        border = lookup("pad").Attrs("constant", (0, 0, low, 0, 0), (0, 0, high, 0, 0), 0.0)
        x = call.add("pad", [x], border)
    n, c, depth, h, v = call.type_of(x).shape
    filters, group_depth, taps, *plane = call.type_of(w).shape
    step, apart = found.strides[0], found.dilations[0]
    count = (depth - apart * (taps - 1) - 1) // step + 1
    if not 1 <= count <= _MOST_PLANES:
        raise Refused(f"{count} planes of results along D; 1 to {_MOST_PLANES} are supported")
    flat = lift(found.axes(1, 3))
    attrs = Conv2dAttrs(flat.strides, flat.pads, flat.dilations, call.integer("group", 1))
    weights = call.reshape(w, (filters, group_depth * taps, *plane))
    bias = [call.operand(2)] if call.has(2) else []
    made = []
    for place in range(count):
        starts, sizes = (0, 0, place * step, 0, 0), (n, c, taps, h, v)
        seen = sliced(call, x, starts, (1, 1, apart, 1, 1), sizes)
        stacked = call.reshape(seen, (n, c * taps, h, v))
        image = call.add("conv2d", [stacked, weights, *bias], attrs)
        shape = call.type_of(image).shape
        made.append(call.reshape(image, (*shape[:2], 1, *shape[2:])))
    return call.add("concat", made, lookup("concat").Attrs(2)) if len(made) > 1 else made[0]


def _operands(call: Call, word: str) -> tuple[int, int]:
    x, w = call.operand(0), call.operand(1)
    for index in (0, 1):
        if call.type(index).dtype is not DType.F32:
            raise Refused(f"{word} of {call.type(index).dtype}", "f32 and f16 are supported")
    if len(call.type(0).shape) != len(call.type(1).shape):
        raise Refused(f"x {call.type(0)} and w {call.type(1)} have different numbers of axes")
    return x, w


def _check_kernel(call: Call, kernel: tuple[int, ...]) -> None:
    said = call.integers("kernel_shape")
    if said is not None and said != kernel:
        raise Refused(f"`kernel_shape` is {list(said)}, but the weights have {list(kernel)}")


@rule(
    "ConvTranspose",
    summary="transposed convolution with output padding or output shape",
    limits="one or two spatial axes; f32 and f16",
)
def conv_transpose(call: Call) -> int:
    """[N,C,H,W] or [N,C,W]; pads follow from `output_shape` or `auto_pad` where they are given."""
    x, w = _operands(call, "ConvTranspose")
    extents, kernel = spatial(call), call.type_of(w).shape[2:]
    _check_kernel(call, kernel)
    rank = len(extents)
    strides, dilations = listed(call, "strides", rank, 1), listed(call, "dilations", rank, 1)
    extra = listed(call, "output_padding", rank, 0)
    auto = call.text("auto_pad", "NOTSET", AUTO) or "NOTSET"
    wanted = call.integers("output_shape")
    pads = call.integers("pads") or (0,) * (2 * rank)
    if len(pads) != 2 * rank or (wanted is not None and len(wanted) not in (rank, rank + 2)):
        raise Refused(f"`pads` {list(pads)} or `output_shape` {wanted} for {rank} axes")
    before, after = pads[:rank], pads[rank:]
    if wanted is None and auto.startswith("SAME"):
        wanted = tuple(n * s for n, s in zip(extents, strides, strict=True))
    if wanted is not None:
        full = [
            s * (n - 1) + d * (k - 1) + 1
            for n, k, s, d in zip(extents, kernel, strides, dilations, strict=True)
        ]
        spare = [f + e - g for f, e, g in zip(full, extra, wanted[-rank:], strict=True)]
        extra = tuple(e + max(0, -t) for e, t in zip(extra, spare, strict=True))
        small = [max(0, t) // 2 for t in spare]
        large = [max(0, t) - half for t, half in zip(spare, small, strict=True)]
        upper = auto == "SAME_UPPER"
        before, after = tuple(small if upper else large), tuple(large if upper else small)
    found = lift(Geometry(kernel, strides, dilations, before, after))
    output_pads = (0, extra[0]) if found.lifted else (extra[0], extra[1])
    attrs = Conv2dTransposeAttrs(
        found.strides, found.pads, found.dilations, call.integer("group", 1), output_pads
    )
    bias = [call.operand(2)] if call.has(2) else []
    made = call.add("conv2d_transpose", [as_map(call, x), as_map(call, w), *bias], attrs)
    return as_before(call, made, found.lifted)


@rule(
    "DeformConv",
    summary="convolution with moved and weighted taps",
    limits="two spatial axes; f32 and f16",
)
def deform_conv(call: Call) -> int:
    """One operator of the graph, the mask its last operand; the bias is added behind it."""
    x, w = _operands(call, "DeformConv")
    kernel = call.type_of(w).shape[2:]
    if len(kernel) != 2:
        raise Refused(f"{len(kernel)} spatial axes ({call.type(0)})", "two are supported")
    _check_kernel(call, kernel)
    pads = call.integers("pads") or (0, 0, 0, 0)
    strides, dilations = listed(call, "strides", 2, 1), listed(call, "dilations", 2, 1)
    attrs = DeformConvAttrs(
        (strides[0], strides[1]),
        pads,  # type: ignore[arg-type]
        (dilations[0], dilations[1]),
        call.integer("group", 1),
        call.integer("offset_group", 1),
    )
    mask = [call.operand(4)] if call.has(4) else []
    made = call.add("deform_conv", [x, w, call.operand(2), *mask], attrs)
    if not call.has(3):
        return made
    bias = call.reshape(call.operand(3), (1, call.type_of(made).shape[1], 1, 1))
    return call.add("add", [made, bias])
