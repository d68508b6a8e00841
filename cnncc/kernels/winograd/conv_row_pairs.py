"""Convolutions over planes by minimal filtering of pairs of rows, with lanes of output channels.

Down the rows it is F(2, r), along them the definition: (r + 1) / 2r of the multiplications. While
rows are transformed, a vector holds neighbouring columns of one channel, which a few channels fill
as well as many. Then a number of a transformed row, the same in all lanes, multiplies a vector of
filters. All products of a few columns stay in registers, and are transformed back there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.op import F64, Array, lookup
from cnncc.ir.tolerance import Rounding
from cnncc.kernels.convolution.conv_geometry import conv_halo, refuses_operands
from cnncc.kernels.cost import predict
from cnncc.kernels.pool_behind import combine_window, pool_of
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    out_buffer,
    per_channel,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.kernels.winograd.cook_toom import transform_places
from cnncc.kernels.winograd.row_pairs_choice import RowPairsShape, RowTilesChoice, row_pairs_choice
from cnncc.kernels.winograd.tile_rounding import tile_rounding
from cnncc.kernels.winograd.transformed_rows import TransformedRows
from cnncc.kernels.winograd.winograd_choice import IDENTITY
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Value


class ConvRowPairs(Kernel):
    """One work item is one pair of rows, for all output channels."""

    name: ClassVar[str] = "conv_row_pairs"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        if site.last_conv:
            return "computes one convolution only"
        types, attrs = [site.types[a] for a in site.anchor.args], site.anchor.attrs
        result = lookup("conv2d").infer(types, attrs)
        reason = refuses_operands(site, conv_halo(attrs, types[0], types[1], result))
        if reason:
            return reason
        if site.blocked(site.anchor.args[0]).block != 1:
            return "the input does not lie in planes"
        if site.lanes == 1 or site.blocked_out.block != site.lanes:
            return f"the result's blocks must have {site.lanes} channels"
        if (attrs.groups, attrs.strides, attrs.dilations) != (1, (1, 1), (1, 1)):
            return "has groups, strides or dilations"
        return _refuses_pairs(site)

    def estimate(self, site: Site) -> Estimate:
        choice, shape = _choice(site), _shape(site)
        filters = choice.vertical.products * shape.kernel[1] * shape.channels * shape.out_blocks
        _, back = transform_places(choice.vertical, IDENTITY)
        return predict(
            site,
            choice.cycles,
            str(choice),
            {"error_bound_k": choice.rounding},
            fmas=(filters + back * shape.out_blocks) * choice.down * choice.across,
            weights=filters * site.target.vector_bits / 8,
        )

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a pair of rows, infinite where it meets what is not finite."""
        # Of all rows and columns: also those that belong to no window of a pool.
        types, attrs = [site.types[a] for a in site.anchor.args], site.anchor.attrs
        rows, columns = lookup("conv2d").infer(types, attrs).shape[2:]
        choice = replace(_choice(site), down=-(-rows // 2), across=columns)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return tile_rounding(choice, attrs, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return [_RowPairs(site, _choice(site)).launch(self.name)]


def _refuses_pairs(site: Site) -> str:
    """Why rows cannot be filtered in pairs."""
    rows, _ = _convolved(site)
    if site.ends_in_pool and pool_of(site).overlaps:
        return "pooling windows overlap or hang over the edge"
    if rows % 2 or 2 % _window(site)[0]:
        return "rows, or those of pooling windows, do not fall into pairs"
    if _shape(site).channels == 1:
        return "sums over one channel are short, and would round worse"
    if row_pairs_choice(site.target, _shape(site)) is None:
        return "no transform saves multiplications of such windows"
    if not np.isfinite(site.constant(site.anchor.args[1])).all():
        return "a filter is not finite, and would spread over its tile"
    return ""


def _window(site: Site) -> tuple[int, int]:
    """Rows and columns of the convolution for each pixel of the result."""
    rows, columns = site.steps[-1].attrs.window if site.ends_in_pool else (1, 1)
    return rows, columns


def _convolved(site: Site) -> tuple[int, int]:
    """Rows and columns of the convolution that the result needs."""
    rows, columns = _window(site)
    return site.result.shape[2] * rows, site.result.shape[3] * columns


def _shape(site: Site) -> RowPairsShape:
    (_, channels, _, _), (_, _, down, right) = (site.types[a].shape for a in site.anchor.args[:2])
    rows, columns = _convolved(site)
    window, blocks = _window(site), site.blocked_out.blocks
    return RowPairsShape(channels, rows, columns, blocks, (down, right), window)


def _choice(site: Site) -> RowTilesChoice:
    choice = row_pairs_choice(site.target, _shape(site))
    if choice is None:
        raise InternalError(f"{site.name}: no transform for {_shape(site)}")
    return choice


class _RowPairs:
    """The function of one site."""

    def __init__(self, site: Site, choice: RowTilesChoice) -> None:
        self.site, self.choice, self.f = site, choice, choice.vertical
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.lanes, self.window = site.lanes, _window(site)
        self.rows, self.columns = _convolved(site)
        pads, read = site.anchor.attrs.pads, self.columns + choice.horizontal.taps - 1
        self.made = TransformedRows(self.source, self.f, (pads[0], pads[1]), read, self.lanes)
        self.epilogue = TileEpilogue(
            site, last=-1 if site.ends_in_pool else None, most=2 * choice.together
        )

    def launch(self, name: str) -> Launch:
        """One work item a pair of rows."""
        b = self.b = Builder(name)
        weights = pack_row_pairs(self.site, self.choice)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            bias = per_channel(np.asarray(self.site.constant(self.site.anchor.args[2])), self.out)
            self.bias = b.buffer("bias", extent=bias.size)
            args.append(PackedArg(bias))
        args += self.epilogue.declare(b)
        self.result, out_arg = out_buffer(b, self.site)
        args += [out_arg, self.made.declare(b)]
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="pair") as pairs:
            self.made.fill(b, self.x, b.imul(pairs.iv, 2))
            with b.loop(0, self.out.blocks, hint="ocb") as blocks:
                self._block(blocks.iv, pairs.iv)
        return Launch(b.func, tuple(args), self.rows // 2)

    def _block(self, block: Value, pair: Value) -> None:
        """All columns of a block of output channels."""
        b, together = self.b, self.choice.together
        full, left = divmod(self.columns, together)
        with b.loop(0, full, hint="tile") as tiles:
            self._tile(block, pair, tiles.iv, together)
        if left:
            self._tile(block, pair, full, left)

    def _tile(self, block: Value, pair: Value, number: Index, count: int) -> None:
        """`count` columns from tile `number` on."""
        b, (down, right) = self.b, self.window
        column = b.imul(number, self.choice.together)
        sums = self._multiply(block, column, count)
        both = [self.f.transform_outputs(b, sums[c::count]) for c in range(count)]
        values = [pixel[row] for row in range(2) for pixel in both]
        if self.bias is not None:
            bias = b.load(self.bias, b.imul(block, self.lanes), self.lanes)
            values = [b.binary("add", value, bias) for value in values]
        done = self.epilogue.finish(b, values, Patch(2, count, 1), block, b.imul(pair, 2), column)
        y, x = b.imul(pair, 2 // down), b.imul(number, self.choice.together // right)
        base = self.out.index(b, block, y, x)
        for r in range(2 // down):
            for c in range(count // right):
                cell = [
                    done[(r * down + i) * count + c * right + j]
                    for i in range(down)
                    for j in range(right)
                ]
                value = cell[0]
                if self.site.ends_in_pool:
                    value = combine_window(b, pool_of(self.site), cell, self.lanes)
                b.store(self.result, base, value, offset=self.out.offset(0, r, c))

    def _multiply(self, block: Value, column: Index, count: int) -> list[Value]:
        """Sums over channels and taps of a row, as `[product][column]`."""
        b, lanes, products = self.b, self.lanes, self.f.products
        taps = self.choice.horizontal.taps
        zero = b.splat(b.const(0.0), lanes)
        cursor = b.imul(block, self.source.blocks * taps * products * lanes)
        first = cursor if isinstance(cursor, Value) else b.const(cursor, INDEX)
        carry: list[Value] = [first, *[zero] * (products * count)]
        with b.loop(0, self.source.blocks, carry=carry, hint="ic") as channels:
            row = b.iadd(column, b.imul(channels.iv, self.made.plane))
            with b.loop(0, taps, carry=channels.carried, hint="kw") as columns:
                place, (at, *sums) = b.iadd(row, columns.iv), columns.carried
                for p in range(products):
                    weight = b.load(self.w, at, lanes, offset=p * lanes)
                    for c in range(count):
                        offset = p * self.made.pitch + c
                        pixel = b.load_splat(self.made.buffer, place, lanes, offset=offset)
                        k = p * count + c
                        sums[k] = b.fma(pixel, weight, sums[k])
                columns.yields([b.binary("add", at, products * lanes), *sums])
            channels.yields(columns.results)
        return channels.results[1:]


def pack_row_pairs(site: Site, choice: RowTilesChoice) -> NDArray[np.float32]:
    """Filters [O,C,kh,kw] as `[output block][input channel][kw][product][lane]`."""
    w = np.asarray(site.constant(site.anchor.args[1]), np.float64)
    out = site.blocked_out
    spread = np.zeros((out.blocks * out.block, *w.shape[1:]))
    spread[out.channel_slots] = w
    made = np.einsum("pr,ocrs->ocsp", choice.vertical.filter_matrix, spread)
    blocks = made.reshape(out.blocks, out.block, *made.shape[1:])
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 4, 1), np.float32)
