"""Convolution with long rows of taps, as of signals in time, with fewer multiplications.

A filter of k taps is a sum of filters of 3, each of which is F(3, 3) with 5 products for 9: 0.56 of
the multiplications of 15 taps. Products of all pieces are added up before they are transformed
back, and tiles are as long as pieces, so that a piece reads the transformed inputs of the tile that
lies as many tiles further: with the micro-kernel of all convolutions the pieces are the taps.

A NaN, an infinity or a number near overflow in an input reaches all results of the tiles that read
it, not only of the windows that do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.op import F64, Array
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_depth import DepthTable, depth_of
from cnncc.kernels.convolution.conv_geometry import conv_geometry, conv_halo, refuses_layouts
from cnncc.kernels.convolution.conv_tile import Pieces, Taps, Tile
from cnncc.kernels.convolution.filter_panels import pack_panels
from cnncc.kernels.convolution.reduction import emit_tile
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO, Halo, Layout
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    bias_arg,
    out_buffer,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.kernels.winograd.long_rows_choice import (
    PIECE,
    LongRowsChoice,
    LongRowsShape,
    long_rows_choice,
)
from cnncc.kernels.winograd.tile_rounding import tile_rounding
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets.target import Target

_LONGEST_CHAIN = 256  # products that are added up in one chain


class ConvLongRows(Kernel):
    """One work item is one panel of output channels of one block of tiles of a row."""

    name: ClassVar[str] = "conv_long_rows"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        if site.last_conv or site.ends_in_pool:
            return "computes one convolution and no pool"
        reason = refuses_layouts(site, NO_HALO)
        if reason:
            return reason
        types, attrs = [site.types[a] for a in site.anchor.args], site.anchor.attrs
        if not _is_row(attrs, types[1]):
            return "filters are no single rows, or have groups, strides or dilations"
        source = site.blocked(site.anchor.args[0])
        if source.block != site.lanes:
            return "the input's blocks are narrow"
        choice = long_rows_choice(site.target, _shape(site))
        if choice is None:
            return "rows are too short"
        wanted = _halo(choice, attrs, types, site.result)
        if any(have < want for have, want in zip(source.halo, wanted, strict=True)):
            return f"needs a halo of {wanted}, has {source.halo}"
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread over its tile"
        return ""

    def estimate(self, site: Site) -> Estimate:
        choice, g = _choice(site), conv_geometry(site)
        filters = PIECE.products * choice.pieces * g.depth.channels * g.out_blocks
        return predict(
            site,
            choice.cycles,
            str(choice),
            {"error_bound_k": choice.rounding},
            fmas=float(filters * choice.across * choice.down),
            weights=filters * site.target.vector_bits / 8,
        )

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a tile, infinite where it meets numbers that are not finite."""
        choice = _choice(site)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return tile_rounding(choice, attrs, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return [_LongRows(site, _choice(site)).launch(self.name)]


def _is_row(attrs: Conv2dAttrs, filters: TensorType) -> bool:
    plain = tuple(attrs.strides) == (1, 1) and attrs.dilations[1] == 1 and attrs.groups == 1
    return plain and filters.shape[2] == 1


def _shape(site: Site) -> LongRowsShape:
    g = conv_geometry(site)
    channels = g.depth.channels
    return LongRowsShape(g.rows, g.columns, g.in_blocks, channels, g.out_blocks, g.kernel[1])


def _choice(site: Site) -> LongRowsChoice:
    choice = long_rows_choice(site.target, _shape(site))
    if choice is None:
        raise InternalError(f"{site.name}: no pieces for {_shape(site)}")
    return choice


def _halo(
    choice: LongRowsChoice, attrs: Conv2dAttrs, types: Sequence[TensorType], result: TensorType
) -> Halo:
    top, left, bottom, right = conv_halo(attrs, types[0], types[1], result)
    return top, left, bottom, max(right, choice.extents[1] - left - types[0].shape[3])


def long_rows_halo(
    target: Target, attrs: Conv2dAttrs, types: Sequence[TensorType], result: TensorType
) -> Halo:
    """The halo that whole tiles need, where they are predicted to be quicker than the definition.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W] and filters [O,C/g,kh,kw].
        result: of the convolution.
    """
    (_, channels, _, _), (filters, _, _, taps) = types[0].shape, types[1].shape
    lanes = target.lanes()
    if channels < lanes or not _is_row(attrs, types[1]):
        return NO_HALO
    ins, outs = -(-channels // lanes), -(-filters // lanes)
    depth = depth_of(Layout(lanes, (channels,), 1, 1), 1).channels
    rows, columns = result.shape[2:]
    choice = long_rows_choice(target, LongRowsShape(rows, columns, ins, depth, outs, taps))
    if choice is None:
        return NO_HALO
    if choice.cycles >= choose_tile(target, rows, columns, outs, depth * taps).cycles:
        return NO_HALO
    return _halo(choice, attrs, types, result)


class _LongRows:
    """The loop nest of one site."""

    def __init__(self, site: Site, choice: LongRowsChoice) -> None:
        self.site, self.choice = site, choice
        self.g = conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.depth = DepthTable(self.g.depth)
        self.epilogue = TileEpilogue(site, most=PIECE.outputs)
        self.vectors = choice.tile.vectors
        self.panels = self.g.out_blocks // self.vectors
        # Planes a multiple of a page apart would share few sets of the cache.
        self.plane = (self.g.in_blocks * choice.held + 1) * site.lanes

    def launch(self, name: str) -> Launch:
        """The function with its arguments."""
        b, choice, lanes = Builder(name), self.choice, self.site.lanes
        weights = pack_pieces(self.site, choice)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            self.bias = b.buffer("bias", extent=self.out.blocks * self.out.block)
            args.append(bias_arg(self.site, self.site.anchor.args[2], self.out))
        args += self.epilogue.declare(b)
        args += self.depth.declare(b)
        self.result, out_arg = out_buffer(b, self.site)
        self.inputs, inputs_arg = scratch_buffer(b, "inputs", PIECE.products * self.plane)
        held = PIECE.products * self.vectors * choice.block * lanes
        self.products, products_arg = scratch_buffer(b, "products", held)
        self.totals, totals_arg = scratch_buffer(b, "totals", choice.tile.accumulators * lanes)
        blocks = -(-choice.across // choice.block)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel, outer = b.irem(items.iv, self.panels), b.idiv(items.iv, self.panels)
            row, block = b.idiv(outer, blocks), b.irem(outer, blocks)
            # The inputs are still there when the item before was another panel of this block.
            fresh = b.select(b.compare("eq", items.iv, lo), 1, 0)
            fresh = b.select(b.compare("eq", panel, 0), 1, fresh)
            self._item(b, (row, block, panel), fresh)
        every = (*args, out_arg, inputs_arg, products_arg, totals_arg)
        return Launch(b.func, every, choice.down * blocks * self.panels)

    def _item(self, b: Builder, at: tuple[Index, Index, Index], fresh: Value) -> None:
        row, block, panel = at
        size = self.choice.block
        full, last = divmod(self.choice.across, size)

        def body(count: int, start: Index) -> None:
            with b.when(b.compare("eq", fresh, 1)):
                self._transform_inputs(b, row, start, count + self.choice.pieces - 1)
            with b.loop(0, PIECE.products, hint="plane") as planes:
                self._multiply(b, panel, planes.iv, count)
            with b.loop(0, self.vectors, hint="v") as v:
                to = b.iadd(b.imul(panel, self.vectors), v.iv)
                self._transform_outputs(b, to, v.iv, (row, start), count)

        if full and last:
            with b.when(b.compare("lt", block, full)):
                body(size, b.imul(block, size))
            with b.otherwise():
                body(last, full * size)
        else:
            body(size, b.imul(block, size))

    def _transform_inputs(self, b: Builder, row: Index, start: Index, count: int) -> None:
        """The planes of so many tiles of all channels."""
        lanes, pads, held = self.site.lanes, self.g.attrs.pads, self.choice.held
        with (
            b.loop(0, self.g.in_blocks, hint="icb") as blocks,
            b.loop(0, count, hint="t") as tiles,
        ):
            x = b.isub(b.imul(b.iadd(start, tiles.iv), PIECE.outputs), pads[1])
            at = self.source.index(b, blocks.iv, b.isub(row, pads[0]), x)
            seen = {
                k: b.load(self.x, at, lanes, offset=self.source.offset(0, 0, k))
                for k in range(PIECE.inputs)
            }
            to = b.imul(b.iadd(b.imul(blocks.iv, held), tiles.iv), lanes)
            for group in PIECE.groups():
                made = PIECE.transform_inputs(b, group, seen)
                for plane, value in zip(group, made, strict=True):
                    b.store(self.inputs, to, value, offset=plane * self.plane)

    def _multiply(self, b: Builder, panel: Index, plane: Index, count: int) -> None:
        """The products of one plane: tiles by channels and pieces times those by outputs."""
        lanes, columns = self.site.lanes, min(self.choice.tile.columns, count)
        pieces, blocks = self.choice.pieces, self.g.in_blocks
        elems = self.g.depth.channels * pieces * self.vectors * lanes
        weights = b.imul(b.iadd(b.imul(panel, PIECE.products), plane), elems)
        taps = Taps(
            blocks=blocks,
            block=lanes,
            rows=1,
            columns=pieces,
            row_step=1,
            column_step=1,
            pixel_row_step=1,
            pixel_column_step=1,
            plane_pitch=self.choice.held * lanes,
            row_pitch=0,
            depth=self.depth,
        )
        zero = b.splat(b.const(0.0), lanes)
        chains = Pieces(self.totals, min(blocks, max(1, _LONGEST_CHAIN // (pieces * lanes))))

        def part(size: int, first: Index) -> None:
            source = b.iadd(b.imul(plane, self.plane), b.imul(first, lanes))
            sums = emit_tile(
                b,
                Tile(1, size, self.vectors),
                taps,
                lanes,
                (self.inputs, source),
                (self.w, weights),
                [zero] * self.vectors,
                pieces=chains,
            )
            to = b.imul(b.iadd(b.imul(plane, self.vectors * count), first), lanes)
            for k in range(size):
                for v in range(self.vectors):
                    offset = (v * count + k) * lanes
                    b.store(self.products, to, sums[k * self.vectors + v], offset=offset)

        _in_parts(b, count, columns, part)

    def _transform_outputs(
        self, b: Builder, block: Index, vector: Index, at: tuple[Index, Index], count: int
    ) -> None:
        """The results of so many tiles and one vector of output channels."""
        lanes, (row, start) = self.site.lanes, at
        pitch = self.vectors * count * lanes  # from one plane of products to the next
        bias = None
        if self.bias is not None:
            bias = b.load(self.bias, b.imul(block, lanes), lanes)
        with b.loop(0, count, hint="t") as tiles:
            place = b.imul(b.iadd(b.imul(vector, count), tiles.iv), lanes)
            planes = [
                b.load(self.products, place, lanes, offset=p * pitch) for p in range(PIECE.products)
            ]
            pixels = PIECE.transform_outputs(b, planes)
            if bias is not None:
                pixels = [b.binary("add", p, bias) for p in pixels]

            def body(part: Tile, y: Index, x: Index) -> None:
                values = pixels[: part.columns]
                patch = Patch(1, part.columns, 1)
                finished = self.epilogue.finish(b, values, patch, block, y, x)
                base = self.out.index(b, block, y, x)
                for k, value in enumerate(finished):
                    b.store(self.result, base, value, offset=self.out.offset(0, 0, k))

            where = (row, b.iadd(start, tiles.iv))
            for_each_tile(b, self.g.rows, self.g.columns, Tile(1, PIECE.outputs, 1), where, body)


def _in_parts(b: Builder, count: int, size: int, part: Callable[[int, Index], None]) -> None:
    """`part(tiles, first)` for as many tiles as fit in registers at a time."""
    full, last = divmod(count, size)
    with b.loop(0, full, hint="tile") as tiles:
        part(size, b.imul(tiles.iv, size))
    if last:
        part(last, full * size)


def pack_pieces(site: Site, choice: LongRowsChoice) -> NDArray[np.float32]:
    """Filters [O,C,1,k] as `[panel][plane][block][piece][channel][vectors * lanes]`, transformed.

    The last piece may have fewer taps; the others of it are zeros.
    """
    filters = np.asarray(site.constant(site.anchor.args[1]), np.float64)
    outputs, channels, _, taps = filters.shape
    padded = np.zeros((outputs, channels, choice.pieces * PIECE.taps))
    padded[:, :, :taps] = filters[:, :, 0]
    pieces = padded.reshape(outputs, channels, choice.pieces, PIECE.taps)
    planes = np.einsum("pr,ocqr->pocq", PIECE.filter_matrix, pieces).astype(np.float32)
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    packed = [
        pack_panels(plane[:, :, None], source, out, 1, choice.tile.vectors) for plane in planes
    ]
    return np.ascontiguousarray(np.stack(packed, axis=1))
