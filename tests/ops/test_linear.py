"""Dense layers' type rule and cost."""

from __future__ import annotations

import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import TensorType, f32
from cnncc.ops.linear import Dense


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ([f32(1, 32, 6, 6), f32(4, 32)], "`x` of rank 2 ([N,K]), got f32[1,32,6,6]"),
        ([f32(1, 32), f32(32, 4)], "wants w [O,32] for x f32[1,32], got f32[32,4]"),
        ([f32(1, 32), f32(4, 32), f32(32)], "`b` of shape [4]"),
        ([f32(1, 32)], "2 to 3 operands"),
    ],
)
def test_refused(types: list[TensorType], words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        Dense.infer(types, NoAttrs())
    assert words in caught.value.message


def test_cost() -> None:
    types = [f32(2, 32), f32(4, 32), f32(4)]
    result = Dense.infer(types, NoAttrs())
    assert Dense.cost(types, result, NoAttrs()).macs == 2 * 4 * 32
    assert Dense.terms(types, NoAttrs()) == 33
