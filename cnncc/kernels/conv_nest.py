"""What every convolution over blocked layouts has in common: geometry, packed weights, one tile in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.conv_tile import Taps, Tile, TileChoice, choose_tile, emit_tile
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.layout import Halo, Layout
from cnncc.kernels.template import Arg, OperandArg, PackedArg, ResultArg, Site, per_channel
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
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
    """

    attrs: Conv2dAttrs
    kernel: tuple[int, int]
    rows: int
    columns: int
    in_blocks: int
    out_blocks: int
    block: int

    @property
    def steps(self) -> int:
        """Products that each output lane adds up, padding lanes counted."""
        return self.in_blocks * self.block * self.kernel[0] * self.kernel[1]


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
    )


def refuses_conv(site: Site) -> str:
    """Why the layouts or operands of a convolution do not suit the dense kernels."""
    x, w = site.anchor.args[:2]
    if site.constants[w] is None:
        return "the filter is computed at run time"
    if not isinstance(site.layouts[x], Layout) or not isinstance(site.out, Layout):
        return "needs blocked layouts"
    if site.out.block != site.lanes:
        return f"the result's blocks must have {site.lanes} channels"
    source, groups = site.blocked(x), site.anchor.attrs.groups
    for layout, what in ((source, "input"), (site.out, "output")):
        if not groups_aligned(layout, groups):
            return f"{what} channels of a group do not begin on a block boundary"
    types = [site.types[a] for a in site.anchor.args]
    result = lookup("conv2d").infer(types, site.anchor.attrs)
    wanted = conv_halo(site.anchor.attrs, types[0], types[1], result)
    if any(have < want for have, want in zip(source.halo, wanted, strict=True)):
        return f"needs a halo of {wanted}, has {source.halo}"
    return ""


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
    """Filters [O,C/g,kh,kw] as `[panel][block][kh][kw][channel][vectors * lanes]`, zeros in padding.

    A panel is `vectors` neighbouring blocks of output channels.
    """
    outs, ins = w.shape[0] // groups, w.shape[1]
    in_blocks, in_slots = source.blocks // groups, source.channel_slots
    spread = np.zeros((out.blocks * out.block, in_blocks * source.block, *w.shape[2:]), np.float32)
    for g in range(groups):
        to = out.channel_slots[g * outs : (g + 1) * outs]
        at = in_slots[g * ins : (g + 1) * ins] - g * in_blocks * source.block
        spread[to[:, None], at[None, :]] = w[g * outs : (g + 1) * outs]
    panels = spread.reshape(
        out.blocks // vectors, vectors * out.block, in_blocks, source.block, *w.shape[2:]
    )
    return np.ascontiguousarray(panels.transpose(0, 2, 4, 5, 3, 1))


