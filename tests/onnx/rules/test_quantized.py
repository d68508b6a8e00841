"""Quantised operators on random steps: exactly what onnxruntime gives, or one step beside it.

Where sums are whole numbers, both are exact. The last step, the scaling, is rounded by the peer in
its own order of operations for `QLinearAdd`, averages and the like: a value in the middle between
two steps may then fall on the other side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, run

MS = "com.microsoft"
TYPES = [np.uint8, np.int8]


def steps(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    rng = np.random.default_rng((seed, *shape))
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def scaled(scale: float, zero: int, dtype: Any = np.uint8) -> list[np.ndarray]:
    return [np.array(scale, np.float32), np.array(zero, dtype)]


def zero_of(dtype: Any) -> int:
    return 120 if dtype == np.uint8 else -7


@pytest.mark.parametrize("dtype", [*TYPES, np.uint16, np.int16])
def test_to_steps_and_back(dtype: Any) -> None:
    opset = 10 if dtype in TYPES else 21
    x = f32(3, 4, low=-9, high=9)
    operands = scaled(0.05, 3, dtype)
    check("QuantizeLinear", [x, *operands], opset=opset)
    check("DequantizeLinear", [steps(3, 4, dtype=dtype), *operands], opset=opset)
    check("QuantizeLinear", [x * 1e4, *operands], opset=opset)


def test_halves_go_to_the_even_step() -> None:
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5])
    equal("QuantizeLinear", [x, np.float32(1.0), np.int8(0)], [0, 2, 2, 0, -2], opset=13)
    (found,) = run("QuantizeLinear", [x, np.float32(1.0)], opset=13)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scales_of_an_axis(axis: int) -> None:
    x = f32(3, 4, 5)
    extent = x.shape[axis]
    scale, zero = f32(extent, low=0.01, high=0.1), steps(extent, dtype=np.int8)
    for opset in (13, 19, 21):
        check("QuantizeLinear", [x, scale, zero], opset=opset, axis=axis)
        check(
            "DequantizeLinear", [steps(3, 4, 5, dtype=np.int8), scale, zero], opset=opset, axis=axis
        )


def test_scales_of_blocks() -> None:
    scale, zero = f32(3, 2, low=0.01, high=0.1), steps(3, 2)
    how = {"opset": 21, "axis": 1, "block_size": 3}
    check("DequantizeLinear", [steps(3, 6), scale, zero], **how)
    check("QuantizeLinear", [f32(3, 6), scale, zero], **how)
    with pytest.raises(Refused, match="block_size"):
        run("QuantizeLinear", [f32(3, 6), scale, zero], opset=21)


def test_scales_that_values_choose() -> None:
    for x in (f32(3, 4), np.abs(f32(5)), -np.abs(f32(5)) - 1):
        check("DynamicQuantizeLinear", [x], opset=11, outputs=3)


@pytest.mark.parametrize(
    ("x_type", "w_type"), [(np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8)]
)
@pytest.mark.parametrize("constant", [(), (3, 4, 5, 8)])
def test_convolutions(x_type: Any, w_type: Any, constant: tuple[int, ...]) -> None:
    x, w = steps(1, 3, 8, 7, dtype=x_type), steps(4, 3, 3, 3, dtype=w_type, seed=1)
    bias = np.array([100, -2000, 30, 4000], np.int32)
    operands = [
        *[x, *scaled(0.02, zero_of(x_type), x_type)],
        *[w, *scaled(0.01, 0, w_type)],
        *[*scaled(0.9, zero_of(x_type), x_type), bias],
    ]
    how = {"opset": 10, "pads": [1, 1, 0, 1], "strides": [2, 1], "constant": constant}
    check("QLinearConv", operands, **how)


def test_convolutions_with_scales_of_filters() -> None:
    w, scale = steps(4, 3, 3, 3, dtype=np.int8), f32(4, low=0.002, high=0.02)
    operands = [
        *[steps(2, 6, 6, 6), *scaled(0.02, 3)],
        *[np.concatenate([w] * 2)[:4], scale, np.zeros(4, np.int8), *scaled(0.7, 110)],
    ]
    check("QLinearConv", operands, opset=10, group=2, constant=(3, 4, 5))


@pytest.mark.parametrize("constant", [(), (1,)])
def test_sums_as_whole_numbers(constant: tuple[int, ...]) -> None:
    x, w = steps(1, 3, 8, 7), steps(4, 3, 3, 3, seed=1)
    check("ConvInteger", [x, w, np.uint8(5)], opset=10, pads=[1, 1, 1, 1], constant=constant)
    a, b = steps(3, 5), steps(5, 4, dtype=np.int8)
    zeros = [np.uint8(7), np.int8(-3)]
    check("MatMulInteger", [a, b, *zeros], opset=10, constant=constant)
    check("MatMulInteger", [a, b, zeros[0], steps(4, dtype=np.int8)], opset=10, constant=constant)


def test_sums_that_leave_what_f32_counts_exactly() -> None:
    a = np.full((2, 2000), 255, np.uint8)
    b = np.full((2000, 3), 255, np.uint8)
    b[::2, 1] = 0
    equal("MatMulInteger", [a, b], a.astype(np.int64) @ b.astype(np.int64), opset=10, constant=(1,))
    x, w = np.full((1, 600, 3, 3), 255, np.uint8), np.full((1, 600, 3, 3), 255, np.uint8)
    wanted = [[[[600 * 9 * 255 * 255]]]]
    equal("ConvInteger", [x, w], wanted, opset=10, constant=(1,))
    equal("ConvInteger", [x, w], wanted, opset=10)  # the weights are bound to be cut into parts


@pytest.mark.parametrize("dtype", TYPES)
def test_matrix_products(dtype: Any) -> None:
    operands = [
        *[steps(2, 3, 5, dtype=dtype), *scaled(0.02, zero_of(dtype), dtype)],
        *[steps(5, 4, dtype=dtype, seed=1), *scaled(0.03, zero_of(dtype), dtype)],
        *scaled(0.2, zero_of(dtype), dtype),
    ]
    check("QLinearMatMul", operands, opset=10)
    check("QLinearMatMul", operands, opset=21, constant=(3, 4, 5))


@pytest.mark.parametrize("how", [{}, {"transB": 1}, {"transA": 1, "alpha": 0.5}])
def test_gemm(how: dict[str, Any]) -> None:
    a = steps(5, 3) if "transA" in how else steps(3, 5)
    b = steps(4, 5, seed=1) if "transB" in how else steps(5, 4, seed=1)
    operands = [a, *scaled(0.02, 7), b, *scaled(0.03, 9), np.array([5, -600, 70, 8], np.int32)]
    check("QGemm", [*operands, *scaled(0.2, 40)], opset=13, domain=MS, constant=(3, 4, 5), **how)
    check("QGemm", operands, opset=13, domain=MS, constant=(3, 4, 5), **how)
    columns = [f32(4, low=0.01, high=0.05), steps(4)]
    per_column = [*operands[:4], *columns, operands[6], *scaled(0.2, 40)]
    check("QGemm", per_column, opset=13, domain=MS, constant=(3, 4, 5), **how)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("dtype", TYPES)
def test_sums_and_products_of_steps(op: str, dtype: Any) -> None:
    a, b = steps(2, 3, 16, 16, dtype=dtype), steps(3, 1, 16, dtype=dtype, seed=1)
    zero = zero_of(dtype)
    operands = [a, *scaled(0.03, zero, dtype), b, *scaled(0.05, zero + 3, dtype)]
    check(op, [*operands, *scaled(0.06, zero, dtype)], opset=13, domain=MS, steps=1)


@pytest.mark.parametrize("dtype", TYPES)
def test_functions_of_steps(dtype: Any) -> None:
    x, zero = steps(2, 3, 16, 16, dtype=dtype), zero_of(dtype)
    operands = [x, *scaled(0.03, zero, dtype)]
    check("QLinearSigmoid", [*operands, *scaled(1 / 256, 0, dtype)], opset=13, domain=MS, steps=1)
    for alpha in (0.01, 0.3):
        wanted = [*operands, *scaled(0.02, zero, dtype)]
        check("QLinearLeakyRelu", wanted, opset=13, domain=MS, steps=1, alpha=alpha)


@pytest.mark.parametrize("axis", [-1, 3])
def test_softmax_of_steps(axis: int) -> None:
    operands = [steps(2, 3, 4, 8), *scaled(0.03, 7), *scaled(1 / 256, 0)]
    (found,) = run("QLinearSoftmax", operands, opset=13, domain=MS, axis=axis)
    x = (operands[0].astype(np.float64) - 7) * 0.03
    powers = np.exp(x)
    wanted = np.rint(powers / powers.sum(axis=-1, keepdims=True) * 256).clip(0, 255)
    assert np.abs(found - wanted).max() <= 1


def test_joins_of_different_scales() -> None:
    a, b = steps(2, 3, 4), steps(2, 5, 4, seed=1)
    operands = [*scaled(0.04, 7), a, *scaled(0.03, 9), b, *scaled(0.05, 0)]
    check("QLinearConcat", operands, opset=13, domain=MS, steps=1, axis=1)


def test_choices_of_steps() -> None:
    a, b, flags = steps(2, 3, 4), steps(3, 1, seed=1), steps(2, 3, 4, seed=2) > 99
    operands = [flags, a, *scaled(0.04, 7), b, *scaled(0.03, 9), *scaled(0.05, 2)]
    check("QLinearWhere", operands, opset=13, domain=MS, steps=1)


def test_means_of_steps_over_axes() -> None:
    operands = [steps(2, 3, 4, 5), *scaled(0.04, 7), *scaled(0.03, 2)]
    x = 0.04 * (operands[0].astype(np.float64) - 7)
    for axes, keepdims in (([2, 3], 1), ([-1], 0)):
        how = {"opset": 13, "domain": MS, "axes": axes, "keepdims": keepdims}
        (found,) = run("QLinearReduceMean", operands, **how)
        mean = x.mean(axis=tuple(axes), keepdims=bool(keepdims))
        assert np.abs(found - (np.rint(mean / 0.03) + 2).clip(0, 255)).max() <= 1


def test_the_forms_of_the_peer_that_are_older_than_those_of_onnx() -> None:
    scale, zero = f32(4, low=0.01, high=0.1), steps(4)
    check("QuantizeLinear", [f32(3, 4), scale, zero], opset=13, domain=MS, axis=1)
    check("DequantizeLinear", [steps(3, 4), scale, zero], opset=13, domain=MS, axis=1)


@pytest.mark.parametrize("dtype", TYPES)
def test_means_of_steps(dtype: Any) -> None:
    zero = zero_of(dtype)
    operands = [steps(2, 4, 8, 9, dtype=dtype), *scaled(0.03, zero, dtype)]
    operands += scaled(0.02, zero + 2, dtype)
    check("QLinearGlobalAveragePool", operands, opset=13, domain=MS, steps=1)
    how = {"opset": 13, "domain": MS, "steps": 1, "kernel_shape": [3, 2], "strides": [2, 2]}
    check("QLinearAveragePool", operands, **how)
    check("QLinearAveragePool", operands, pads=[1, 0, 1, 1], **how)
    check("QLinearAveragePool", operands, pads=[1, 0, 1, 1], count_include_pad=1, **how)
    with pytest.raises(Refused, match="channels last"):
        run("QLinearGlobalAveragePool", operands, opset=13, domain=MS, channels_last=1)
