"""What every convolution over blocked layouts shares: geometry, packed weights, one tile."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import Depth, DepthTable, depth_of
from cnncc.kernels.convolution.conv_tile import (
    Ahead,
    Pieces,
    Taps,
    Tile,
    declare_pieces,
    emit_tile,
    resized,
)
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile, narrow_lanes
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.layout import Halo, Layout
from cnncc.kernels.template import (
    Arg,
    OperandArg,
    Site,
    bias_arg,
    scratch_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs

# Products that are added up in one chain: sums of longer ones round worse than others' do.
_LONGEST_CHAIN = 288


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


def pack_filters(
    w: NDArray[np.float32], source: Layout, out: Layout, groups: int, vectors: int
) -> NDArray[np.float32]:
    """Filters [O,C/g,kh,kw] as `[panel][block][kh][kw][channel][vectors * lanes]`.

    A panel is `vectors` neighbouring blocks of output channels; padding lanes are zero.
    """
    in_blocks = source.blocks // groups
    spread = w
    if groups > 1 or source.has_padding_lanes or out.has_padding_lanes:
        spread = _spread_filters(w, source, out, groups)
    panels = spread.reshape(
        out.blocks // vectors, vectors * out.block, in_blocks, source.block, *w.shape[2:]
    )
    return np.ascontiguousarray(panels.transpose(0, 2, 4, 5, 3, 1))


def _spread_filters(
    w: NDArray[np.float32], source: Layout, out: Layout, groups: int
) -> NDArray[np.float32]:
    """Filters by slot instead of channel, `[output slot][input slot of the group][kh][kw]`."""
    outs, ins = w.shape[0] // groups, w.shape[1]
    depth = source.blocks // groups * source.block
    spread = np.zeros((out.blocks * out.block, depth, *w.shape[2:]), np.float32)
    for g in range(groups):
        to = out.channel_slots[g * outs : (g + 1) * outs]
        at = source.channel_slots[g * ins : (g + 1) * ins] - g * depth
        spread[to[:, None], at[None, :]] = w[g * outs : (g + 1) * outs]
    return spread


def pack_panels(
    w: NDArray[np.float32], source: Layout, out: Layout, groups: int, vectors: int
) -> NDArray[np.float32]:
    """The same as `[panel][weight]`, those channels left out that no reduction multiplies."""
    packed = pack_filters(w, source, out, groups, vectors)
    depth = depth_of(source, groups)
    deep = [
        packed[:, block, :, :, : turns * depth.step].reshape(len(packed), -1)
        for block, turns in enumerate(depth.turns)
    ]
    return np.ascontiguousarray(np.concatenate(deep, axis=1))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tile reads and writes.

    Attributes:
        position: element of the input under the first tap of the first pixel.
        taps: the walk over the input.
        y: row of the first pixel in the convolution's result.
        x: column of it.
        step: rows and columns of the result from one pixel of the tile to the next.
    """

    position: Index
    taps: Taps
    y: Index
    x: Index
    step: tuple[int, int] = (1, 1)


Store = Callable[[int, Any, list[Value]], None]
"""Takes a pixel's row and column in the tile (the column as an `Index`) and its vectors."""