class ConvNest:
    """Parameters of a convolution's function, and the code of one tile of it.

    Use: construct, `declare` on a builder, add what else the function needs, then `tile` for each place.
    """

    def __init__(self, site: Site, *, last: int | None = None) -> None:
        self.site = site
        self.geometry = conv_geometry(site)
        self.source = site.blocked(site.anchor.args[0])
        self.out = site.blocked_out
        self.choice: TileChoice = choose_tile(
            site.target,
            self.geometry.rows,
            self.geometry.columns,
            self.geometry.out_blocks,
            self.geometry.steps,
        )
        self.epilogue = Epilogue(site, last=last)
        has_bias = len(site.anchor.args) == 3
        zero_lanes = self.epilogue.keeps_zero
        self.mask = LaneMask(site, needed=not zero_lanes)
        self._bias = (
            per_channel(np.asarray(site.constant(site.anchor.args[2]), np.float32), self.out)
            if has_bias
            else None
        )

    def declare(self, b: Builder, vectors: int) -> list[Arg]:
        """Add the parameters that reading needs; returns their arguments in order."""
        weights = pack_filters(
            np.asarray(self.site.constant(self.site.anchor.args[1]), np.float32),
            self.source,
            self.out,
            self.geometry.attrs.groups,
            vectors,
        )
        self._vectors = vectors
        self._panel_elems = weights[0].size
        self._x = b.buffer("x", extent=self.source.elems)
        self._w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), PackedArg(weights)]
        self._bias_param: Value | None = None
        if self._bias is not None:
            self._bias_param = b.buffer("bias", extent=self._bias.size)
            args.append(PackedArg(self._bias))
        self.epilogue.declare(b)
        self.mask.declare(b)
        return [*args, *self.epilogue.args, *self.mask.args]

    @property
    def panels(self) -> int:
        """Panels of output channels, all groups counted."""
        return self.out.blocks // self._vectors

    def tile(
        self,
        b: Builder,
        tile: Tile,
        panel: Index,
        y: Index,
        x: Index,
        store: Callable[[int, int, list[Value]], None],
    ) -> None:
        """Code of one tile whose first pixel is (y, x) of the convolution's result.

        `store` receives (row, column, one finished vector for each block of the panel).
        """
        g = self.geometry
        lanes = self.site.lanes
        group = b.idiv(panel, g.out_blocks // tile.vectors)
        position = self.source.index(
            b,
            b.imul(group, g.in_blocks),
            b.isub(b.imul(y, g.attrs.strides[0]), g.attrs.pads[0]),
            b.isub(b.imul(x, g.attrs.strides[1]), g.attrs.pads[1]),
        )
        first_block = b.imul(panel, tile.vectors)
        start = self._start(b, first_block, tile.vectors, lanes)
        acc = emit_tile(
            b,
            tile,
            self._taps(),
            lanes,
            (self._x, position),
            (self._w, b.imul(panel, self._panel_elems)),
            start,
        )
        self.epilogue.open(b, first_block, y, x)
        for row in range(tile.rows):
            for column in range(tile.columns):
                at = (row * tile.columns + column) * tile.vectors
                finished = []
                for v in range(tile.vectors):
                    value = self.epilogue.apply(b, acc[at + v], blocks=v, rows=row, columns=column)
                    finished.append(self.mask.apply(b, value, b.iadd(first_block, v)))
                store(row, column, finished)

    def _start(self, b: Builder, block: Index, vectors: int, lanes: int) -> list[Value]:
        if self._bias_param is None:
            zero = b.splat(b.const(0.0), lanes)
            return [zero] * vectors
        at = b.imul(block, lanes)
        return [b.load(self._bias_param, at, lanes, offset=v * lanes) for v in range(vectors)]

    def _taps(self) -> Taps:
        g, s = self.geometry, self.source
        return Taps(
            blocks=g.in_blocks,
            block=s.block,
            rows=g.kernel[0],
            columns=g.kernel[1],
            row_step=g.attrs.dilations[0],
            column_step=g.attrs.dilations[1],
            pixel_row_step=g.attrs.strides[0],
            pixel_column_step=g.attrs.strides[1],
            plane_pitch=s.plane_pitch,
            row_pitch=s.row_pitch,
        )


def out_buffer(b: Builder, site: Site) -> tuple[Value, Arg]:
    """The parameter for the result; it may be an operand's buffer when the site works in place."""
    layout = site.blocked_out
    value = b.buffer("out", extent=layout.elems, writable=True, unique=site.in_place is None)
    return value, ResultArg()


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
        _branch(b, widths, lambda width: body(Tile(height, width, tile.vectors), y, x))

    _branch(b, heights, across_cases)


def _edge_cases(
    b: Builder, extent: int, size: int, number: Index
) -> tuple[int, tuple[Value, int] | None]:
    """The usual size, and the size of the last tile together with the test for it, if it differs."""
    full, last = divmod(extent, size)
    if last == 0:
        return size, None
    if full == 0:
        return last, None
    return size, (b.compare("eq", number, full), last)


def _branch(
    b: Builder, cases: tuple[int, tuple[Value, int] | None], body: Callable[[int], None]
) -> None:
    usual, edge = cases
    if edge is None:
        body(usual)
        return
    is_last, size = edge
    with b.when(is_last):
        body(size)
    with b.otherwise():
        body(usual)
