"""Convolutions."""

from __future__ import annotations

from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.rules.windows import as_before, as_map, spatial, window
from cnncc.onnx.table import Refused, rule
from cnncc.ops.conv import Conv2dAttrs


@rule(
    "Conv",
    summary="convolution with groups, strides, dilations and any padding",
    limits="one or two spatial axes; f32 and f16",
)
def conv(call: Call) -> int:
    """[N,C,H,W] or [N,C,W]; weights and bias may be computed."""
    x, w = _operands(call, "Conv")
    extents, kernel = spatial(call), call.type_of(w).shape[2:]
    _check_kernel(call, kernel)
    found = window(call, kernel, extents, len(extents))
    attrs = Conv2dAttrs(found.strides, found.pads, found.dilations, call.integer("group", 1))
    bias = [call.operand(2)] if call.has(2) else []
    made = call.add("conv2d", [as_map(call, x), as_map(call, w), *bias], attrs)
    return as_before(call, made, found.lifted)


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
