"""Quantised operators, with exactly their integer semantics.

Whole numbers of 8 bits and sums of their products are computed in f32, where every step is exact as
long as no partial sum leaves 2^24 (each rule proves that from the weights, or cuts the sum into
parts that are added as i32). Only the last step, the scaling, rounds: as the definition does.
"""

from __future__ import annotations

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import DTYPES, Call
from cnncc.onnx.refusals import Refused, WantsConstant
from cnncc.onnx.rules.movement import sliced
from cnncc.onnx.rules.pooling import averaged
from cnncc.onnx.rules.reduction import reduced
from cnncc.onnx.rules.windows import Window, as_before, as_map, geometry, spatial, window
from cnncc.onnx.table import rule
from cnncc.ops.conv import Conv2dAttrs

_EXACT = 2**24
MICROSOFT = "com.microsoft"


def _limits(dtype: DType) -> tuple[int, int]:
    if not dtype.is_integer:
        raise Refused(f"steps of {dtype}", "u8, i8, u16 and i16 are supported")
    found = np.iinfo(dtype.numpy.str)
    return int(found.min), int(found.max)


# -- between numbers and steps ---------------------------------------------------------------------


def _spread(call: Call, vector: int, axis: int, rank: int, block: int, extent: int) -> int:
    """A scale or zero point that broadcasts: one number, one a place of an axis, or blocks."""
    shape = call.type_of(vector).shape
    elems = call.type_of(vector).elems
    if elems == 1 and len(shape) <= 1:
        return call.reshape(vector, ())
    if block:
        known = call.graph.constant(vector)
        if known is None:
            raise WantsConstant(vector, "scale")
        if len(shape) != rank or -(-extent // block) != shape[axis]:
            raise Refused(f"a scale {call.type_of(vector)} for blocks of {block}")
        return call.array(np.repeat(known, block, axis=axis).take(range(extent), axis=axis))
    if len(shape) != 1:
        raise Refused(f"a scale {call.type_of(vector)} without `block_size`")
    return call.reshape(vector, (elems, *(1,) * (rank - axis - 1)))


def _axis(call: Call, rank: int) -> int:
    """The axis of scales; without meaning, and so without limits, where there is one axis only."""
    axis = call.integer("axis", 1)
    return call.axis(axis, rank) if rank > 1 else 0


def quantized(call: Call, x: int, scale: int, zero: int | None, dtype: DType) -> int:
    """saturate(round(x / scale) + zero); scale and zero broadcast."""
    low, high = _limits(dtype)
    steps = call.add("round", [call.add("div", [x, scale])])
    if zero is not None:
        steps = call.add("add", [steps, call.cast(zero, DType.F32)])
    held = call.add("clip", [steps], lookup("clip").Attrs(float(low), float(high)))
    return call.whole_cast(held, dtype)


def shifted(call: Call, x: int, zero: int | None) -> int:
    """X - zero as f32, exact for numbers of 8 and 16 bits; zero broadcasts."""
    real = call.cast(x, DType.F32)
    if zero is None or _is_zero(call, zero):
        return real
    return call.add("sub", [real, call.cast(zero, DType.F32)])


def _is_zero(call: Call, node_id: int) -> bool:
    known = call.graph.constant(node_id)
    return known is not None and not known.any()


def _real(call: Call, x: int, scale: int, zero: int | None) -> int:
    """(x - zero)·scale."""
    return call.add("mul", [shifted(call, x, zero), scale])


def _small(call: Call, dtype: DType) -> DType:
    if dtype not in (DType.U8, DType.I8, DType.U16, DType.I16):
        raise Refused(f"steps of {dtype}", "u8, i8, u16 and i16 are supported")
    return dtype


@rule(
    "QuantizeLinear",
    domain=MICROSOFT,
    summary="numbers as steps of a scale, of all or of an axis",
    limits="to u8, i8, u16, i16",
)
@rule(
    "QuantizeLinear",
    summary="numbers as steps of a scale: of all, of an axis, or of blocks",
    limits="to u8, i8, u16, i16; no f8 or 4-bit types",
)
def quantize(call: Call) -> int:
    """saturate(round(x / scale) + zero point), halves to even."""
    call.ignore("saturate", "precision")
    x = call.cast(call.operand(0), DType.F32)
    rank = len(call.type_of(x).shape)
    axis = _axis(call, rank)
    block = call.integer("block_size", 0)
    extent = call.type_of(x).shape[axis] if rank else 1
    code = call.attr("output_dtype")
    dtype = DType.U8
    if call.has(2):
        dtype = call.type(2).dtype
    elif isinstance(code, int) and code:
        dtype = _coded(code)
    scale = _spread(call, call.cast(call.operand(1), DType.F32), axis, rank, block, extent)
    zero = _spread(call, call.operand(2), axis, rank, block, extent) if call.has(2) else None
    return quantized(call, x, scale, zero, _small(call, dtype))


def _coded(code: int) -> DType:
    names = {2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16"}
    if code not in names:
        raise Refused(f"`output_dtype` {code}", "u8, i8, u16 and i16 are supported")
    return DTYPES[names[code]]


@rule("DequantizeLinear", domain=MICROSOFT, summary="steps of a scale as numbers")
@rule("DequantizeLinear", summary="steps of a scale as numbers")
def dequantize(call: Call) -> int:
    """(x - zero point)·scale."""
    call.ignore("output_dtype")
    x = call.operand(0)
    rank = len(call.type_of(x).shape)
    axis = _axis(call, rank)
    block = call.integer("block_size", 0)
    extent = call.type_of(x).shape[axis] if rank else 1
    scale = _spread(call, call.cast(call.operand(1), DType.F32), axis, rank, block, extent)
    zero = _spread(call, call.operand(2), axis, rank, block, extent) if call.has(2) else None
    return _real(call, x, scale, zero)


@rule("DynamicQuantizeLinear", summary="numbers as u8 steps of a scale that they choose themselves")
def dynamic_quantize(call: Call) -> tuple[int, int, int]:
    """The range, widened to hold 0, in 255 steps."""
    x = call.operand(0)
    axes = tuple(range(len(call.type_of(x).shape)))
    nought = call.like(0, x)
    low = call.add("minimum", [reduced(call, x, "min", axes, False), nought])
    high = call.add("maximum", [reduced(call, x, "max", axes, False), nought])
    scale = call.add("div", [call.add("sub", [high, low]), call.like(255, x)])
    start = call.add("round", [call.add("div", [call.add("neg", [low]), scale])])
    held = call.add("clip", [start], lookup("clip").Attrs(0.0, 255.0))
    zero = call.whole_cast(held, DType.U8)
    return quantized(call, x, scale, zero, DType.U8), scale, zero


# -- sums of products ------------------------------------------------------------------------------


def _largest(call: Call, x: int, zero: int | None) -> int:
    """The largest |x - zero| that the types allow."""
    low, high = _limits(call.type_of(x).dtype)
    known = np.zeros(1) if zero is None else call.graph.constant(zero)
    if known is not None and not known.size:
        raise Refused("a zero point without elements")
    if known is None:
        return high - low
    return int(max(abs(low - float(known.max())), abs(high - float(known.min()))))


def _weights(call: Call, index: int, zero: int | None, axis: int) -> int:
    """Weights minus their zero point, which may be one a filter along an axis."""
    w = call.operand(index)
    if zero is not None and call.type_of(zero).elems > 1:
        rank = len(call.type_of(w).shape)
        zero = call.reshape(zero, (call.type_of(zero).elems, *(1,) * (rank - axis - 1)))
    elif zero is not None:
        zero = call.reshape(zero, ())
    return shifted(call, w, zero)


def _parts(call: Call, w: int, most: int, *, summed: tuple[int, ...], axis: int) -> list[int]:
    """Ends of parts along a summed axis of the weights within which every sum is exact in f32."""
    known = call.graph.constant(w)
    shape = call.type_of(w).shape
    if not call.type_of(w).elems:
        raise Refused(f"weights without elements: {call.type_of(w)}")
    if known is None:
        taps = int(np.prod([shape[a] for a in summed]))
        if taps * most * 255 > _EXACT:
            raise WantsConstant(w, "weights")
        return [shape[axis]]
    others = tuple(a for a in summed if a != axis)
    sums = np.abs(known).sum(axis=others, keepdims=True) * most  # by place of `axis`, and filter
    along = np.moveaxis(sums, axis, 0).reshape(shape[axis], -1)
    ends, total = [], np.zeros(along.shape[1])
    for place, step in enumerate(along):
        if place and (total + step).max() > _EXACT:
            ends.append(place)
            total = np.zeros(along.shape[1])
        total = total + step
        if step.max() > _EXACT:
            raise Refused("a single channel of weights whose sum may leave 2^24")
    return [*ends, shape[axis]]


def _conv_sum(call: Call, x: int, w: int, most: int, attrs: Conv2dAttrs, bias: int | None) -> int:
    """The convolution of whole numbers: f32 if one part will do, else i32; bias i32 or None."""
    ends = _parts(call, w, most, summed=(1, 2, 3), axis=1)
    if len(ends) > 1 and attrs.groups > 1:
        raise Refused("a grouped convolution whose sums may leave 2^24")
    made, start = [], 0
    for end in ends:
        part_x, part_w = x, w
        if len(ends) > 1:
            n, _, h, v = call.type_of(x).shape
            part_x = sliced(call, x, (0, start, 0, 0), (1,) * 4, (n, end - start, h, v))
            filters, _, kh, kw = call.type_of(w).shape
            part_w = sliced(call, w, (0, start, 0, 0), (1,) * 4, (filters, end - start, kh, kw))
        made.append(call.add("conv2d", [part_x, part_w], attrs))
        start = end
    if bias is not None:
        bias = call.reshape(bias, (call.type_of(bias).elems, 1, 1))
    return _total(call, made, bias)


def _total(call: Call, parts: list[int], bias: int | None) -> int:
    """The sum of exact parts and a bias: f32 when that is exact, else i32."""
    known = None if bias is None else call.graph.constant(bias)
    small = bias is None or (known is not None and np.abs(known.astype(np.int64)).max() < _EXACT)
    if len(parts) == 1 and bias is None:
        return parts[0]
    if len(parts) == 1 and small and bias is not None:
        # Two numbers below 2^24 in size: the sum is rounded at most once, as its scaling would.
        return call.add("add", [parts[0], call.cast(bias, DType.F32)])
    total = call.cast(parts[0], DType.I32)
    for part in parts[1:]:
        total = call.add("add", [total, call.cast(part, DType.I32)])
    return total if bias is None else call.add("add", [total, call.cast(bias, DType.I32)])


def _window(call: Call, w: int) -> Window:
    extents, kernel = spatial(call), call.type_of(w).shape[2:]
    said = call.integers("kernel_shape")
    if said is not None and said != kernel:
        raise Refused(f"`kernel_shape` is {list(said)}, but the weights have {list(kernel)}")
    return window(call, kernel, extents)


def _scalar(call: Call, index: int) -> int | None:
    """An optional operand with one number."""
    return call.reshape(call.operand(index), ()) if call.has(index) else None


def _requantized(call: Call, total: int, scales: tuple[int, int, int], zero: int, axis: int) -> int:
    """total·(a·b/c) + zero, saturated; b may be one a filter along an axis."""
    a, b, c = scales
    factor = call.add("div", [call.add("mul", [a, b]), c])
    if call.type_of(factor).elems > 1:
        rank = len(call.type_of(total).shape)
        factor = call.reshape(factor, (call.type_of(factor).elems, *(1,) * (rank - axis - 1)))
    else:
        factor = call.reshape(factor, ())
    dtype = call.type_of(zero).dtype
    low, high = _limits(_small(call, dtype))
    steps = call.add("round", [call.add("mul", [call.cast(total, DType.F32), factor])])
    moved = call.add("add", [steps, call.cast(call.reshape(zero, ()), DType.F32)])
    held = call.add("clip", [moved], lookup("clip").Attrs(float(low), float(high)))
    return call.whole_cast(held, dtype)


@rule("QLinearConv", summary="a convolution of steps, scaled to steps", limits="one or two axes")
def qlinear_conv(call: Call) -> int:
    """Inputs: x, its scale and zero, w, its scale and zero, y's scale and zero, bias."""
    zero = _scalar(call, 2)
    w = _weights(call, 3, call.operand(5), 0)
    found = _window(call, w)
    attrs = Conv2dAttrs(found.strides, found.pads, found.dilations, call.integer("group", 1))
    x = as_map(call, shifted(call, call.operand(0), zero))
    most = _largest(call, call.operand(0), zero)
    bias = call.operand(8) if call.has(8) else None
    total = _conv_sum(call, x, as_map(call, w), most, attrs, bias)
    scales = (call.operand(1), call.operand(4), call.operand(6))
    made = _requantized(call, total, scales, call.operand(7), 1)
    return as_before(call, made, found.lifted)


@rule("ConvInteger", summary="a convolution of steps, as i32", limits="one or two axes")
def conv_integer(call: Call) -> int:
    """Inputs: x, w, and their zero points."""
    zero = _scalar(call, 2)
    w = _weights(call, 1, call.operand(3) if call.has(3) else None, 0)
    found = _window(call, w)
    attrs = Conv2dAttrs(found.strides, found.pads, found.dilations, call.integer("group", 1))
    x = as_map(call, shifted(call, call.operand(0), zero))
    most = _largest(call, call.operand(0), zero)
    total = _conv_sum(call, x, as_map(call, w), most, attrs, None)
    return as_before(call, call.cast(total, DType.I32), found.lifted)


def _product(call: Call, a: int, b: int, most: int) -> int:
    """The matrix product of whole numbers held as f32."""
    rank = len(call.type_of(b).shape)
    if rank < 2:
        raise Refused("a vector times a quantised matrix", "give it a second axis")
    ends = _parts(call, b, most, summed=(rank - 2,), axis=rank - 2)
    parts, start = [], 0
    for end in ends:
        part_a, part_b = a, b
        if len(ends) > 1:
            part_a = _cut(call, a, -1, start, end)
            part_b = _cut(call, b, -2, start, end)
        parts.append(call.add("matmul", [part_a, part_b]))
        start = end
    return _total(call, parts, None)


def _cut(call: Call, x: int, axis: int, start: int, end: int) -> int:
    shape = call.type_of(x).shape
    at = axis % len(shape)
    starts = [start if a == at else 0 for a in range(len(shape))]
    sizes = [end - start if a == at else n for a, n in enumerate(shape)]
    return sliced(call, x, starts, [1] * len(shape), sizes)


def _rows(call: Call, zero: int | None, *, left: bool) -> int | None:
    """A zero point of a matrix: one number, one a row of the left, or one a column of the right."""
    if zero is None or len(call.type_of(zero).shape) != 1:
        return zero
    elems = call.type_of(zero).elems
    if elems == 1:
        return call.reshape(zero, ())
    return call.reshape(zero, (elems, 1)) if left else zero


@rule("MatMulInteger", summary="a matrix product of steps, as i32")
def matmul_integer(call: Call) -> int:
    """Inputs: a, b, and their zero points."""
    zeros = [call.operand(i) if call.has(i) else None for i in (2, 3)]
    a = shifted(call, call.operand(0), _rows(call, zeros[0], left=True))
    b = shifted(call, call.operand(1), _rows(call, zeros[1], left=False))
    most = _largest(call, call.operand(0), zeros[0])
    return call.cast(_product(call, a, b, most), DType.I32)


@rule("QLinearMatMul", summary="a matrix product of steps, scaled to steps")
def qlinear_matmul(call: Call) -> int:
    """Inputs: a, its scale and zero, b, its scale and zero, y's scale and zero."""
    zeros = [_rows(call, call.operand(i), left=i == 2) for i in (2, 5)]
    a = shifted(call, call.operand(0), zeros[0])
    b = shifted(call, call.operand(3), zeros[1])
    most = _largest(call, call.operand(0), zeros[0])
    total = _product(call, a, b, most)
    left, right = call.operand(1), call.operand(4)
    if call.type_of(left).elems > 1:
        left = call.reshape(left, (call.type_of(left).elems, 1))
    factor = call.add("div", [call.add("mul", [left, right]), call.operand(6)])
    if call.type_of(factor).elems == 1:
        factor = call.reshape(factor, ())
    factor = call.cast(factor, DType.F32)
    dtype = _small(call, call.type(7).dtype)
    low, high = _limits(dtype)
    steps = call.add("round", [call.add("mul", [call.cast(total, DType.F32), factor])])
    zero = call.operand(7)
    zero = call.reshape(zero, ()) if call.type_of(zero).elems == 1 else zero
    moved = call.add("add", [steps, call.cast(zero, DType.F32)])
    held = call.add("clip", [moved], lookup("clip").Attrs(float(low), float(high)))
    return call.whole_cast(held, dtype)


# -- the forms of com.microsoft --------------------------------------------------------------------


@rule("QGemm", domain=MICROSOFT, summary="a fully connected layer of steps")
def qgemm(call: Call) -> int:
    """Inputs: a, its scale and zero, b, its scale and zero, c (i32), y's scale and zero."""
    zeros = [_scalar(call, 2), call.operand(5) if call.has(5) else None]
    a = shifted(call, call.operand(0), zeros[0])
    if call.flag("transA"):
        a = call.transpose(a, (1, 0))
    alpha = call.real("alpha", 1.0)
    transposed = call.flag("transB")
    b = _weights(call, 3, zeros[1], 0 if transposed else 1)
    b = call.transpose(b, (1, 0)) if transposed else b
    total = _product(call, a, b, _largest(call, call.operand(0), zeros[0]))
    if call.has(6):
        exact = call.type_of(total).dtype is DType.F32
        c = call.operand(6)
        total = _total(call, [total], c) if exact else call.add("add", [total, c])
    scale = call.add("mul", [call.operand(1), call.operand(4)])
    if alpha != 1:
        scale = call.add("mul", [scale, call.like(alpha, scale)])
    if call.has(7):
        one = call.array(1.0, DType.F32)
        return _requantized(call, total, (scale, one, call.operand(7)), call.operand(8), 1)
    scale = call.reshape(scale, ()) if call.type_of(scale).elems == 1 else scale
    return call.add("mul", [call.cast(total, DType.F32), scale])


def _input(call: Call, first: int) -> int:
    """Numbers of a quantised operand: steps, scale and zero point follow each other."""
    return _real(call, call.operand(first), _scale(call, first + 1), _scalar(call, first + 2))


def _scale(call: Call, index: int) -> int:
    return call.reshape(call.operand(index), ())


def _output(call: Call, x: int, first: int, like: int) -> int:
    """Steps of a result, whose scale and zero point follow each other."""
    zero = _scalar(call, first + 1)
    dtype = call.type(like).dtype if zero is None else call.type_of(zero).dtype
    return quantized(call, x, _scale(call, first), zero, _small(call, dtype))


@rule("QLinearAdd", "QLinearMul", domain=MICROSOFT, summary="a sum or product of steps")
def qlinear_binary(call: Call) -> int:
    """Inputs: a, its scale and zero, b, its scale and zero, y's scale and zero."""
    op = "add" if call.node.op_type == "QLinearAdd" else "mul"
    return _output(call, call.add(op, [_input(call, 0), _input(call, 3)]), 6, 0)


_UNARY = {"QLinearSigmoid": "sigmoid", "QLinearLeakyRelu": "leaky_relu"}


@rule(*_UNARY, domain=MICROSOFT, summary="an activation of steps")
def qlinear_unary(call: Call) -> int:
    """Inputs: x, its scale and zero, y's scale and zero."""
    op = _UNARY[call.node.op_type]
    attrs = lookup(op).Attrs(call.real("alpha", 0.01)) if op == "leaky_relu" else None
    return _output(call, call.add(op, [_input(call, 0)], attrs), 3, 0)


@rule("QLinearSoftmax", domain=MICROSOFT, summary="softmax of steps")
def qlinear_softmax(call: Call) -> int:
    """Inputs: x, its scale and zero, y's scale and zero."""
    rank = len(call.type(0).shape)
    axis = call.axis(call.integer("axis", -1), rank)
    if call.integer("opset", 13) < 13 and axis != rank - 1:
        raise Refused("softmax over several axes at once")
    x = _input(call, 0)
    powers = call.add("exp", [call.add("sub", [x, reduced(call, x, "max", (axis,), True)])])
    made = call.add("div", [powers, reduced(call, powers, "sum", (axis,), True)])
    return _output(call, made, 3, 0)


@rule("QLinearWhere", domain=MICROSOFT, summary="steps of one or the other operand")
def qlinear_where(call: Call) -> int:
    """Inputs: a condition, x, its scale and zero, y, its scale and zero, z's scale and zero."""
    chosen = call.add("where", [call.operand(0), _input(call, 1), _input(call, 4)])
    return _output(call, chosen, 7, 1)


@rule("QLinearReduceMean", domain=MICROSOFT, summary="means of steps over axes")
def qlinear_reduce_mean(call: Call) -> int:
    """Inputs: x, its scale and zero, y's scale and zero."""
    x, keepdims = _input(call, 0), call.flag("keepdims", True)
    rank = len(call.type_of(x).shape)
    axes = tuple(call.axis(a, rank, "axes") for a in call.integers("axes") or range(rank))
    return _output(call, reduced(call, x, "mean", axes, keepdims), 3, 0)


@rule("QLinearConcat", domain=MICROSOFT, summary="operands of different scales one after another")
def qlinear_concat(call: Call) -> int:
    """Inputs: y's scale and zero, then each operand with its scale and zero."""
    axis = call.axis(call.integer("axis"), len(call.type(2).shape))
    parts = [_input(call, k) for k in range(2, call.count, 3)]
    return _output(call, call.add("concat", parts, lookup("concat").Attrs(axis)), 0, 2)


@rule(
    "QLinearAveragePool",
    "QLinearGlobalAveragePool",
    domain=MICROSOFT,
    summary="means of steps",
    limits="channels first",
)
def qlinear_average_pool(call: Call) -> int:
    """Inputs: x, its scale and zero, y's scale and zero."""
    if call.flag("channels_last"):
        raise Refused("channels last")
    x = _input(call, 0)
    rank = len(call.type_of(x).shape)
    if call.node.op_type == "QLinearGlobalAveragePool":
        return _output(call, reduced(call, x, "mean", tuple(range(2, rank)), True), 3, 0)
    kernel = call.integers("kernel_shape") or ()
    return _output(call, averaged(call, x, geometry(call, kernel, spatial(call, most=3))), 3, 0)
