"""Shapes of a convolution in blocks: its halo, its groups, and which layouts it can take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import Depth, depth_of
from cnncc.kernels.convolution.tile_choice import narrow_lanes
from cnncc.kernels.layout import Halo, Layout
from cnncc.kernels.template import (
    Site,
)
from cnncc.ops.conv import Conv2dAttrs


def conv_halo(attrs: Conv2dAttrs, x: TensorType, w: TensorType, result: TensorType) -> Halo:
    """Zero pixels that a convolution's windows reach beyond the picture."""
    after = []
    for axis in (0, 1):
        reach = (result.shape[2 + axis] - 1) * attrs.strides[axis] - attrs.pads[axis]
        reach += (w.shape[2 + axis] - 1) * attrs.dilations[axis]
        after.append(max(0, reach - (x.shape[2 + axis] - 1)))
    return attrs.pads[0], attrs.pads[1], after[0], after[1]


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """Shapes of a convolution in blocks.

    Attributes:
        attrs: strides, pads, dilations, groups.
        kernel: rows and columns of the filter.
        rows: rows of the convolution's own result (before a fused pool).
        columns: columns of it.
        in_blocks: input blocks of a group.
        out_blocks: output blocks of a group.
        block: channels of an input block.
        site: where it stands.
    """

    attrs: Conv2dAttrs
    kernel: tuple[int, int]
    rows: int
    columns: int
    in_blocks: int
    out_blocks: int
    block: int
    site: Site

    @property
    def depth(self) -> Depth:
        """The channels of a group that are multiplied."""
        return depth_of(self.site.blocked(self.site.anchor.args[0]), self.attrs.groups)

    @property
    def steps(self) -> int:
        """Products that each output lane adds up, those with zeros of padding lanes counted."""
        return self.depth.channels * self.kernel[0] * self.kernel[1]


def conv_geometry(site: Site) -> ConvGeometry:
    """The geometry of a site whose anchor is `conv2d`."""
    attrs: Conv2dAttrs = site.anchor.attrs
    types = [site.types[a] for a in site.anchor.args]
    result = lookup("conv2d").infer(types, attrs)
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    return ConvGeometry(
        attrs,
        (types[1].shape[2], types[1].shape[3]),
        result.shape[2],
        result.shape[3],
        source.blocks // attrs.groups,
        out.blocks // attrs.groups,
        source.block,
        site,
    )


def last_lanes(site: Site) -> int:
    """Lanes of a group's last vector of output channels where it can be a narrow one, else 0."""
    groups = site.anchor.attrs.groups
    held = site.blocked_out.slot_channels.reshape(groups, -1, site.lanes)[:, -1] >= 0
    return narrow_lanes(site.target, int(held.sum(axis=1).max()))


def refuses_operands(site: Site, halo: Halo) -> str:
    """Why the operands of a site do not suit any convolution in blocks."""
    x, w = site.anchor.args[:2]
    if site.constants[w] is None:
        return "the filter is computed at run time"
    if not isinstance(site.layouts[x], Layout) or not isinstance(site.out, Layout):
        return "needs blocked layouts"
    source = site.blocked(x)
    if any(have < want for have, want in zip(source.halo, halo, strict=True)):
        return f"needs a halo of {halo}, has {source.halo}"
    return ""


def refuses_layouts(site: Site, halo: Halo) -> str:
    """Why the layouts or operands of a site do not suit the dense kernels."""
    reason = refuses_operands(site, halo)
    if reason:
        return reason
    if site.blocked_out.block != site.lanes:
        return f"the result's blocks must have {site.lanes} channels"
    source, groups = site.blocked(site.anchor.args[0]), site.anchor.attrs.groups
    for layout, what in ((source, "input"), (site.blocked_out, "output")):
        if not groups_aligned(layout, groups):
            return f"{what} channels of a group do not begin on a block boundary"
    return ""


def refuses_conv(site: Site) -> str:
    """`refuses_layouts` with the halo of an ordinary convolution, which is the only one."""
    if site.last_conv:
        return "computes one convolution only"
    types = [site.types[a] for a in site.anchor.args]
    result = lookup("conv2d").infer(types, site.anchor.attrs)
    return refuses_layouts(site, conv_halo(site.anchor.attrs, types[0], types[1], result))


def groups_aligned(layout: Layout, groups: int) -> bool:
    """Whether each of `groups` equal runs of channels has blocks of its own, equally many."""
    if groups == 1:
        return True
    if layout.blocks % groups or layout.channels % groups:
        return False
    slots = layout.channel_slots.reshape(groups, -1) // layout.block
    first = np.arange(groups)[:, None] * (layout.blocks // groups)
    return bool(np.all((slots >= first) & (slots < first + layout.blocks // groups)))
