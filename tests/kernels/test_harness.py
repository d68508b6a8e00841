"""The harness sees each broken promise: kernels that are wrong in one way each."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir.op import NoAttrs
from cnncc.kernels.maps.pointwise import Pointwise
from cnncc.kernels.template import Estimate, Kernel, Launch, OperandArg, ResultArg
from cnncc.loopir.build import Builder
from cnncc.targets import find
from tests.kernels.harness import blocked, check, make_site

X = np.random.default_rng(0).standard_normal((1, 5, 2, 3)).astype(np.float32)
LAYOUT = blocked(X.shape, 4, halo=(1, 1, 1, 1))


class Copying(Kernel):
    """`identity` row by row, with a fault to choose."""

    name = "copying"
    anchors = frozenset({"identity"})

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def refuses(self, site):
        return ""

    def estimate(self, site):
        return Estimate(1e-6, "", {})

    def lower(self, site):
        layout, b = site.blocked_out, Builder("copying")
        x = b.buffer("x", extent=layout.elems, writable=self.fault == "operand")
        out = b.buffer("out", extent=layout.elems, writable=True)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        first = -1 if self.fault == "halo" else 0
        extra = 40 if self.fault == "bounds" else 0
        with b.loop(lo, hi, hint="item") as items:
            block, row = b.idiv(items.iv, layout.height), b.irem(items.iv, layout.height)
            with b.loop(first, layout.width, hint="x") as columns:
                at = layout.index(b, block, row, columns.iv)
                value = b.load(x, at, 4, offset=extra)
                if self.fault == "number":
                    value = b.binary("mul", value, b.splat(b.const(1.0000001), 4))
                if self.fault == "lanes":
                    value = b.binary("max", value, b.splat(b.const(-1e-9), 4))
                    value = b.binary("sub", value, b.splat(b.const(1e-9), 4))
                if self.fault == "split":
                    turn = b.convert(b.isub(items.iv, lo), x.type.kind)
                    value = b.binary("add", value, b.splat(turn, 4))
                b.store(out, at, value)
                if self.fault == "operand":
                    b.store(x, at, value, offset=1)
        return [Launch(b.func, (OperandArg(0), ResultArg()), layout.blocks * layout.height)]


def site():
    return make_site("identity", NoAttrs(), [X], [LAYOUT], LAYOUT, find("sse2"))


def test_sound():
    check(Copying(""), site(), [X])
    check(Pointwise(), site(), [X])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("number", "value differs"),
        ("lanes", "padding lanes"),
        ("halo", "halo elements"),
        ("split", "differ for split"),
        ("operand", "operand 0 was written"),
        ("bounds", "elements"),
    ],
)
def test_fault_is_seen(fault, message):
    with pytest.raises(AssertionError, match=message):
        check(Copying(fault), site(), [X])
