"""Arithmetic, comparison and logic with broadcasting."""

from __future__ import annotations

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import DTYPES, Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.table import rule

_UNARY = {
    "Neg": "neg",
    "Abs": "abs",
    "Sign": "sign",
    "Reciprocal": "reciprocal",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Erf": "erf",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Not": "logical_not",
    "BitwiseNot": "bit_not",
    "IsNaN": "is_nan",
}


@rule(*_UNARY, summary="a function of each element")
def unary(call: Call) -> int:
    """One operator of the graph."""
    call.ignore("consumed_inputs")
    return call.add(_UNARY[call.node.op_type], [call.operand(0)])


_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Equal": "equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "logical_xor",
    "BitwiseAnd": "bit_and",
    "BitwiseOr": "bit_or",
    "BitwiseXor": "bit_xor",
}


@rule(*_BINARY, summary="a function of two operands, broadcast to one shape")
def binary(call: Call) -> int:
    """One operator of the graph; opset 6 lines the second operand up with an axis of the first."""
    a, b = call.operand(0), call.operand(1)
    return call.add(_BINARY[call.node.op_type], [a, _aligned(call, a, b)])


def _aligned(call: Call, a: int, b: int) -> int:
    """The second operand as broadcasting by trailing axes wants it, from opset 6's `axis`."""
    call.ignore("consumed_inputs")
    if call.version >= 7:
        return b
    axis = call.attr("axis")
    if not call.flag("broadcast") or axis is None:
        return b
    shape, wide = call.type_of(b).shape, len(call.type_of(a).shape)
    first = call.axis(call.integer("axis"), wide)
    if first + len(shape) > wide:
        raise Refused(f"`axis` is {first}, but b {call.type_of(b)} has too many axes for that")
    return call.reshape(b, (*shape, *(1,) * (wide - first - len(shape))))


@rule("Pow", summary="a to the power of b, broadcast; the result has a's type")
def power(call: Call) -> int:
    """Computed in f32."""
    a, b = call.operand(0), call.operand(1)
    b = _aligned(call, a, b)
    dtype = call.type_of(a).dtype
    known = call.graph.constant(b)
    if (
        known is not None
        and known.size == 1
        and dtype.is_float
        and float(known.reshape(-1)[0]) == 2
    ):
        return call.add("mul", [a, a])
    if dtype.is_integer and dtype.size_bytes > 2:
        return _whole_power(call, a, b)
    if dtype is DType.F64 or call.type_of(b).dtype is DType.F64:
        raise Refused("powers are computed in f32, but f64 is wanted")
    made = call.add("pow", [call.cast(a, DType.F32), call.cast(b, DType.F32)])
    return call.cast(made, dtype)


def _whole_power(call: Call, a: int, b: int) -> int:
    """A constant whole exponent as products; exact where f32 would round."""
    known = call.known(1)
    if (
        known is None
        or known.size != 1
        or not 0 <= (n := float(known.reshape(-1)[0])) <= 64
        or n % 1
    ):
        made = call.add("pow", [call.cast(a, DType.F32), call.cast(b, DType.F32)])
        return call.cast(made, call.type_of(a).dtype)
    result = call.add("add", [call.add("mul", [a, call.like(0, a)]), call.like(1, a)])
    for _ in range(int(n)):
        result = call.add("mul", [result, a])
    return result


@rule("Mod", summary="the remainder, with the sign of the divisor or (fmod) of the dividend")
def mod(call: Call) -> int:
    """One operator of the graph."""
    attrs = lookup("mod").Attrs(call.flag("fmod"))
    return call.add("mod", [call.operand(0), call.operand(1)], attrs)


_VARIADIC: dict[str, str] = {"Sum": "add", "Mean": "add", "Max": "maximum", "Min": "minimum"}


@rule(*_VARIADIC, summary="sum, mean, largest or smallest of any number of operands, broadcast")
def variadic(call: Call) -> int:
    """A chain of binary operators."""
    call.ignore("consumed_inputs")
    if not call.count:
        raise Refused("no inputs")
    first, *others = call.operands()
    for other in others:
        first = call.add(_VARIADIC[call.node.op_type], [first, other])
    if call.node.op_type == "Mean" and others:
        return call.add("div", [first, call.like(len(others) + 1, first)])
    return first


@rule("Where", summary="elements of one or the other operand, by a condition; all broadcast")
def where(call: Call) -> int:
    """One operator of the graph."""
    return call.add("where", call.operands())


@rule("IsInf", summary="whether elements are infinite")
def is_inf(call: Call) -> int:
    """One operator of the graph."""
    positive, negative = call.flag("detect_positive", True), call.flag("detect_negative", True)
    return call.add("is_inf", [call.operand(0)], lookup("is_inf").Attrs(positive, negative))


@rule("BitShift", summary="shifts to the left or right")
def shift(call: Call) -> int:
    """One operator of the graph."""
    left = call.text("direction", "", ("LEFT", "RIGHT")) == "LEFT"
    return call.add("shift", [call.operand(0), call.operand(1)], lookup("shift").Attrs(left))


@rule(
    "Cast",
    summary="numbers in another element type",
    limits="f16 is held as f32 inside; no strings, bf16, f8 or 4-bit types",
)
def cast(call: Call) -> int:
    """Nothing where the type is the same."""
    call.ignore("saturate", "round_mode")
    code = call.attr("to")
    name = code if isinstance(code, str) else dtype_name(call.integer("to"))
    return _to(call, call.operand(0), name)


@rule(
    "BitCast",
    summary="the bits of whole numbers as numbers of another type",
    limits="between whole numbers of one size, and from truth values to 8 bits; no floats",
)
def bit_cast(call: Call) -> int:
    """A cast, which wraps around: it keeps all bits."""
    found, to = call.type(0), DTYPES.get(dtype_name(call.integer("to")))
    source = DType.U8 if found.dtype is DType.BOOL else found.dtype
    if to is None or not (source.is_integer and to.is_integer):
        raise Refused(f"the bits of {found.dtype} as {to or dtype_name(call.integer('to'))}")
    if source.size_bytes != to.size_bytes:
        raise Refused(f"the bits of {found.dtype} as {to}, which has another size")
    return call.cast(call.operand(0), to)


@rule("CastLike", summary="numbers in the element type of another operand")
def cast_like(call: Call) -> int:
    """Nothing where the type is the same."""
    call.ignore("saturate", "round_mode")
    return call.cast(call.operand(0), call.type(1).dtype)


def _to(call: Call, node_id: int, name: str) -> int:
    dtype = DTYPES.get(name)
    if dtype is None:
        raise Refused(f"a cast to {name}", f"{', '.join(DTYPES)} are supported")
    return call.cast(node_id, DType.F32 if dtype is DType.F16 else dtype)


def dtype_name(code: int) -> str:
    """ONNX's name of an element type, from its number (TensorProto.DataType)."""
    names = (
        *("UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING"),
        *("BOOL", "FLOAT16", "DOUBLE", "UINT32", "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16"),
    )
    return names[code] if 0 <= code < len(names) else f"element type {code}"
