"""The fused operator is the composition of its steps, in value, type, cost and error bound."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.ir.op import UNIT_ROUNDOFF, NoAttrs
from cnncc.ir.types import f32
from cnncc.ops.activation import HardSwish, Relu
from cnncc.ops.conv import Conv2d, Conv2dAttrs
from cnncc.ops.fused import Fused, FusedAttrs, Step
from cnncc.ops.pool import AvgPool2d, AvgPool2dAttrs

CONV = Step("conv2d", Conv2dAttrs(pads=(1, 1, 1, 1)), (0, 1, 2))
POOL = AvgPool2dAttrs((2, 2), (2, 2))
TYPES = [f32(2, 3, 6, 6), f32(4, 3, 3, 3), f32(4), f32(2, 4, 6, 6)]
RESIDUAL = FusedAttrs(
    (
        CONV,
        Step("add", NoAttrs(), (~0, 3)),
        Step("relu", NoAttrs(), (~1,)),
        Step("avg_pool2d", POOL, (~2,)),
    )
)


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=t.shape).astype(np.float32).astype(np.float64) for t in TYPES]


def test_composition() -> None:
    x, w, b, skip = arrays()
    joined = Conv2d.reference([x, w, b], CONV.attrs) + skip
    expected = AvgPool2d.reference([Relu.reference([joined], NoAttrs())], POOL)
    np.testing.assert_array_equal(Fused.reference(arrays(), RESIDUAL), expected)
    assert Fused.infer(TYPES, RESIDUAL) == f32(2, 4, 3, 3)
    assert Fused.terms(TYPES, RESIDUAL) == 28


def test_cost_moves_only_what_enters_and_leaves() -> None:
    result = Fused.infer(TYPES, RESIDUAL)
    cost = Fused.cost(TYPES, result, RESIDUAL)
    assert cost.macs == 2 * 4 * 36 * 27
    assert cost.bytes == sum(t.size_bytes for t in TYPES) + result.size_bytes


def test_a_later_step_may_read_an_earlier_one_twice() -> None:
    attrs = FusedAttrs((CONV, Step("sigmoid", NoAttrs(), (~0,)), Step("mul", NoAttrs(), (~0, ~1))))
    y = Conv2d.reference(arrays()[:3], CONV.attrs)
    np.testing.assert_allclose(Fused.reference(arrays()[:3], attrs), y / (1 + np.exp(-y)))


def test_error_bound_composes() -> None:
    """The anchor's bound passes where a step lets values pass, and grows with its slope."""
    operands = arrays()[:3]
    alone = FusedAttrs((CONV,))
    y = Conv2d.reference(operands, CONV.attrs)
    anchor = Conv2d.rounding(operands, y, CONV.attrs)
    np.testing.assert_array_equal(Fused.rounding(operands, y, alone), anchor)
    relu = FusedAttrs((CONV, Step("relu", NoAttrs(), (~0,))))
    clear = np.abs(y) > anchor
    expected = np.where(y > 0, anchor, 0)[clear]
    np.testing.assert_allclose(Fused.rounding(operands, y, relu)[clear], expected, rtol=1e-6)
    swish = FusedAttrs((CONV, Step("hard_swish", NoAttrs(), (~0,))))
    z = HardSwish.reference([y], NoAttrs())
    own = HardSwish.rounding([y], z, NoAttrs())
    np.testing.assert_allclose(Fused.rounding(operands, z, swish), 1.5 * anchor + own)


def test_infinities_inside_leave_a_bound_behind_them() -> None:
    """tanh(tanh(Inf)) is a number again, which f32 rounds."""
    x, w, b, _ = arrays()
    x[0, 0, 2, 2] = np.inf
    attrs = FusedAttrs((CONV, Step("tanh", NoAttrs(), (~0,)), Step("tanh", NoAttrs(), (~1,))))
    expected = Fused.reference([x, w, b], attrs)
    bound = Fused.rounding([x, w, b], expected, attrs)
    assert np.all(bound > 1e-8)
    assert np.all(bound < 1e-4)
    assert not np.isnan(expected).any()


def test_bound_holds_and_is_tight() -> None:
    """A result in f32 arithmetic lies within the bound, which is no wider than 60 ulp of S."""
    operands = arrays()
    expected = Fused.reference(operands, RESIDUAL)
    bound = Fused.rounding(operands, expected, RESIDUAL)
    x, w, b, skip = (a.astype(np.float32) for a in operands)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.zeros((2, 4, 6, 6), np.float32) + b[:, None, None]
    for c, p, q in np.ndindex(3, 3, 3):
        y += padded[:, None, c, p : p + 6, q : q + 6] * w[:, c, p, q, None, None]
    y = np.maximum(y + skip, np.float32(0)).reshape(2, 4, 3, 2, 3, 2)
    pooled = y[:, :, :, 0, :, 0] + y[:, :, :, 0, :, 1] + y[:, :, :, 1, :, 0] + y[:, :, :, 1, :, 1]
    error = np.abs(pooled / np.float32(4) - expected)
    assert np.all(error <= bound)
    assert bound.max() < 60 * UNIT_ROUNDOFF * 27 * 2


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (CONV, CONV),
        (CONV, Step("conv2d", CONV.attrs, (1, ~0))),
        (CONV, Step("conv2d", CONV.attrs, (~0, ~0))),
        (CONV, Step("softmax", NoAttrs(), (~0,))),
        (CONV, Step("avg_pool2d", POOL, (~0,)), Step("relu", NoAttrs(), (~1,))),
        (CONV, Step("relu", NoAttrs(), (~1,))),
        (CONV, Step("add", NoAttrs(), (~0, 9))),
        (Step("fused", FusedAttrs((CONV,)), (0, 1, 2)),),
        (Step("constant", NoAttrs(), ()),),
    ],
)
def test_malformed_groups_are_internal_errors(steps: tuple[Step, ...]) -> None:
    with pytest.raises(InternalError):
        Fused.infer(TYPES, FusedAttrs(steps))
