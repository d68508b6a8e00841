"""Convolution with fewer multiplications, after Winograd, Toom and Cook.

A work item is one panel of output channels of one block of tiles. Its steps stay in the caches:
the inputs of the block are transformed into this thread's scratch memory (once for all panels that
the thread computes in a row), each plane is multiplied by its filters with the micro-kernel of all
convolutions, tiles playing pixels, and the products are transformed back, with bias, epilogue and
pool, and stored. Filters are transformed in f64 at compile time.

A NaN, an infinity or a number near overflow in an input reaches all results of the tiles that read
it, not only of the windows that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cnncc.ir.op import F64, Array
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.convolution.conv_geometry import conv_geometry, refuses_layouts
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO, Halo, Layout
from cnncc.kernels.pool_behind import pool_of
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.kernels.winograd.cook_toom import transform_places
from cnncc.kernels.winograd.tile_rounding import dilations_of, tile_rounding
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradChoice, WinogradShape
from cnncc.kernels.winograd.winograd_nest import WinogradNest
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets.target import Target


class ConvWinograd(Kernel):
    """One work item is one panel of output channels of one block of tiles of one group."""

    name: ClassVar[str] = "conv_winograd"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        reason = refuses_layouts(site, NO_HALO) or self._refuses_geometry(site)
        if reason:
            return reason
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread over its tile"
        return "" if self._choices(site) else "the halo does not hold whole tiles"

    @staticmethod
    def _refuses_geometry(site: Site) -> str:
        if site.blocked(site.anchor.args[0]).block != site.lanes:
            return "the input's blocks are narrow"
        if site.ends_in_pool and pool_of(site).overlaps:
            return "pooling windows overlap or hang over the edge"
        if not winograd_choices(site.target, winograd_shape(site)):
            return "no transform saves multiplications of such windows and strides"
        return ""

    @staticmethod
    def _choices(site: Site) -> list[WinogradChoice]:
        """What the input's halo allows, the quickest first."""
        source = site.blocked(site.anchor.args[0])
        pads = site.anchor.attrs.pads[:2]
        return [
            choice
            for choice in winograd_choices(site.target, winograd_shape(site))
            if all(
                have >= want
                for have, want in zip(
                    source.halo, choice.halo(pads, source.height, source.width), strict=True
                )
            )
        ]

    def estimate(self, site: Site) -> Estimate:
        choice = self._choices(site)[site.pick]
        figures = {"error_bound_k": choice.rounding}
        g = conv_geometry(site)
        depth = g.in_blocks * site.lanes if choice.expands else g.depth.channels
        vectors = g.attrs.groups * depth * g.out_blocks
        inputs, outputs = transform_places(choice.vertical, choice.horizontal)
        transforms = g.attrs.groups * (g.in_blocks * inputs + g.out_blocks * outputs)
        return predict(
            site,
            choice.cycles,
            str(choice),
            figures,
            fmas=vectors * choice.products + transforms * choice.tiles,
            weights=vectors * choice.filters * site.target.vector_bits / 8,
        )

    def picks(self, site: Site) -> int:
        return len(self._choices(site))

    def code_bytes(self, site: Site) -> int:
        return 12 << 10

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a tile, infinite where it meets numbers that are not finite."""
        choice = self._choices(site)[site.pick]

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            if op != "conv2d":
                return None
            return tile_rounding(choice, attrs, arrays[0], arrays[1])

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return WinogradNest(site, self._choices(site)[site.pick]).launches(self.name)


def winograd_shape(site: Site) -> WinogradShape:
    """What the choice depends on, of a site that is a convolution of blocks."""
    g = conv_geometry(site)
    window = tuple(site.steps[-1].attrs.window) if site.ends_in_pool else (1, 1)
    return WinogradShape(
        g.rows,
        g.columns,
        g.in_blocks,
        g.out_blocks,
        g.attrs.groups,
        g.kernel,
        g.attrs.strides,
        window,
        dilations_of(g.attrs, g.kernel),
        _fewer(g.depth.channels, g.in_blocks * site.lanes),
    )


def _fewer(channels: int, slots: int) -> int:
    """The channels that are multiplied, 0 for all slots."""
    return channels if channels < slots else 0


def winograd_halo(
    target: Target,
    attrs: Conv2dAttrs,
    types: Sequence[TensorType],
    result: TensorType,
    window: tuple[int, int],
) -> Halo:
    """The halo that whole tiles need, where they are predicted to be quicker than the definition.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W] and filters [O,C/g,kh,kw].
        result: of the convolution.
        window: of a pool behind it that has no overlap, else (1, 1).
    """
    (_, channels, height, width), (filters, _, *kernel) = types[0].shape, types[1].shape
    lanes, groups = target.lanes(), attrs.groups
    if channels < lanes:
        return NO_HALO
    ins, outs = (-(-count // groups // lanes) for count in (channels, filters))
    rows, columns = result.shape[2:]
    depth = depth_of(Layout(lanes, (channels // groups,), 1, 1), 1).channels
    shape = WinogradShape(
        rows,
        columns,
        ins,
        outs,
        groups,
        (kernel[0], kernel[1]),
        attrs.strides,
        window,
        dilations_of(attrs, kernel),
        _fewer(depth, ins * lanes),
    )
    choices = winograd_choices(target, shape)
    if not choices:
        return NO_HALO
    direct = choose_tile(target, rows, columns, outs, ins * lanes * kernel[0] * kernel[1])
    if choices[0].cycles >= groups * direct.cycles:
        return NO_HALO
    return choices[0].halo((attrs.pads[0], attrs.pads[1]), height, width)
