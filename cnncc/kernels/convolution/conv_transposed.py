"""Transposed convolution as sub-pixel phases: each phase of the result is an ordinary convolution.

Row `y` of the result gets input row `iy` through kernel row `kh` when `y = iy*s - pad + kh*d`. For
the rows `y = q*s + phase` that leaves every `s/gcd(s,d)`-th kernel row, and the input row moves by
`-d/gcd(s,d)` from one to the next. So nothing is multiplied by zero, and no result is added to
memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.convolution.conv_direct import tile_estimate
from cnncc.kernels.convolution.conv_geometry import last_lanes, refuses_layouts
from cnncc.kernels.convolution.conv_nest import ConvNest, Place, for_each_width, store_pixel
from cnncc.kernels.convolution.conv_tile import Taps, Tile
from cnncc.kernels.convolution.filter_panels import pack_panels
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.kernels.layout import Halo
from cnncc.kernels.template import Estimate, Kernel, Launch, PackedArg, Site, out_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dTransposeAttrs


@dataclass(frozen=True, slots=True)
class AxisPhase:
    """One phase along one axis.

    Attributes:
        phase: the first row of the result that belongs to it; the others follow a stride apart.
        extent: how many rows belong to it.
        taps: kernel rows that reach it, in the order of their use.
        first: input row under the first tap of the first row; the next row is one further.
    """

    phase: int
    extent: int
    taps: tuple[int, ...]
    first: int


def axis_phases(stride: int, dilation: int, pad: int, kernel: int, extent: int) -> list[AxisPhase]:
    """The phases of an axis that have any row."""
    phases = []
    for phase in range(min(stride, extent)):
        taps = tuple(k for k in range(kernel) if (phase + pad - k * dilation) % stride == 0)
        first = (phase + pad - taps[0] * dilation) // stride if taps else 0
        phases.append(AxisPhase(phase, -(-(extent - phase) // stride), taps, first))
    return phases


def transposed_halo(
    attrs: Conv2dTransposeAttrs, x: TensorType, w: TensorType, result: TensorType
) -> Halo:
    """Zero pixels that the phases reach beyond the picture."""
    before, after = [0, 0], [0, 0]
    for axis in (0, 1):
        stride, dilation = attrs.strides[axis], attrs.dilations[axis]
        step = dilation // gcd(stride, dilation)
        for p in axis_phases(
            stride, dilation, attrs.pads[axis], w.shape[2 + axis], result.shape[2 + axis]
        ):
            if p.taps:
                before[axis] = max(before[axis], (len(p.taps) - 1) * step - p.first)
                beyond = p.first + p.extent - x.shape[2 + axis]
                after[axis] = max(after[axis], beyond)
    return before[0], before[1], after[0], after[1]


class ConvTransposed(Kernel):
    """One launch a phase; phases of equal size share their code."""

    name: ClassVar[str] = "conv_transposed"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d_transpose"})

    def refuses(self, site: Site) -> str:
        types = [site.types[a] for a in site.anchor.args]
        result = lookup("conv2d_transpose").infer(types, site.anchor.attrs)
        return refuses_layouts(site, transposed_halo(site.anchor.attrs, types[0], types[1], result))

    def estimate(self, site: Site) -> Estimate:
        """All phases; the tile, and those that it beat, are those of the longest one."""
        choices = [_tile(site, down, across) for down, across in _phases(site)]
        longest = max(choices, key=lambda c: c.cycles)
        cycles = sum(c.cycles for c in choices)
        busy = sum(c.cycles * c.utilisation for c in choices)
        rejected = tuple((tile, cycles - longest.cycles + c) for tile, c in longest.rejected)
        whole = TileChoice(longest.tile, cycles, busy / cycles, rejected)
        return tile_estimate(site, whole, site.anchor.attrs.groups)

    def lower(self, site: Site) -> list[Launch]:
        return [_launch(site, down, across) for down, across in _phases(site)]


def _phases(site: Site) -> Iterator[tuple[AxisPhase, AxisPhase]]:
    attrs = site.anchor.attrs
    w = site.types[site.anchor.args[1]]
    per_axis = [
        axis_phases(
            attrs.strides[a], attrs.dilations[a], attrs.pads[a], w.shape[2 + a],
            site.result.shape[2 + a],
        )
        for a in (0, 1)
    ]  # fmt: skip
    for down in per_axis[0]:
        for across in per_axis[1]:
            yield down, across


def _tile(site: Site, down: AxisPhase, across: AxisPhase) -> TileChoice:
    source, groups = site.blocked(site.anchor.args[0]), site.anchor.attrs.groups
    steps = depth_of(source, groups).channels * len(down.taps) * len(across.taps)
    blocks = site.blocked_out.blocks // groups
    return choose_tile(
        site.target, down.extent, across.extent, blocks, max(steps, 1), last=last_lanes(site)
    )


def filters_by_output(site: Site) -> NDArray[np.float32]:
    """Filters as [O,C/g,kh,kw]; those of a transposed convolution are [C,O/g,kh,kw]."""
    w = np.asarray(site.constant(site.anchor.args[1]), np.float32)
    if site.anchor.op == "conv2d":
        return w
    groups = site.anchor.attrs.groups
    grouped = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)  # [g, O/g, C/g, kh, kw]
    return grouped.reshape(-1, *grouped.shape[2:])


def _launch(site: Site, down: AxisPhase, across: AxisPhase) -> Launch:
    """The loop nest of one phase; what differs between phases of equal size are index arguments."""
    attrs: Conv2dTransposeAttrs = site.anchor.attrs
    tile = _tile(site, down, across).tile
    nest = ConvNest(site, tile.vectors)
    chosen = filters_by_output(site)[:, :, list(down.taps)][:, :, :, list(across.taps)]
    weights = pack_panels(chosen, nest.source, nest.out, attrs.groups, tile.vectors)
    b = Builder("conv_transposed")
    args = nest.declare(b, PackedArg(weights), weights[0].size, tile, sized=False)
    out, out_arg = out_buffer(b, site)
    names = ("tap_rows", "tap_columns", "first_row", "first_column", "phase_row", "phase_column")
    rows, columns, first_y, first_x, phase_y, phase_x = (b.index_param(n) for n in names)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    taps = Taps(
        blocks=nest.in_blocks,
        block=nest.source.block,
        rows=rows,
        columns=columns,
        row_step=-(attrs.dilations[0] // gcd(attrs.strides[0], attrs.dilations[0])),
        column_step=-(attrs.dilations[1] // gcd(attrs.strides[1], attrs.dilations[1])),
        pixel_row_step=1,
        pixel_column_step=1,
        plane_pitch=nest.source.plane_pitch,
        row_pitch=nest.source.row_pitch,
        depth=nest.depth,
    )
    channels = depth_of(nest.source, attrs.groups).channels * tile.vectors * site.lanes
    panel_elems = b.imul(b.imul(rows, columns), channels)
    tiles_down = -(-down.extent // tile.rows)
    tiles_across = -(-across.extent // tile.columns)
    with b.loop(lo, hi, hint="item") as items:
        panel = b.idiv(items.iv, tiles_down * tiles_across)
        number = b.irem(items.iv, tiles_down * tiles_across)

        def body(part: Tile, y: Index, x: Index) -> None:
            group = nest.first_input_block(b, panel)
            position = nest.source.index(b, group, b.iadd(y, first_y), b.iadd(x, first_x))
            out_y = b.iadd(b.imul(y, attrs.strides[0]), phase_y)
            out_x = b.iadd(b.imul(x, attrs.strides[1]), phase_x)
            base = nest.out.index(b, b.imul(panel, part.vectors), out_y, out_x)

            def store(row: int, column: Index, values: list[Value]) -> None:
                store_pixel(b, (out, base), nest.out, (row, column), values)

            place = Place(position, taps, out_y, out_x, attrs.strides)
            nest.tile(b, part, panel, place, store, panel_elems)

        where = (b.idiv(number, tiles_across), b.irem(number, tiles_across))
        size = down.extent, across.extent
        for_each_width(b, nest, tile, panel, lambda t: for_each_tile(b, *size, t, where, body))
    numbers = (len(down.taps), len(across.taps), down.first, across.first, down.phase, across.phase)
    work = nest.panels * tiles_down * tiles_across
    return Launch(b.func, (*args, out_arg, *numbers), work)
