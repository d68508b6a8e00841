"""A map times a gate, then a 1x1 convolution: the gate is multiplied into the filters.

That is how squeeze-and-excitation ends. The map is neither read nor written once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from cnncc.kernels.convolution.conv_direct import ConvDirect, tiles_launch
from cnncc.kernels.convolution.conv_geometry import conv_geometry
from cnncc.kernels.convolution.gated_filters import gating_cycles
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Estimate, Kernel, Launch, Site

_MAP = ~0  # the gated one, to the steps


class ConvGated(Kernel):
    """Work items are those of `conv_direct`; the first of a panel gates that panel's filters."""

    name: ClassVar[str] = "conv_gated"
    anchors: ClassVar[frozenset[str]] = frozenset({"mul"})
    by_shape: ClassVar[bool] = True
    switch: ClassVar[str] = "gates"

    def refuses(self, site: Site) -> str:
        reason = _refuses_steps(site)
        return reason or ConvDirect().refuses(_alone(site)) or _refuses_gate(site)

    def estimate(self, site: Site) -> Estimate:
        alone = _alone(site)
        g = conv_geometry(alone)
        made = ConvDirect().estimate(alone)
        elems = float(g.depth.channels * g.out_blocks * alone.lanes)
        seconds = gating_cycles(alone, elems) / site.target.machine.hertz
        return replace(made, seconds=made.seconds + seconds)

    def picks(self, site: Site) -> int:
        return ConvDirect().picks(_alone(site))

    def lower(self, site: Site) -> list[Launch]:
        return [tiles_launch(self.name, _alone(site), _gate(site))]


def _gate(site: Site) -> int:
    """The operand [1,C,1,1] of the product; -1 where there is none."""
    found = [a for a in site.anchor.args if a >= 0 and site.types[a].shape[2:] == (1, 1)]
    return found[-1] if found else -1


def _alone(site: Site) -> Site:
    """The convolution and what follows it, as if it read the map itself."""
    (x,) = set(site.anchor.args) - {_gate(site)}
    conv, *behind = site.steps[1:]
    steps = [replace(conv, args=(x, *conv.args[1:]))]
    # A result of a step is ~k, and all steps have come one place forward.
    steps += [replace(s, args=tuple(a if a >= 0 else a + 1 for a in s.args)) for s in behind]
    return replace(site, steps=tuple(steps))


def _refuses_steps(site: Site) -> str:
    first, *others = site.steps
    if first.op != "mul" or not others or others[0].op != "conv2d" or others[0].args[0] != _MAP:
        return "no convolution reads the product"
    if any(_MAP in step.args for step in others[1:]):
        return "the product is read again"
    conv, gate = others[0], _gate(site)
    if conv.attrs.groups != 1 or site.types[conv.args[1]].shape[2:] != (1, 1):
        return "computes 1x1 convolutions of one group"
    constant = any(site.constants[a] is not None for a in first.args)
    if len(set(first.args)) != 2 or gate < 0 or constant:
        return "gates a map by a value [1,C,1,1]"
    return ""


def _refuses_gate(site: Site) -> str:
    """How the gate does not suit the filters of a convolution that can be done."""
    alone, gate = _alone(site), site.layouts[_gate(site)]
    source, depth = alone.blocked(alone.anchor.args[0]), conv_geometry(alone).depth
    if not isinstance(gate, Layout) or gate.block != source.block:
        return "the gate has other blocks than the map"
    if gate.segments != source.segments:
        return "the gate has other segments than the map"
    if gate.elems != gate.blocks * gate.block:
        return "the gate has a halo"
    if depth.columns(source.block) != list(range(depth.channels)):
        return "channels are left out between others"
    return ""
