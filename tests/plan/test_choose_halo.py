"""Halos: the widest that a reader needs, one for all buffers that a value is picked out of."""

from __future__ import annotations

import pytest

from cnncc.kernels.layout import Layout
from cnncc.plan.choose_halo import widest
from cnncc.targets import find
from tests.passes.nets import Net
from tests.plan.planning import check, laid_out

SAME = {"pads": (1, 1, 1, 1)}


def test_the_widest_halo_wins():
    net = Net()
    x = net.add("tanh", net.input(1, 4, 6, 6))
    ends = [
        net.conv(x, 2, 3, **SAME),
        net.conv(x, 2, 5, pads=(2, 0, 0, 0)),
        net.conv(x, 2, 1),
        net.deconv(x, 2, 3, strides=(2, 2)),
    ]
    plan = check(net.outputs(*ends))
    tanh = next(n for _, n in plan.graph.nodes() if n.op == "tanh")
    assert tanh.notes["layout"].halo == (2, 1, 1, 1)


def test_zones_of_taps_need_none_but_other_readers_do():
    wide = {"pads": (6,) * 4, "dilations": (6, 6)}
    for others, want in ((), (0, 0, 0, 0)), ((1,), (1, 1, 1, 1)):
        net = Net()
        x = net.add("tanh", net.input(1, 32, 8, 8))
        ends = [net.conv(x, 32, 3, **wide), *(net.conv(x, 32, 3, pads=(p,) * 4) for p in others)]
        plan = check(net.outputs(*ends))
        tanh = next(n for _, n in plan.graph.nodes() if n.op == "tanh")
        assert all(
            have >= least for have, least in zip(tanh.notes["layout"].halo, want, strict=True)
        )
        assert max(tanh.notes["layout"].halo) < 6
        kernels = [n.notes["kernel"] for _, n in plan.graph.nodes() if n.notes.get("kernel")]
        assert "conv_zones" in kernels


@pytest.mark.parametrize("filters", [1, 3, 4, 20])
@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_results_in_other_blocks_have_a_kernel(filters, target):
    """Few filters at the end of a network give planes or narrow blocks, which zones refuse."""
    net = Net()
    x = net.add("tanh", net.input(1, 32, 8, 8))
    check(net.outputs(net.conv(x, filters, 3, pads=(6,) * 4, dilations=(6, 6))), find(target))


def test_values_without_such_readers_have_none():
    net = Net()
    x = net.add("tanh", net.input(1, 4, 6, 6))
    graph = laid_out(net.outputs(net.pool(x, 3, 1, 1), net.add("relu", x)))
    assert not any(
        any(n.notes["layout"].halo)
        for _, n in graph.nodes()
        if isinstance(n.notes["layout"], Layout)
    )


def test_the_widest_holds_all():
    assert widest((1, 0, 2, 0), (0, 3, 1, 0)) == (1, 3, 2, 0)