def short_chains(
    b: Builder, site: Site, blocks: int, steps: int
) -> tuple[Pieces | None, list[Arg]]:
    """How a reduction of so many products over blocks is cut, and the argument that this takes."""
    longest = max(1, _LONGEST_CHAIN * blocks // max(1, steps))
    if blocks <= longest:
        return None, []
    pieces, arg = declare_pieces(b, site.target.vector_registers, site.lanes, longest)
    return pieces, [arg]


class ConvNest:
    """Parameters of a convolution's function, and the code of one tile of it.

    Use: construct with the packed filters, `declare` on a builder, then `tile` for each place.

    Attributes:
        source: layout of the input.
        out: layout of the result.
        epilogue: the pointwise steps.
        in_blocks: input blocks of a group.
        group_panels: panels of output channels of a group.
        groups: groups that begin on a block boundary; the operator's unless it is told otherwise.
    """

    def __init__(
        self, site: Site, vectors: int, *, last: int | None = None, groups: int | None = None
    ) -> None:
        self.site = site
        self.source = site.blocked(site.anchor.args[0])
        self.out = site.blocked_out
        self.epilogue = Epilogue(site, last=last)
        # Even if the epilogue keeps zeros: NaN times a padding lane's zero filter is NaN.
        self.mask = LaneMask(site, needed=True)
        self.vectors = vectors
        self.groups = groups = groups or site.anchor.attrs.groups
        self.in_blocks = self.source.blocks // groups
        self.group_panels = self.out.blocks // groups // vectors
        self.depth = DepthTable(depth_of(self.source, groups))

    @property
    def panels(self) -> int:
        """Panels of output channels, all groups counted."""
        return self.out.blocks // self.vectors

    def panel_filters(self) -> tuple[Arg, int]:
        """The filters of an ordinary convolution, and their elements for each panel."""
        types, source, out, groups = self.site.types, self.source, self.out, self.groups
        operand, vectors = self.site.anchor.args[1], self.vectors

        def pack(site: Site) -> NDArray[np.float32]:
            filters = np.asarray(site.constant(operand), np.float32)
            return pack_panels(filters, source, out, groups, vectors)

        taps = math.prod(types[operand].shape[2:])
        elems = depth_of(source, groups).channels * taps * vectors * out.block
        return self.site.packed(self.panels * elems, pack), elems

    def declare(
        self,
        b: Builder,
        weights: Arg,
        panel_elems: int,
        most: Tile | None = None,
        *,
        sized: bool = True,
    ) -> list[Arg]:
        """Add the parameters that a tile reads; returns their arguments in order.

        `weights` holds so many elements for each panel; not `sized`, one function serves calls with
        filters of different sizes. With `most`, the largest tile, a long epilogue is a loop over
        the pixels of a tile, whose number `store` then gets at run time.
        """
        self._panel_elems: Index = panel_elems
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=self.panels * panel_elems if sized else None)
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), weights]
        args += self.depth.declare(b)
        self._bias_param: Value | None = None
        if len(self.site.anchor.args) == 3:
            self._bias_param = b.buffer("bias", extent=self.out.blocks * self.out.block)
            args.append(bias_arg(self.site, self.site.anchor.args[2], self.out))
        self.epilogue.declare(b)
        self.mask.declare(b)
        args += [*self.epilogue.args, *self.mask.args]
        steps = panel_elems // (self.vectors * self.site.lanes)
        self._pieces, totals = short_chains(b, self.site, self.in_blocks, steps)
        args += totals
        self._sums: Value | None = None
        if most is not None and self.epilogue.is_long:
            self._sums, sums = scratch_buffer(b, "sums", most.accumulators * self.site.lanes)
            args.append(sums)
        return args

    def first_input_block(self, b: Builder, panel: Index) -> Index:
        """The first input block of the group that a panel belongs to."""
        if self.groups == 1:
            return 0
        return b.imul(b.idiv(panel, self.group_panels), self.in_blocks)

    def tile(
        self,
        b: Builder,
        tile: Tile,
        panel: Index,
        place: Place,
        store: Store,
        panel_elems: Index | None = None,
        part: tuple[Index, int] | None = None,
    ) -> None:
        """Code of one tile.

        `store` receives (row, column, one finished vector for each block of the panel);
        `panel_elems` overrides the size of a panel's filters where it is known at run time only.
        `part` is the tile's number and how many tiles a panel has, where one follows the other:
        they fetch the filters of the next panel.
        """
        pitch = self._panel_elems if panel_elems is None else panel_elems
        acc = emit_tile(
            b,
            tile,
            place.taps,
            self.site.lanes,
            (self.x, place.position),
            (self.w, b.imul(panel, pitch)),
            [b.splat(b.const(0.0), self.site.lanes)] * tile.vectors,
            ahead=Ahead(pitch, *part) if part else None,
            pieces=self._pieces,
        )
        self.finish(b, acc, tile, panel, place, store)

    def finish(
        self, b: Builder, acc: list[Value], tile: Tile, panel: Index, place: Place, store: Store
    ) -> None:
        """What is behind the reduction of a tile: `acc` are its accumulators.

        The bias comes last: a chain that began with it would round as sums of its size do.
        """
        lanes = self.site.lanes
        first_block = b.imul(panel, tile.vectors)
        if self._bias_param is not None:
            at = b.imul(first_block, lanes)
            bias = [
                b.load(self._bias_param, at, lanes, offset=v * lanes) for v in range(tile.vectors)
            ]
            acc = [b.binary("add", x, bias[n % tile.vectors]) for n, x in enumerate(acc)]
        if self._sums is not None:
            self._finish_in_a_loop(b, (self._sums, acc), tile, first_block, place, store)
            return
        self.epilogue.open(b, first_block, place.y, place.x)
        for row in range(tile.rows):
            for column in range(tile.columns):
                at = (row * tile.columns + column) * tile.vectors
                down, right = row * place.step[0], column * place.step[1]
                finished = []
                for v, width in enumerate(tile.widths(lanes)):
                    value = resized(b, acc[at + v], width)
                    value = self.epilogue.apply(
                        b, value, blocks=v, rows=down, columns=right, lanes=width
                    )
                    value = resized(b, value, lanes)
                    finished.append(self.mask.apply(b, value, b.iadd(first_block, v)))
                store(down, right, finished)

    def _finish_in_a_loop(
        self,
        b: Builder,
        held: tuple[Value, list[Value]],
        tile: Tile,
        first_block: Index,
        place: Place,
        store: Store,
    ) -> None:
        """The epilogue pixel by pixel, from memory: it wants the accumulators' registers itself."""
        lanes = self.site.lanes
        pixel = tile.vectors * lanes
        sums = held[0]
        for number, value in enumerate(held[1]):
            b.store(sums, number * lanes, value)
        for row in range(tile.rows):
            with b.loop(0, tile.columns, hint="pixel") as columns:
                down, right = row * place.step[0], b.imul(columns.iv, place.step[1])
                self.epilogue.open(b, first_block, b.iadd(place.y, down), b.iadd(place.x, right))
                at = b.imul(b.iadd(columns.iv, row * tile.columns), pixel)
                finished = []
                for v, width in enumerate(tile.widths(lanes)):
                    value = b.load(sums, at, width, offset=v * lanes)
                    value = resized(b, self.epilogue.apply(b, value, blocks=v, lanes=width), lanes)
                    finished.append(self.mask.apply(b, value, b.iadd(first_block, v)))
                store(down, right, finished)


