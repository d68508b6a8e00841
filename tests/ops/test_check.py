"""Checks say what was found and what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.types import f32
from cnncc.ops import check
from cnncc.ops.activation import Relu


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check.integer(Relu, "k", 1.0, 0), "k to be a whole number from 0, got 1.0"),
        (lambda: check.integer(Relu, "k", 2**31, 0), "got 2147483648"),
        (
            lambda: check.integers(Relu, "k", [1, 2], 2, 0),
            "k of 2 whole numbers from 0, got [1, 2]",
        ),
        (lambda: check.finite(Relu, "a", True), "a to be a finite number, got True"),
        (lambda: check.flag(Relu, "f", 1), "f to be true or false, got 1"),
        (lambda: check.choice(Relu, "m", "x", ("a", "b")), "m to be one of a, b, got 'x'"),
        (lambda: check.axis(Relu, 2, f32(1, 3)), "axis from 0 to 1 for f32[1,3], got 2"),
        (lambda: check.vector(Relu, f32(3), 4, "b"), "`b` of shape [4], got f32[3]"),
        (lambda: check.channelled(Relu, f32(3)), "[N,C,H,W] or a vector [N,K], got f32[3]"),
        (lambda: check.arity(Relu, []), "takes 1 operands, got 0"),
    ],
)
def test_messages(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        call()
    assert message in caught.value.message
    assert "`relu`" in caught.value.message
