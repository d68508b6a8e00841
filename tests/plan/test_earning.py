"""Kernels that earn their code: together, for the whole network, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.template import Estimate
from cnncc.ops.conv import Conv2dAttrs
from cnncc.plan.earning import Offered, earning
from tests.kernels.conv_sites import Conv
from tests.passes.nets import Net
from tests.plan.planning import SSE, by, plan_of

SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
KB = 1 << 10


class Sized(ConvDirect):
    """A kernel of that name and length."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def code_bytes(self, site):
        return self.size


SHORT, LONG = Sized("short", 2 * KB), Sized("long", 12 * KB)


def offered(node_id, channels, quick, slow, choice="so"):
    """A node that a long kernel does in so many microseconds, and a short one in others."""
    site = Conv((channels, 6, 7), 9, attrs=SAME).site(SSE)
    offers = [(LONG, Estimate(quick * 1e-6, choice, {})), (SHORT, Estimate(slow * 1e-6, "s", {}))]
    return Offered(node_id, site, offers, [])


def taken(*sites):
    return [found.offers[0][0].name for found in earning(sites)]


def test_what_saves_little_of_the_network_does_not_earn_much_code():
    # 10 KiB more cost 0.15 % of the network's 10,000 us.
    rest = offered(0, 5, 9000, 90000)
    assert taken(rest, replace(offered(1, 5, 986, 1000), site=other())) == ["long", "short"]
    assert taken(rest, replace(offered(1, 5, 984, 1000), site=other())) == ["long", "long"]


def other():
    """A site whose result has another shape."""
    return Conv((5, 9, 8), 9, attrs=SAME).site(SSE)


def test_likes_are_judged_together_whatever_their_depth():
    rest = replace(offered(0, 5, 9000, 90000), site=other())
    assert taken(rest, offered(1, 5, 490, 500)) == ["long", "short"]
    assert taken(rest, offered(1, 5, 490, 500), offered(2, 8, 490, 500)) == ["long", *["long"] * 2]
    apart = offered(2, 8, 490, 500, choice="otherwise")
    assert taken(rest, offered(1, 5, 490, 500), apart) == ["long", "short", "short"]


def test_a_short_network_earns_any_code():
    assert taken(offered(0, 5, 1, 1.5)) == ["long"]


def test_nodes_keep_all_their_offers():
    rest, little = offered(0, 5, 9000, 90000), replace(offered(1, 5, 999, 1000), site=other())
    for found, before in zip(earning([rest, little]), (rest, little), strict=True):
        assert sorted(k.name for k, _ in found.offers) == ["long", "short"]
        assert (found.node_id, found.site) == (before.node_id, before.site)


@pytest.mark.parametrize("quick", [True, False])
def test_the_record_says_when_a_quicker_kernel_is_too_long(monkeypatch, quick):
    if quick:
        monkeypatch.setattr("cnncc.plan.earning._PRICE", 1e3)
    net = Net()
    x = net.conv(net.input(1, 32, 24, 24), 32, 3, pads=(1, 1, 1, 1))
    graph = plan_of(net.outputs(x)).graph
    (decision,) = [d for d in by(graph, "choose-kernel") if "conv" in d.subject]
    assert ("too little of the network's time for so much code" in decision.reason) is quick
    assert ("conv_winograd" in decision.choice) is not quick
