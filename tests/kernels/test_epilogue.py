"""Epilogues: addressing of operands, the rule about zeros, masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.ops.activation import ClipAttrs
from tests.kernels.conv_sites import Conv, chain, numbers
from tests.kernels.harness import TARGETS, blocked

TARGET = TARGETS[0]

KEEPS = {
    ("relu",): True,
    ("tanh",): True,
    ("add", "mul"): True,
    ("prelu",): True,
    ("silu", "hard_swish", "gelu", "mish", "elu", "leaky_relu"): True,
    (("clip", ClipAttrs(-1.0, 1.0)),): True,
    ("sigmoid",): False,
    ("softplus",): False,
    ("hard_sigmoid",): False,
    (("clip", ClipAttrs(0.5, 1.0)),): False,
    ("sigmoid", "mul"): True,  # a gate's padding lanes are zero
    ("sigmoid", "add"): False,
}


def site_with(names, **more):
    count = sum(n in ("add", "mul", "prelu") for n in names)
    shapes = [(5,) if n == "prelu" else (1, 5, 2, 2) for n in names if n in ("add", "mul", "prelu")]
    extras = tuple(numbers(*s, seed=i) for i, s in enumerate(shapes))
    assert len(extras) == count
    conv = Conv((3, 2, 2), 5, (1, 1), steps=chain(3, *names), extras=extras, **more)
    return conv.site(TARGET)


@pytest.mark.parametrize("names", KEEPS)
def test_keeps_zero(names):
    assert Epilogue(site_with(names)).keeps_zero is KEEPS[names]


def test_operands_in_order_of_use():
    site = site_with(("add", "relu", "mul"))
    assert Epilogue(site).operands == [3, 4]
    assert Epilogue(site, last=-1).operands == [3]
    assert Epilogue(site, first=3).operands == [4]


def apply_at(site, block, y, x, **offsets):
    """The epilogue on a vector of ones at a place, run on the packed operands."""
    epilogue = Epilogue(site)
    b = Builder("f")
    epilogue.declare(b)
    out = b.buffer("out", writable=True)
    epilogue.open(b, block, y, x)
    value = epilogue.apply(b, b.splat(b.const(1.0), site.lanes), **offsets)
    b.store(out, 0, value)
    return b.func, epilogue


def test_addresses():
    """A residual is read at the pixel, a gate at its only one, a slope by channel."""
    site = Conv(
        (3, 3, 3),
        5,
        (1, 1),
        steps=chain(3, "add", "mul", "prelu"),
        extras=(numbers(1, 5, 3, 3), -np.abs(numbers(1, 5, 1, 1)), numbers(5)),
        out_halo=(1, 2, 0, 1),
    ).site(TARGET)
    conv_extras = (numbers(1, 5, 3, 3), -np.abs(numbers(1, 5, 1, 1)), numbers(5))
    func, epilogue = apply_at(site, 0, 1, 0, blocks=1, rows=1, columns=2)
    buffers = [
        site.blocked(arg.operand).pack(conv_extras[arg.operand - 3][0])
        if hasattr(arg, "operand")
        else arg.array
        for arg in epilogue.args
    ]
    out = np.zeros(site.lanes, np.float32)
    interp.run(func, [*buffers, out])
    residual, gate, slope = conv_extras
    total = (1 + residual[0, 4, 2, 2]) * gate[0, 4, 0, 0]
    assert out[0] == np.float32(max(total, 0) + slope[4] * min(total, 0))
    assert not out[1:].any()  # block 1 has one channel


def test_operations_are_those_of_a_vector():
    assert Epilogue(site_with(())).operations == 0
    assert Epilogue(site_with(("add",))).operations == 1
    assert not Epilogue(site_with(("add", "relu"))).is_long
    assert Epilogue(site_with(("add", "gelu"))).is_long


def test_other_segments_are_refused():
    site = site_with(("add",))
    other = replace(site, layouts=(*site.layouts[:3], blocked((1, 5, 2, 2), 4, segments=(2, 3))))
    with pytest.raises(InternalError, match="other segments"):
        Epilogue(other).declare(Builder("f"))


def test_mask():
    for needed, segments in ((True, (3, 2)), (True, (4,)), (False, (3,))):
        channels = sum(segments)
        site = Conv((3, 1, 1), channels, (1, 1), out_segments=segments).site(TARGET)
        mask = LaneMask(site, needed=needed)
        b = Builder("f")
        mask.declare(b)
        out = b.buffer("out", writable=True)
        seven = b.splat(b.const(7.0), 4)
        b.store(out, 0, mask.apply(b, seven, site.blocked_out.blocks - 1, otherwise=-1.0))
        result = np.zeros(4, np.float32)
        interp.run(b.func, [*(a.array for a in mask.args), result])
        padded = needed and channels % 4
        assert mask.needed == bool(padded)
        expected = [7, 7, -1, -1] if padded else [7, 7, 7, 7]
        assert result.tolist() == expected
