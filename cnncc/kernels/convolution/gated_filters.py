"""Filters times a gate: one number a channel of the input, known when the network runs.

x·g convolved with w is x convolved with w·g, with as many roundings of each product; where a panel
of filters is less than the map, it is the one to multiply.
"""

from __future__ import annotations

from cnncc.kernels.convolution.conv_nest import ConvNest
from cnncc.kernels.cost import vector_cycles
from cnncc.kernels.template import Arg, OperandArg, Site, scratch_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

_OPERATIONS = 5.0  # that a vector of filters takes: load, multiply, and a store as long as three


class GatedFilters:
    """A panel of gated filters in scratch memory, where the tiles of that panel read it.

    Attributes:
        args: of the parameters that it declares.
        panel: the buffer, in the order of the packed filters.
    """

    def __init__(self, b: Builder, nest: ConvNest, gate: int, elems: int) -> None:
        self._nest = nest
        self._gate = b.buffer("gate", extent=nest.site.blocked(gate).elems)
        self.panel, room = scratch_buffer(b, "gated", elems)
        self.args: list[Arg] = [OperandArg(gate), room]

    def multiply(self, b: Builder, panel: Index, elems: Index) -> None:
        """Gate the filters of a panel of so many elements, channel by channel."""
        nest, lanes = self._nest, self._nest.site.lanes
        width = nest.vectors * lanes
        first = b.imul(panel, elems)
        with b.loop(0, b.idiv(elems, width), hint="channel") as channels:
            gate = b.load_splat(self._gate, channels.iv, lanes)
            to = b.imul(channels.iv, width)
            at = b.iadd(first, to)
            for v in range(nest.vectors):
                filters = b.load(nest.w, at, lanes, offset=v * lanes)
                b.store(self.panel, to, b.binary("mul", filters, gate), offset=v * lanes)


def gating_cycles(site: Site, elems: float) -> float:
    """Predicted cycles of gating so many filters."""
    return vector_cycles(site, _OPERATIONS * elems / site.lanes)
