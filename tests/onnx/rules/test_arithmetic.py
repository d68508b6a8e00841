"""Arithmetic and logic: old and new broadcasting, element types, casts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.onnx.one_node import Refused, check, equal, f32, i64, run

A, B = f32(2, 3, 4), f32(3, 1, seed=1)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_new_broadcasting(op: str, dtype: type) -> None:
    a, b = (10 * A).astype(dtype), (1 + np.abs(5 * B)).astype(dtype)
    for opset in (7, 13, 14):
        check(op, [a, b], opset=opset)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow"])
def test_opset_6_lines_operands_up_along_an_axis(op: str) -> None:
    a, b = np.abs(A) + 1, f32(3, low=1, high=2)
    numpy = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
    how = numpy.get(op, np.power)
    for axis in (1, -2):
        equal(op, [a, b], how(a, b[:, None]), opset=6, broadcast=1, axis=axis)
    equal(op, [a, b[:1]], how(a, b[:1]), opset=6, broadcast=1)
    equal(op, [a, f32(4, low=1)], how(a, f32(4, low=1)), opset=6, broadcast=1)
    with pytest.raises(Refused, match="too many axes"):
        run(op, [a, f32(3, 4)], opset=6, broadcast=1, axis=2)


@pytest.mark.parametrize("op", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
def test_comparisons(op: str) -> None:
    a, b = np.round(A), np.round(B)
    opset = 12 if op.endswith("OrEqual") else 11
    check(op, [a, b], opset=opset)
    check(op, [a.astype(np.int64), b.astype(np.int64)], opset=16)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    check(op, [A > 0, B > 0], opset=7)
    check("Not", [A > 0], opset=7)
    equal(
        op,
        [A > 0, (B > 0)[:, 0]],
        run(op, [A > 0, B > 0], opset=7)[0],
        opset=6,
        broadcast=1,
        axis=1,
    )


@pytest.mark.parametrize("op", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits(op: str) -> None:
    a, b = np.arange(-6, 6, dtype=np.int32).reshape(3, 4), np.array([3, -1, 7, 0], np.int32)
    check(op, [a, b], opset=18)
    check("BitwiseNot", [a], opset=18)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts(direction: str) -> None:
    a, b = np.array([255, 1, 16], np.uint8), np.array([1, 7, 2], np.uint8)
    check("BitShift", [a, b], opset=11, direction=direction)
    with pytest.raises(Refused, match="direction"):
        run("BitShift", [a, b], opset=11)


@pytest.mark.parametrize(
    "op",
    [
        *("Neg", "Abs", "Sign", "Reciprocal", "Exp", "Erf", "Sin", "Cos", "Tan", "Atan"),
        *("Sinh", "Cosh", "Asinh", "Floor", "Ceil", "Round", "IsNaN"),
    ],
)
def test_functions(op: str) -> None:
    check(op, [A], opset=13)


@pytest.mark.parametrize(("op", "low"), [("Sqrt", 0.0), ("Log", 0.1), ("Acosh", 1.0)])
def test_functions_of_what_is_large_enough(op: str, low: float) -> None:
    check(op, [f32(3, 4, low=low, high=9)], opset=13)


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh"])
def test_functions_of_what_is_below_one(op: str) -> None:
    check(op, [f32(3, 4, low=-0.95, high=0.95)], opset=13)


def test_whole_numbers_have_signs() -> None:
    whole = np.array([-3, 0, 7], np.int32)
    for op in ("Neg", "Abs", "Sign"):
        check(op, [whole], opset=13)


def test_powers() -> None:
    base = np.abs(A) + 0.1
    check("Pow", [base, B], opset=7)
    check("Pow", [A, np.float32(2)], opset=13, constant=(1,))
    check("Pow", [base, np.array([2], np.int64)], opset=13)
    check("Pow", [(10 * A).astype(np.int64), i64(3)], opset=13, constant=(1,))
    check("Pow", [(10 * A).astype(np.int32), np.array([0], np.int32)], opset=13, constant=(1,))
    with pytest.raises(Refused, match="f64"):
        run("Pow", [A.astype(np.float64), np.array(1.5)], opset=13)


def test_remainders() -> None:
    a, b = np.array([-7, 7, -7, 7, 0]), np.array([3, 3, -3, -3, 5])
    check("Mod", [a, b], opset=10)
    check("Mod", [a, b], opset=13, fmod=1)
    check("Mod", [A, B], opset=13, fmod=1)
    check("Mod", [a.astype(np.int8), b.astype(np.int8)], opset=13)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_any_number_of_operands(op: str) -> None:
    for operands in ([A], [A, A + 1], [A, f32(2, 3, 4, seed=2), A * 2]):
        check(op, operands, opset=7)
        equal(op, operands, run(op, operands, opset=13)[0], opset=6)
    check(op, [A, B, f32(4)], opset=8)
    if op in ("Max", "Min"):
        check(op, [i64(3, -1), i64(2)], opset=13)
        check(op, [np.array([np.nan, 1], np.float32), np.array([1, np.nan], np.float32)], opset=13)


def test_choices() -> None:
    for opset in (9, 16):
        check("Where", [A > 0, A, B], opset=opset)
        check("Where", [A > 0, i64(1), i64(2, 3, 4, 5)], opset=opset)


def test_infinities() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1], np.float32)
    check("IsInf", [x], opset=10)
    check("IsInf", [x], opset=20, detect_negative=0)
    check("IsInf", [x], opset=20, detect_positive=0)
    check("IsNaN", [x], opset=9)


TO = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL]


@pytest.mark.parametrize("to", [*TO, TensorProto.UINT8, TensorProto.INT8])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, np.uint8])
def test_casts(to: int, dtype: type) -> None:
    x = np.array([0, 1, 2.7, 100], np.float64).astype(dtype)
    for opset in (7, 9, 13, 19, 21):
        check("Cast", [x], opset=opset, to=to)


def test_opset_6_casts_by_name_or_number() -> None:
    equal("Cast", [f32(3)], f32(3).astype(np.int64), opset=6, to=TensorProto.INT64)
    check("CastLike", [f32(3) * 5, i64(1)], opset=15)
    with pytest.raises(Refused, match="a cast to STRING"):
        run("Cast", [f32(3)], opset=13, to=TensorProto.STRING)
    with pytest.raises(Refused, match="a cast to BFLOAT16"):
        run("Cast", [f32(3)], opset=13, to=TensorProto.BFLOAT16)


def test_half_precision_goes_through_f32() -> None:
    x = f32(5).astype(np.float16)
    (found,) = run("Add", [x, x], opset=13)
    np.testing.assert_array_equal(found, (x + x).astype(found.dtype))


def test_bits_of_whole_numbers() -> None:
    code = TensorProto.UINT8
    equal("BitCast", [np.array([-1, 5, -128], np.int8)], [255, 5, 128], opset=26, to=code)
    equal("BitCast", [np.array([True, False])], [1, 0], opset=26, to=code)
    with pytest.raises(Refused, match="bits of f32"):
        run("BitCast", [f32(3)], opset=26, to=TensorProto.INT32)
    with pytest.raises(Refused, match="another size"):
        run("BitCast", [i64(3)], opset=26, to=TensorProto.INT32)
