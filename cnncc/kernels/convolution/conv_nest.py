"""The parameters of a convolution's function over blocked layouts, and the code of one tile."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_depth import DepthTable, depth_of
from cnncc.kernels.convolution.conv_geometry import ConvGeometry, last_lanes
from cnncc.kernels.convolution.conv_tile import Ahead, Pieces, Taps, Tile, declare_pieces
from cnncc.kernels.convolution.filter_panels import pack_panels
from cnncc.kernels.convolution.reduction import emit_tile, resized
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import (
    Arg,
    OperandArg,
    Site,
    bias_arg,
    scratch_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

# Products that are added up in one chain: sums of longer ones round worse than others' do.
_LONGEST_CHAIN = 288


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
        made: Value | None = None,
    ) -> None:
        """Code of one tile.

        `store` receives (row, column, one finished vector for each block of the panel);
        `panel_elems` overrides the size of a panel's filters where it is known at run time only.
        `part` is the tile's number and how many tiles a panel has, where one follows the other:
        they fetch the filters of the next panel. `made` is a buffer with the panel's filters where
        they were made of the packed ones.
        """
        pitch = self._panel_elems if panel_elems is None else panel_elems
        packed = self.w, b.imul(panel, pitch)
        acc = emit_tile(
            b,
            tile,
            place.taps,
            self.site.lanes,
            (self.x, place.position),
            (made, 0) if made else packed,
            [b.splat(b.const(0.0), self.site.lanes)] * tile.vectors,
            ahead=Ahead(pitch, *part, packed) if part else None,
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
