"""The nest of seven products: how much code it is, and which layers have it together.

What it computes is tested with its kernel.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnncc.kernels.strassen.conv_strassen import ConvStrassen
from cnncc.loopir.nodes import BufferType, For
from cnncc.loopir.text import canonical_text
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv
from tests.kernels.harness import walk

WIDE = find("x86-64-v4")


def nest(ins, size=(14, 14)):
    """The function of a layer of so many input blocks."""
    conv = Conv((ins * WIDE.lanes(), *size), 128, (1, 1), Conv2dAttrs())
    (launch,) = ConvStrassen().lower(conv.site(WIDE))
    return launch.func


def code(func):
    """Its text without what is no part of the code."""
    for param in func.params:
        if isinstance(param.type, BufferType):
            param.type = replace(param.type, extent=None)
    return canonical_text(func)


def test_layers_of_one_shape_share_code_whatever_their_depth():
    assert code(nest(18)) == code(nest(22)) == code(nest(24))
    assert code(nest(8)) == code(nest(16))  # a single piece


@pytest.mark.parametrize("size", [(4, 14), (14, 14)])
def test_products_share_code(size):
    """Each tile has one of inputs and one of sums, whose pieces share theirs."""
    func = nest(18, size)
    tiles = [s for s in walk(func.body) if isinstance(s, For) and s.iv.hint == "product"]
    assert tiles
    for tile in tiles:
        turns = [s for s in walk(tile.body) if isinstance(s, For) and s.iv.hint == "ic"]
        assert len(turns) == 2
