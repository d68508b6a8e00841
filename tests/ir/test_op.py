"""The registry, and the units that error bounds are made of."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.ir.op import NoAttrs, Op, lookup, register, ulp
from cnncc.ir.types import f32
from cnncc.ops.activation import Relu


def test_lookup_of_unknown_names() -> None:
    with pytest.raises(InternalError, match="no operator is called `convolve`"):
        lookup("convolve")


def test_names_are_unique() -> None:
    class Impostor(Op):
        name = "relu"

    register(Relu)
    with pytest.raises(InternalError, match="two operators are called `relu`"):
        register(Impostor)


def test_an_operator_without_rules_says_so() -> None:
    class Bare(Op):
        name = "bare"

    for call in (
        lambda: Bare.infer([], NoAttrs()),
        lambda: Bare.reference([], NoAttrs()),
        lambda: Bare.scalar(None, [], NoAttrs()),  # type: ignore[arg-type]
    ):
        with pytest.raises(InternalError, match="operator without"):
            call()
    assert Bare.cost([f32(2, 3)], f32(2, 3), NoAttrs()).bytes == 48


def test_ulp_is_the_spacing_of_f32() -> None:
    values = np.array([1.0, -1.5, 2.0, 1e-3, 3e38, 2.0**-126, 2.0**-140, 0.0])
    expected = np.abs(np.spacing(values.astype(np.float32)).astype(np.float64))
    np.testing.assert_array_equal(ulp(values), expected)
    assert ulp(np.array([np.inf, np.nan])).tolist() == [2.0**104, 2.0**-149]
