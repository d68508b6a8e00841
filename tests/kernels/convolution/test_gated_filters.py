"""Gated filters: a panel's packed filters times the gate of their channel, and what that costs."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_nest import ConvNest
from cnncc.kernels.convolution.filter_panels import pack_panels
from cnncc.kernels.convolution.gated_filters import GatedFilters, gating_cycles
from cnncc.kernels.template import OperandArg, ScratchArg
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.ops.conv import Conv2dAttrs
from tests.kernels.conv_sites import numbers
from tests.kernels.harness import blocked, each_target, make_site, pack


def site(target, channels=18, filters=40):
    """A 1x1 convolution of one pixel, which can be a gate as well."""
    arrays = [numbers(1, channels, 1, 1), numbers(filters, channels, 1, 1, seed=1)]
    layouts = [blocked(arrays[0].shape, target.lanes()), None]
    out = blocked((1, filters, 1, 1), target.lanes())
    return make_site("conv2d", Conv2dAttrs(), arrays, layouts, out, target), arrays


@pytest.mark.parametrize("panel", [0, 2])
@each_target
def test_a_panel(panel, target):
    conv, arrays = site(target)
    gate = numbers(1, 18, 1, 1, seed=2)
    layout = blocked(gate.shape, target.lanes())
    nest, b = ConvNest(conv, 1), Builder("gated")
    weights, elems = nest.panel_filters()
    nest.declare(b, weights, elems)
    made = GatedFilters(b, nest, 0, elems)
    made.multiply(b, panel, elems)
    packed = pack_panels(arrays[1], nest.source, nest.out, 1, 1).reshape(-1, elems)
    result = np.zeros(elems, np.float32)
    given = {"x": np.zeros(nest.source.elems, np.float32), "weights": packed.reshape(-1)}
    given |= {"gate": pack(layout, gate), "gated": result}
    buffers = [given.get(p.hint, np.zeros(64, np.float32)) for p in b.func.params]
    interp.run(b.func, buffers)
    lanes = target.lanes()
    expected = packed[panel].reshape(-1, lanes).copy()
    expected[:18] *= gate.reshape(-1, 1)
    np.testing.assert_array_equal(result.reshape(-1, lanes)[:18], expected[:18])
    assert made.args == [OperandArg(0), ScratchArg(elems)]


@each_target
def test_the_cost_is_that_of_the_filters(target):
    conv, _ = site(target)
    assert gating_cycles(conv, 640.0) == pytest.approx(2 * gating_cycles(conv, 320.0))
    assert 2 <= gating_cycles(conv, float(target.lanes())) <= 4