def store_pixel(
    b: Builder,
    out: tuple[Value, Index],
    layout: Layout,
    pixel: tuple[int, Index],
    values: list[Value],
) -> None:
    """Store the vectors of a pixel, so many rows and columns behind the place `out`."""
    row, column = pixel
    known = column if isinstance(column, int) else 0
    at = b.iadd(out[1], 0 if isinstance(column, int) else b.imul(column, layout.block))
    for v, value in enumerate(values):
        b.store(out[0], at, value, offset=layout.offset(v, row, known))


def conv_place(
    b: Builder,
    nest: ConvNest,
    g: ConvGeometry,
    panel: Index,
    y: Index,
    x: Index,
    blocks: Index | None = None,
) -> Place:
    """Where the tile of an ordinary convolution reads whose first pixel is (y, x)."""
    position = nest.source.index(
        b,
        nest.first_input_block(b, panel),
        b.isub(b.imul(y, g.attrs.strides[0]), g.attrs.pads[0]),
        b.isub(b.imul(x, g.attrs.strides[1]), g.attrs.pads[1]),
    )
    taps = Taps(
        blocks=g.in_blocks if blocks is None else blocks,
        block=g.block,
        rows=g.kernel[0],
        columns=g.kernel[1],
        row_step=g.attrs.dilations[0],
        column_step=g.attrs.dilations[1],
        pixel_row_step=g.attrs.strides[0],
        pixel_column_step=g.attrs.strides[1],
        plane_pitch=nest.source.plane_pitch,
        row_pitch=nest.source.row_pitch,
        depth=nest.depth,
    )
    return Place(position, taps, y, x)


