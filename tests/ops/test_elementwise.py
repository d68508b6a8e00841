"""Joins: who may spread over whom, and how errors pass through."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import TensorType, f32
from cnncc.ops.elementwise import Add, Dropout, DropoutAttrs, Mul


@pytest.mark.parametrize("op", [Add, Mul])
def test_one_value_a_channel_spreads_from_either_side(op: type[Add | Mul]) -> None:
    wide, narrow = f32(2, 3, 4, 5), f32(2, 3, 1, 1)
    assert op.infer([wide, narrow], NoAttrs()) == wide
    assert op.infer([narrow, wide], NoAttrs()) == wide
    assert op.infer([narrow, narrow], NoAttrs()) == narrow


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (f32(1, 3, 4, 5), f32(1, 3, 4, 1)),
        (f32(1, 3, 4, 5), f32(1, 1, 1, 1)),
        (f32(1, 3), f32(1, 1)),
        (f32(1, 3, 4, 5), f32(3)),
        (f32(1, 3, 1, 1), f32(1, 3)),
    ],
)
def test_other_shapes_do_not_join(a: TensorType, b: TensorType) -> None:
    for pair in ([a, b], [b, a]):
        with pytest.raises(TypeInferenceError, match="`add` wants equal shapes"):
            Add.infer(pair, NoAttrs())


def test_errors_of_a_product() -> None:
    a, b = np.array([[3.0]]), np.array([[-5.0]])
    errors = [np.array([[0.5]]), np.array([[0.25]])]
    assert Mul.propagate([a, b], errors, NoAttrs()).item() == 3 * 0.25 + 5 * 0.5 + 0.125
    assert Add.propagate([a, b], errors, NoAttrs()).item() == 0.75


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_rate(rate: float) -> None:
    with pytest.raises(TypeInferenceError, match="rate"):
        Dropout.infer([f32(1, 3)], DropoutAttrs(rate))
