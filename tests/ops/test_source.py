"""Inputs, constants and the preprocessing of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import InternalError, TypeInferenceError
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.source import (
    Constant,
    ConstantAttrs,
    Input,
    InputAttrs,
    Normalize,
    NormalizeAttrs,
)


def test_input_has_its_declared_type() -> None:
    attrs = InputAttrs(DType.U8, (1, 3, 4, 5), "hwc", "rgb")
    assert Input.infer([], attrs) == TensorType(DType.U8, (1, 3, 4, 5))


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        (InputAttrs("i64", (1, 3)), "got i64"),  # type: ignore[arg-type]
        (InputAttrs(DType.F32, (1, 3), "nhwc"), "hwc, chw"),
        (InputAttrs(DType.F32, (1, 3), "hwc", "hsv"), "rgb, bgr, gray"),
        (InputAttrs(DType.F32, (1,) * 9), "up to 8 axes"),
        (InputAttrs(DType.F32, (1, 0)), "whole numbers from 1"),
        (InputAttrs(DType.F32, (1, 2**20, 2**20)), "elements"),
    ],
)
def test_input_refuses(attrs: InputAttrs, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        Input.infer([], attrs)
    assert words in caught.value.message


def test_sources_are_never_computed() -> None:
    with pytest.raises(InternalError, match="comes from the caller"):
        Input.reference([], InputAttrs(DType.F32, (1, 3)))
    with pytest.raises(InternalError, match="`w` is that of its array"):
        Constant.reference([], ConstantAttrs("w"))
    with pytest.raises(InternalError, match="`w` is that of its array"):
        Constant.infer([], ConstantAttrs("w"))


def test_normalize_is_per_channel_after_scaling() -> None:
    x = np.array([[51, 102]], np.uint8)
    attrs = NormalizeAttrs(1 / 255, (0.1, 0.2), (0.5, 0.25))
    np.testing.assert_allclose(Normalize.reference([x], attrs), [[0.2, 0.8]], rtol=1e-14)
    assert Normalize.infer([TensorType(DType.U8, (1, 2))], attrs) == f32(1, 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((1.0, (0.0,), (1.0, 1.0, 1.0)), "mean of 3 values"),
        ((1.0, (0.0,) * 3, (1.0, 0.0, 1.0)), "std without 0"),
        ((float("inf"), (0.0,) * 3, (1.0,) * 3), "scale"),
        ((1.0, (float("nan"),) * 3, (1.0,) * 3), "mean"),
    ],
)
def test_normalize_refuses(fields: tuple[Any, ...], words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        Normalize.infer([f32(1, 3, 2, 2)], NormalizeAttrs(*fields))
    assert words in caught.value.message
