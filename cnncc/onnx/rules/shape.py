"""Shapes as values: what is computed from shapes is computed at once, and becomes constants."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir.types import DType
from cnncc.onnx.call import DTYPES, Call
from cnncc.onnx.model import Tensor
from cnncc.onnx.refusals import Refused
from cnncc.onnx.table import rule

_MOST_ELEMS = 2**28


@rule("Constant", summary="a tensor of the file", limits="no sparse tensors, no strings")
def constant(call: Call) -> int:
    """A constant."""
    made = call.tensor("value")
    if made is not None:
        return _held(call, made)
    for name, dtype in (("value_float", DType.F32), ("value_int", DType.I64)):
        value = call.attr(name)
        if isinstance(value, int | float):
            return call.array(value, dtype)
    floats, ints = call.reals("value_floats"), call.integers("value_ints")
    if floats is not None and call.node.attributes.get("value_floats") is not None:
        return call.array(floats, DType.F32)
    if ints is not None:
        return call.array(ints, DType.I64)
    for name in ("sparse_value", "value_string", "value_strings"):
        if call.attr(name) is not None:
            raise Refused(f"a constant given as `{name}`", "tensors of numbers are taken")
    raise Refused("a constant without a value")


def _held(call: Call, tensor: Tensor) -> int:
    if tensor.dtype not in DTYPES:
        raise Refused(f"a constant of {tensor.dtype}")
    return call.array(tensor.array)


@rule("Shape", summary="the shape of its operand, whole or in part")
def shape(call: Call) -> int:
    """A constant."""
    sizes = call.type(0).shape
    rank = len(sizes)
    start, end = call.integer("start", 0), call.integer("end", rank)
    return call.array(sizes[slice(start, end)], DType.I64)


@rule("Size", summary="the number of elements of its operand")
def size(call: Call) -> int:
    """A constant."""
    return call.array(call.type(0).elems, DType.I64)


@rule("ConstantOfShape", summary="one number in every element of a given shape")
def constant_of_shape(call: Call) -> int:
    """A constant."""
    sizes = call.whole(0, "input")
    made = call.tensor("value")
    if made is not None and (made.dtype not in DTYPES or made.array.size != 1):
        raise Refused(f"`value` has {made.array.size} elements of {made.dtype}")
    value = np.zeros(1, np.float32) if made is None else made.array.reshape(1)
    _check_size(sizes)
    return call.array(np.broadcast_to(value, sizes))


@rule("Range", summary="numbers from start to limit in equal steps")
def span(call: Call) -> int:
    """A constant."""
    call.ignore("stash_type")  # f16 numbers are held as f32
    start, limit, delta = (call.constant(i, w) for i, w in enumerate(("start", "limit", "delta")))
    if not start.size == limit.size == delta.size == 1 or delta.reshape(-1)[0] == 0:
        raise Refused("`start`, `limit` and `delta` must be single numbers, `delta` not 0")
    first, last, step = (a.reshape(-1)[0] for a in (start, limit, delta))
    count = max(0, math.ceil((last.astype(np.float64) - first) / step))
    _check_size((count,))
    return call.array((first + np.arange(count) * step).astype(start.dtype))


def _check_size(sizes: tuple[int, ...]) -> None:
    if any(n < 0 for n in sizes) or math.prod(sizes) > _MOST_ELEMS or len(sizes) > 8:
        raise Refused(f"a constant of shape {list(sizes)}")


@rule("EyeLike", summary="ones on a diagonal, in the shape of its operand")
def eye_like(call: Call) -> int:
    """A constant."""
    found = call.type(0)
    if len(found.shape) != 2:
        raise Refused(f"a matrix is wanted, got {found}")
    from_code = call.attr("dtype")
    dtype = found.dtype
    if isinstance(from_code, int):
        dtype = _dtype(from_code)
    return call.array(np.eye(*found.shape, k=call.integer("k", 0)), dtype)


def _dtype(code: int) -> DType:
    names = ("", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "", "BOOL")
    more = {10: "FLOAT", 11: "DOUBLE", 12: "UINT32", 13: "UINT64"}
    name = names[code] if 0 <= code < len(names) else more.get(code, "")
    if name not in DTYPES:
        raise Refused(f"element type {code}")
    return DTYPES[name]
