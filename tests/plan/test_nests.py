"""Loop nests of a program: like nodes are lowered once, with constants of their own."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.template import PackedArg, Packing
from cnncc.ops.conv import Conv2dAttrs
from cnncc.plan.nests import Nests
from tests.kernels.conv_sites import Conv
from tests.passes.nets import Net
from tests.plan.planning import SSE, check

PADS = {"pads": (1, 1, 1, 1)}
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))


class Counting(ConvDirect):
    """Counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def lower(self, site):
        self.asked += 1
        return super().lower(site)


def conv(**more):
    return Conv((5, 6, 7), 9, attrs=SAME, halo=(1, 1, 1, 1), **more)


def test_like_sites_are_lowered_once():
    kernel, seen = Counting(), []
    nests = Nests(lambda func, text: seen.append(func.name))
    first, other = (nests.of(kernel, conv(seed=seed).site(SSE)) for seed in (1, 2))
    assert kernel.asked == 1
    assert first is other
    assert seen == [first[0].name] == list(nests.funcs) == list(nests.texts)


@pytest.mark.parametrize("change", [{"bias": False}, {"halo": (1, 2, 1, 2)}])
def test_sites_that_differ_otherwise_are_not(change):
    kernel, nests = Counting(), Nests()
    nests.of(kernel, conv().site(SSE))
    different = Conv(**{"x": (5, 6, 7), "filters": 9, "attrs": SAME, "halo": (1, 1, 1, 1)} | change)
    nests.of(kernel, different.site(SSE))
    assert kernel.asked == 2


def test_constants_are_those_of_each_site():
    nests, kernel = Nests(), ConvDirect()
    for seed in (1, 2):
        site = conv(seed=seed).site(SSE)
        (nest,) = nests.of(kernel, site)
        (alone,) = kernel.lower(site)
        pairs = zip(nest.launch.args, alone.args, strict=True)
        packed = [(one.of(site), other) for one, other in pairs if isinstance(one, Packing)]
        assert packed
        for one, other in packed:
            assert isinstance(other, PackedArg)
            assert one.array.tobytes() == other.array.tobytes()


def test_a_network_of_like_layers_is_right():
    net = Net()
    x = net.input(1, 8, 6, 6)
    for _ in range(4):
        x = net.add("relu", net.conv(x, 8, 3, **PADS))
    y = net.add("flatten", x)
    for _ in range(3):
        y = net.dense(y, 288)
    check(net.outputs(y))


def test_a_kernel_that_reads_numbers_is_found():
    class Reading(ConvDirect):
        def lower(self, site):
            site.constant(site.anchor.args[1])
            return super().lower(site)

    with pytest.raises(InternalError, match="packed later"):
        Nests().of(Reading(), conv().site(SSE))


def test_constants_of_another_size_are_found():
    site = conv().site(SSE)
    with pytest.raises(InternalError, match="3 packed numbers instead of 4"):
        Packing(4, lambda _: np.zeros(3, np.float32)).of(site)
