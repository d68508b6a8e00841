"""Convolutions with groups of a few channels, several of which share a block.

Each lane of a vector of output channels belongs to one group and multiplies that group's input
channels only: for each of them a shuffle brings every lane its own one. So no lane is empty, none
multiplies by zero, and values keep their blocks; a NaN stays in its group.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_direct import tile_estimate
from cnncc.kernels.convolution.conv_geometry import conv_geometry, conv_halo, refuses_operands
from cnncc.kernels.convolution.conv_nest import ConvNest, conv_place, store_pixel
from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile
from cnncc.kernels.convolution.tile_loops import for_numbered_tile
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Estimate, Kernel, Launch, Site, out_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

# A multiply-add with its shuffle, in multiply-adds: for groups of 4 a load shuffles on its way.
_SHUFFLE = {2: 1.1, 4: 1.1, 8: 1.5}


def groups_in_lanes(segments: tuple[int, ...], lanes: int, inputs: int, outputs: int) -> bool:
    """Whether blocks hold whole groups of so many input and output channels, several of them."""
    fits = inputs == outputs and inputs in _SHUFFLE and inputs < lanes
    return fits and all(size % inputs == 0 for size in segments)


class ConvGrouped(Kernel):
    """One work item is one tile of pixels for one block of channels; blocks outermost."""

    name: ClassVar[str] = "conv_grouped"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        if site.ends_in_pool:
            return "does not pool"
        types = [site.types[a] for a in site.anchor.args]
        reason = refuses_operands(
            site, conv_halo(site.anchor.attrs, types[0], types[1], site.result)
        )
        if reason:
            return reason
        source, out = site.blocked(x), site.blocked_out
        if source.block != site.lanes or source.segments != out.segments:
            return f"needs blocks of {site.lanes} channels and equal segments"
        outputs = site.types[w].shape[0] // site.anchor.attrs.groups
        if not groups_in_lanes(source.segments, site.lanes, site.types[w].shape[1], outputs):
            return "a block does not hold several whole groups"
        return ""

    def estimate(self, site: Site) -> Estimate:
        return tile_estimate(site, _tile_choice(site), 1)

    def lower(self, site: Site) -> list[Launch]:
        g, tile = conv_geometry(site), _tile_choice(site).tile
        nest = ConvNest(site, 1, groups=site.blocked_out.blocks)
        group = site.types[site.anchor.args[1]].shape[1]
        elems = group * g.kernel[0] * g.kernel[1] * site.lanes

        def pack(site: Site) -> NDArray[np.float32]:
            filters = np.asarray(site.constant(site.anchor.args[1]), np.float32)
            return pack_groups(filters, site.blocked_out)

        b = Builder(self.name)
        args = nest.declare(b, site.packed(nest.panels * elems, pack), elems, tile)
        out, out_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        tiles = tile.count(g.rows, g.columns)
        with b.loop(lo, hi, hint="item") as items:
            panel, number = b.idiv(items.iv, tiles), b.irem(items.iv, tiles)

            def body(part: Tile, y: Index, x: Index) -> None:
                base = nest.out.index(b, panel, y, x)

                def store(row: int, column: Index, values: list[Value]) -> None:
                    store_pixel(b, (out, base), nest.out, (row, column), values)

                place = conv_place(b, nest, g, panel, y, x, 1)
                place = replace(place, taps=replace(place.taps, group=group))
                nest.tile(b, part, panel, place, store)

            for_numbered_tile(b, g.rows, g.columns, tile, number, body)
        return [Launch(b.func, (*args, out_arg), nest.panels * tiles)]


def _tile_choice(site: Site) -> TileChoice:
    """A tile of one vector that leaves registers for a group's filters and shuffled pixels."""
    g, group = conv_geometry(site), site.types[site.anchor.args[1]].shape[1]
    room = max(6, site.target.vector_registers // 2 - group)
    choice = choose_tile(
        site.target,
        g.rows,
        g.columns,
        site.blocked_out.blocks,
        group * g.kernel[0] * g.kernel[1],
        most_vectors=1,
        most_pixels=room,
    )
    slower = _SHUFFLE[group]
    return replace(choice, cycles=choice.cycles * slower, utilisation=choice.utilisation / slower)


def pack_groups(w: NDArray[np.float32], out: Layout) -> NDArray[np.float32]:
    """Filters [C,c,kh,kw] as `[block][kh][kw][channel of the group][lane]`."""
    lanes = np.zeros((out.blocks * out.block, *w.shape[1:]), np.float32)
    lanes[out.channel_slots] = w
    blocks = lanes.reshape(out.blocks, out.block, *w.shape[1:])
    return np.ascontiguousarray(blocks.transpose(0, 3, 4, 2, 1))
