"""Arithmetic, functions, reductions and matrix products against an independent implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from tests.ops.test_onnx_moves import REFUSED as NO_CODE
from tests.ops.test_onnx_moves import judge, whole
from tests.strategies import Case, random_case

onnxruntime = pytest.importorskip("onnxruntime")

REFUSED = (*NO_CODE, onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph)

CASES = 60
LEAST = 10  # cases of an operator that must have been judged
LIMIT = 1e-4

# Our name, ONNX's name; they have no attributes.
PLAIN = """
add=Add sub=Sub mul=Mul div=Div pow=Pow minimum=Min maximum=Max where=Where matmul=MatMul
equal=Equal less=Less less_equal=LessOrEqual greater=Greater greater_equal=GreaterOrEqual
is_nan=IsNaN logical_and=And logical_or=Or logical_xor=Xor logical_not=Not bit_and=BitwiseAnd
bit_or=BitwiseOr bit_xor=BitwiseXor bit_not=BitwiseNot softsign=Softsign neg=Neg abs=Abs
sign=Sign floor=Floor ceil=Ceil round=Round reciprocal=Reciprocal sqrt=Sqrt exp=Exp log=Log
erf=Erf sin=Sin cos=Cos tan=Tan asin=Asin acos=Acos atan=Atan sinh=Sinh cosh=Cosh asinh=Asinh
acosh=Acosh atanh=Atanh
"""

# Our operator, ONNX's, and its attributes from ours.
Attributes = Callable[[Any], dict[str, Any]]
NODES: dict[str, tuple[str, Attributes]] = {
    **{ours: (theirs, lambda a: {}) for ours, theirs in (p.split("=") for p in PLAIN.split())},
    "mod": ("Mod", lambda a: {"fmod": int(a.fmod)}),
    "shift": ("BitShift", lambda a: {"direction": "LEFT" if a.left else "RIGHT"}),
    "is_inf": (
        "IsInf",
        lambda a: {"detect_positive": int(a.positive), "detect_negative": int(a.negative)},
    ),
    "cast": ("Cast", lambda a: {"to": _onnx_type(a.to)}),
    "selu": ("Selu", lambda a: {"alpha": a.alpha, "gamma": a.gamma}),
    "celu": ("Celu", lambda a: {"alpha": a.alpha}),
    "thresholded_relu": ("ThresholdedRelu", lambda a: {"alpha": a.alpha}),
    "shrink": ("Shrink", lambda a: {"lambd": a.lambd, "bias": a.bias}),
    "reduce": ("Reduce", lambda a: {"keepdims": int(a.keepdims)}),
    **{
        name: (
            onnx_name,
            lambda a: {
                "axis": a.axis,
                "keepdims": int(a.keepdims),
                "select_last_index": int(a.last),
            },
        )
        for name, onnx_name in (("arg_max", "ArgMax"), ("arg_min", "ArgMin"))
    },
    "cumsum": ("CumSum", lambda a: {"exclusive": int(a.exclusive), "reverse": int(a.reverse)}),
}


def _onnx_type(dtype: DType) -> int:
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy))


def sensible(case: Case) -> bool:
    """Whether ONNX says what comes out, and the peer does not end the process over it."""
    first, last = case.arrays[0], case.arrays[-1]
    if case.op in ("div", "mod") and first.dtype.kind != "f":
        return bool(np.all(last != 0) and np.all(last.astype(np.float64) != -1))
    if case.op == "mod":
        return bool(case.attrs.fmod)
    if case.op == "shift":
        return last.dtype.kind == "u" and bool(np.all(last < 8 * last.dtype.itemsize))
    if case.op == "cast":
        return _fits(first, case.attrs.to)
    if case.op == "reduce":
        ordered = case.attrs.kind in ("max", "min") and first.dtype.kind == "f"
        # The peer sums whole numbers for a mean in another type.
        wraps = case.attrs.kind == "mean" and np.abs(first.astype(np.float64)).sum() >= 2**31
        return bool(case.attrs.axes) and not (ordered and np.isnan(first).any()) and not wraps
    if case.op in ("arg_max", "arg_min", "thresholded_relu", "shrink"):
        return first.dtype.kind != "f" or not np.isnan(first).any()
    return True


def _fits(values: np.ndarray, to: DType) -> bool:
    if values.dtype.kind != "f" or not to.is_integer:
        return True
    limits = np.iinfo(to.numpy.name)
    wide = values.astype(np.float64)
    return bool(np.all((wide >= float(limits.min)) & (wide < float(limits.max))))


def ask(case: Case) -> np.ndarray:
    """What ONNX's operator gives."""
    op_type, attributes = NODES[case.op]
    operands = list(case.arrays)
    if case.op == "reduce":
        op_type += case.attrs.kind.title()
        operands.append(whole(case.attrs.axes))
    if case.op == "cumsum":
        operands.append(np.asarray(case.attrs.axis, np.int64))
    wanted = lookup(case.op).infer(case.types, case.attrs).dtype.numpy
    return judge(op_type, operands, attributes(case.attrs), (wanted,))[0]


@pytest.mark.parametrize("name", sorted(NODES))
def test_agrees(name: str) -> None:
    rng = np.random.default_rng(11)
    judged = 0
    for _ in range(CASES):
        case = random_case(rng, name, "special")
        if not sensible(case):
            continue
        try:
            wanted = ask(case)
        except REFUSED:
            continue  # types that the peer has no code for
        found = lookup(name).reference(case.operands, case.attrs)
        judged += 1
        if found.dtype.kind == "f":
            with np.errstate(all="ignore"):
                rounded = found.astype(wanted.dtype)
            np.testing.assert_allclose(rounded, wanted, LIMIT, LIMIT, err_msg=repr(case))
        else:
            np.testing.assert_array_equal(found, wanted, repr(case))
    assert judged >= LEAST