def conv_tile_choice(site: Site, g: ConvGeometry) -> TileChoice:
    """The register tile of a site."""
    last = last_lanes(site)
    return choose_tile(
        site.target,
        g.rows,
        g.columns,
        g.out_blocks,
        g.steps,
        last=last,
        sides=True,
        pick=site.pick,
    )


def for_each_width(
    b: Builder, nest: ConvNest, tile: Tile, panel: Index, body: Callable[[Tile], None]
) -> None:
    """`body(tile)` for a panel: where the last vector of a group is narrow, its panel's is too."""
    last = last_lanes(nest.site)
    if last and nest.group_panels > 1:
        place = b.irem(panel, nest.group_panels)
        with b.when(b.compare("eq", place, nest.group_panels - 1)):
            body(replace(tile, last=last))
        with b.otherwise():
            body(tile)
    else:
        body(replace(tile, last=last))


def for_each_tile(
    b: Builder,
    rows: int,
    columns: int,
    tile: Tile,
    where: tuple[Index, Index],
    body: Callable[[Tile, Index, Index], None],
) -> None:
    """`body(tile, y, x)` for tile number `where` (down, across), smaller at the far edges."""
    down, across = where
    y, x = b.imul(down, tile.rows), b.imul(across, tile.columns)
    heights = _edge_cases(b, rows, tile.rows, down)
    widths = _edge_cases(b, columns, tile.columns, across)

    def across_cases(height: int) -> None:
        branch(b, widths, lambda width: body(replace(tile, rows=height, columns=width), y, x))

    branch(b, heights, across_cases)


def for_numbered_tile(
    b: Builder,
    rows: int,
    columns: int,
    tile: Tile,
    number: Index,
    body: Callable[[Tile, Index, Index], None],
) -> None:
    """`body(tile, y, x)` for one of the `tile.count` tiles of a map, those at its side last."""
    across = columns // tile.columns if tile.side else -(-columns // tile.columns)
    plain = replace(tile, side=0)

    def inside() -> None:
        where = (b.idiv(number, across), b.irem(number, across))
        for_each_tile(b, rows, min(columns, across * tile.columns), plain, where, body)

    if not tile.side:
        inside()
        return
    first = -(-rows // tile.rows) * across
    x = across * tile.columns
    strip = replace(plain, rows=tile.side, columns=columns - x)
    with b.when(b.compare("lt", number, first)):
        inside()
    with b.otherwise():
        where = (b.isub(number, first), 0)
        for_each_tile(b, rows, columns - x, strip, where, lambda part, y, _: body(part, y, x))


Cases = tuple[int, tuple[Value, int] | None]
"""The usual size; where another one occurs also the test for it, and that size."""


def _edge_cases(b: Builder, extent: int, size: int, number: Index) -> Cases:
    """Sizes of tiles of which the last may be smaller."""
    full, last = divmod(extent, size)
    if last == 0:
        return size, None
    if full == 0:
        return last, None
    return size, (b.compare("eq", number, full), last)


def phase_sizes(b: Builder, extent: int, phases: int, phase: Index) -> Cases:
    """Rows (or columns) of one of so many phases: every `phases`-th of all, from `phase` on."""
    least, more = divmod(extent, phases)
    if more == 0:
        return least, None
    return least + 1, (b.compare("ge", phase, more), least)


def branch(b: Builder, cases: Cases, body: Callable[[int], None]) -> None:
    """`body(size)` for each size that occurs."""
    usual, edge = cases
    if edge is None:
        body(usual)
        return
    is_last, size = edge
    with b.when(is_last):
        body(size)
    with b.otherwise():
        body(usual)
