"""1x1 convolution as a product of matrices with 7 multiplications of blocks instead of 8.

Pixels, input channels and output channels each fall into two halves: `C = A B` of 2x2 blocks, A of
pixels by input channels, B of input by output channels. Winograd's form of Strassen's algorithm (V.
Strassen, "Gaussian Elimination is not Optimal", 1969; S. Winograd, "On multiplication of 2 x 2
matrices", 1971):

    S1 = A21 + A22   T1 = B12 - B11   P1 = A11 B11   P5 = S1 T1   U2 = P1 + P6   C11 = P1 + P2
    S2 = S1 - A11    T2 = B22 - T1    P2 = A12 B21   P6 = S2 T2   U3 = U2 + P7   C12 = U2 + P5 + P3
    S3 = A11 - A21   T3 = B22 - B12   P3 = S4 B22    P7 = S3 T3                  C21 = U3 - P4
    S4 = A12 - S2    T4 = T2 - B21    P4 = A22 T4                                C22 = U3 + P5

Halves of the pixels are neighbouring register tiles, one above the other, so that the sums of
products are additions in registers: what four tiles of results keep in between is three tiles of
scratch memory, which stay in L1. A row without a partner is computed with
A21 = A22 = 0, which leaves four products, as many as by the definition. Filters are summed in f64
at compile time, inputs for a band of rows at a time, once for all panels that a thread computes.

Results of a pair of pixels and a pair of channels depend on both: a NaN, an infinity or a number
near overflow in one pixel reaches the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import F64, Array
from cnncc.ir.tolerance import Rounding
from cnncc.kernels.conv_nest import conv_geometry, for_each_tile, out_buffer, refuses_conv
from cnncc.kernels.conv_tile import Ahead, Pieces, Taps, Tile, emit_tile, piece_blocks
from cnncc.kernels.cost import predict
from cnncc.kernels.strassen_pairs import (
    LONE_PRODUCTS,
    PRODUCTS,
    Pairing,
    choose_pairing,
    halves_of,
    partners,
)
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    per_channel,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_SUMS = 4  # S1 to S4
_LONGEST_PIECE = 8  # input blocks that are added up in one chain


class ConvStrassen(Kernel):
    """One work item is a pair of panels of output channels of one band of rows."""

    name: ClassVar[str] = "conv_strassen"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "strassen"

    def refuses(self, site: Site) -> str:
        if site.ends_in_pool:
            return "does not pool"
        reason = refuses_conv(site)
        if reason:
            return reason
        g = conv_geometry(site)
        if g.kernel != (1, 1) or any(g.attrs.pads) or g.attrs.groups > 1:
            return "is no product of two matrices"
        if g.block != site.lanes:
            return "the input's blocks are narrow"
        if g.in_blocks % 2 or g.out_blocks % 2:
            return "blocks of channels do not fall into halves"
        if g.rows == 1:
            return "a single row has no pairs of pixels"
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread to other channels"
        return ""

    def estimate(self, site: Site) -> Estimate:
        g, pairing = conv_geometry(site), _pairing(site)
        pairs, lone = divmod(g.rows, 2)
        weights = PRODUCTS * site.lanes * g.in_blocks * g.out_blocks // 4
        fmas = (pairs * PRODUCTS + lone * LONE_PRODUCTS) * g.columns * weights / PRODUCTS
        return predict(
            site,
            pairing.cycles,
            str(pairing),
            {"error_bound_k": rounding_of(site.types[site.anchor.args[0]].shape[1])},
            fmas=fmas,
            weights=weights * site.target.vector_bits / 8,
        )

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a pair of pixels and a pair of channels."""
        pairing = _pairing(site)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return pair_rounding(site, pairing, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return _StrassenNest(site, _pairing(site)).launches(self.name)


def _pairing(site: Site) -> Pairing:
    g = conv_geometry(site)
    return choose_pairing(site.target, g.rows, g.columns, g.in_blocks, g.out_blocks)


def rounding_of(channels: int) -> float:
    """K of the tolerances' rule C: that of sums of so many terms, here of sums of pairs.

    At least 3 times the worst of `docs/decisions/035-strassen.md`.
    """
    return 4.0 + 2.0 * math.sqrt(channels)


def pair_rounding(site: Site, pairing: Pairing, x: Array, w: Array) -> F64:
    """`u K T` [N,O,h,w], T the sum over pairs of channels of |inputs| times |filters| of a pair.

    Inputs are those of both pixels, filters those of both output channels.
    """
    g = conv_geometry(site)
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    size = np.abs(x[:, :, :: g.attrs.strides[0], :: g.attrs.strides[1]])
    of_pixels = size + size[:, :, partners(g.rows, pairing.tile.rows)]
    both_in = _by_pairs(of_pixels, source.channel_slots, source.blocks * source.block, axis=1)
    weights = np.abs(w[:, :, 0, 0])
    both_out = _by_pairs(weights, out.channel_slots, out.blocks * out.block, axis=0)
    both = _by_pairs(both_out, source.channel_slots, source.blocks * source.block, axis=1)
    slots = out.channel_slots % (out.blocks * out.block // 2)
    most = np.where(both_in < np.finfo(np.float32).max / 16, both_in, np.inf)
    held = np.where(np.isfinite(most), most, 0.0)
    total = np.einsum("ok,nkhw->nohw", both[slots], held)
    spoilt = ~np.isfinite(most).all(axis=1, keepdims=True)
    bound: F64 = 2.0**-24 * rounding_of(x.shape[1]) * np.where(spoilt, np.inf, total)
    return bound


def _by_pairs(values: Array, slots: NDArray[Any], count: int, *, axis: int) -> F64:
    """Sums of the two channels of each pair, by the slot of the first; slots are `count`."""
    moved = np.moveaxis(values, axis, 0)
    spread = np.zeros((count, *moved.shape[1:]))
    spread[slots] = moved
    return np.moveaxis(spread[: count // 2] + spread[count // 2 :], 0, axis)


class _StrassenNest:
    """The loop nest of one site."""

    def __init__(self, site: Site, pairing: Pairing) -> None:
        self.site, self.pairing = site, pairing
        self.g = conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.half = self.g.in_blocks // 2
        tile = pairing.tile
        self.panels = self.g.out_blocks // 2 // tile.vectors
        self.kept = tile.accumulators * site.lanes
        self.epilogue = TileEpilogue(site, most=tile.accumulators)
        self.units = -(-self.g.rows // (2 * tile.rows))
        self.across = -(-self.g.columns // tile.columns)
        # Rows of sums: both halves of a pair are one, and so is a row without a partner.
        self.sum_rows = pairing.band * tile.rows + 1
        # Blocks a multiple of a page apart would share few sets of the cache.
        self.block_pitch = (self.sum_rows * self.g.columns + 1) * site.lanes

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b = Builder(name)
        weights = pack_halves(self.site, self.pairing.tile.vectors)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            numbers = np.asarray(self.site.constant(self.site.anchor.args[2]), np.float32)
            bias = per_channel(numbers, self.out)
            self.bias = b.buffer("bias", extent=bias.size)
            args.append(PackedArg(bias))
        args += self.epilogue.declare(b)
        self.result, out_arg = out_buffer(b, self.site)
        self.sums, sums_arg = scratch_buffer(b, "sums", _SUMS * self.half * self.block_pitch)
        self.parked, parked_arg = scratch_buffer(b, "parked", 3 * self.kept)
        self.totals, totals_arg = scratch_buffer(b, "totals", self.kept)
        bands = -(-self.units // self.pairing.band)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            band, panel = b.idiv(items.iv, self.panels), b.irem(items.iv, self.panels)
            self._item(b, band, panel, b.compare("eq", items.iv, lo))
        every = (*args, out_arg, sums_arg, parked_arg, totals_arg)
        return [Launch(b.func, every, bands * self.panels)]

    def _item(self, b: Builder, band: Index, panel: Index, first: Value) -> None:
        start = b.imul(band, self.pairing.band)
        end = b.imin(self.units, b.iadd(start, self.pairing.band))
        # The sums are still there when the item before was another panel of this band.
        fresh = b.select(first, 1, b.select(b.compare("eq", panel, 0), 1, 0))
        with b.when(b.compare("eq", fresh, 1)), b.loop(start, end, hint="pair") as pairs:
            self._sum_inputs(b, pairs.iv, b.isub(pairs.iv, start))
        unit, across = self.pairing.unit, self.across
        with b.loop(start, end, hint="pair") as pairs, b.loop(0, across, hint="across") as tiles:
            near = b.isub(pairs.iv, start)
            line = b.imul(near, self.pairing.tile.rows)
            number = b.iadd(b.imul(near, across), tiles.iv)

            def body(part: Tile, y: Index, x: Index) -> None:
                for half in halves_of(part):
                    top = b.iadd(y, half.row)
                    low = b.iadd(top, half.below) if half.below else None
                    quad = _Quad(panel, number, x, top, low, b.iadd(line, half.line))
                    _Products(self, b, half.tile, quad).all()

            where = (pairs.iv, tiles.iv)
            for_each_tile(b, self.g.rows, self.g.columns, unit, where, body)

    # -- inputs ------------------------------------------------------------------------------------

    def input_at(self, b: Builder, block: Index, y: Index, x: Index) -> Index:
        """Where the input of a pixel of the result lies."""
        down, right = self.g.attrs.strides
        return self.source.index(b, block, b.imul(y, down), b.imul(x, right))

    def sum_at(self, b: Builder, number: int, block: Index, row: Index, x: Index) -> Index:
        """Where S1 to S4 of a pixel lie."""
        pixel = b.iadd(b.imul(row, self.g.columns), x)
        place = b.iadd(b.imul(block, self.block_pitch), b.imul(pixel, self.site.lanes))
        return b.iadd(place, (number - 1) * self.half * self.block_pitch)

    def _sum_inputs(self, b: Builder, unit: Index, near: Index) -> None:
        """S1 to S4 of one row of pairs."""
        rows = self.pairing.tile.rows

        def body(part: Tile, y: Index, _: Index) -> None:
            for half in halves_of(part):
                with (
                    b.loop(0, self.half, hint="icb") as blocks,
                    b.loop(0, half.tile.rows, hint="row") as lines,
                    b.loop(0, self.g.columns, hint="x") as columns,
                ):
                    top = b.iadd(y, lines.iv, half.row)
                    line = b.iadd(b.imul(near, rows), lines.iv, half.line)
                    self._sum_pixel(b, blocks.iv, (top, columns.iv), line, half.below)

        whole = replace(self.pairing.unit, columns=self.g.columns)
        for_each_tile(b, self.g.rows, self.g.columns, whole, (unit, 0), body)

    def _sum_pixel(
        self, b: Builder, block: Index, pixel: tuple[Index, Index], line: Index, below: int
    ) -> None:
        """S1 to S4 of a block of a pixel and its partner so many rows below; 0 for none."""
        y, x = pixel
        lanes, other = self.site.lanes, b.iadd(block, self.half)
        a11 = b.load(self.x, self.input_at(b, block, y, x), lanes)
        a12 = b.load(self.x, self.input_at(b, other, y, x), lanes)
        if below:
            low = b.iadd(y, below)
            a21 = b.load(self.x, self.input_at(b, block, low, x), lanes)
            a22 = b.load(self.x, self.input_at(b, other, low, x), lanes)
            s1 = b.binary("add", a21, a22)
            s2 = b.binary("sub", s1, a11)
            s3 = b.binary("sub", a11, a21)
            made = {1: s1, 2: s2, 3: s3, 4: b.binary("sub", a12, s2)}
        else:
            zero = b.splat(b.const(0.0), lanes)
            made = {2: b.binary("sub", zero, a11), 4: b.binary("add", a12, a11)}
        for number, value in made.items():
            b.store(self.sums, self.sum_at(b, number, block, line, x), value)


@dataclass(frozen=True, slots=True)
class _Quad:
    """Where two tiles of pixels and two panels of output channels lie.

    Attributes:
        panel: the panel of the first half; the other one is as many behind as there are in a half.
        number: number of the pair of tiles in its band.
        x: column of the first pixel.
        top: row of it.
        low: row of its partner, None where there is none.
        line: row of the sums.
    """

    panel: Index
    number: Index
    x: Index
    top: Index
    low: Index | None
    line: Index


class _Products:
    """Code of the products of a quad, one after the other."""

    def __init__(self, nest: _StrassenNest, b: Builder, tile: Tile, quad: _Quad) -> None:
        self.nest, self.b, self.tile, self.quad = nest, b, tile, quad
        self.lanes = nest.site.lanes
        self.depth = nest.half * self.lanes * tile.vectors * self.lanes

    def all(self) -> None:
        """Every product, and what is the sum of it and those before."""
        top, low = self.quad.top, self.quad.low
        self._park(0, self._of_input(0, 0, top))
        self._finish(self._added(0, self._of_input(1, 1, top)), 0, top)
        self._park(1, self._added(0, self._of_sum(2, 2)))
        if low is None:
            self._finish(self._added(1, self._of_sum(6, 4)), 1, top)
            return
        self._park(2, self._added(1, self._of_sum(3, 3)))
        self._finish(self._added(2, self._of_input(4, 1, low)), 0, low)
        p5 = self._of_sum(5, 1)
        self._park(0, p5)
        self._finish(self._added(2, p5), 1, low)
        self._finish(self._added(0, self._added(1, self._of_sum(6, 4))), 1, top)

    def _of_input(self, filters: int, half: int, y: Index) -> list[Value]:
        """A half of the inputs times filters number `filters` of the panel."""
        nest, source = self.nest, self.nest.source
        place = nest.input_at(self.b, half * nest.half, y, self.quad.x)
        pitches = (source.row_pitch, source.plane_pitch)
        return self._product(filters, (nest.x, place), pitches, nest.g.attrs.strides)

    def _of_sum(self, filters: int, number: int) -> list[Value]:
        """One of S1 to S4 times filters."""
        nest = self.nest
        place = nest.sum_at(self.b, number, 0, self.quad.line, self.quad.x)
        pitches = (nest.g.columns * self.lanes, nest.block_pitch)
        return self._product(filters, (nest.sums, place), pitches, (1, 1))

    def _product(
        self,
        filters: int,
        source: tuple[Value, Index],
        pitches: tuple[int, int],
        step: tuple[int, int],
    ) -> list[Value]:
        b, nest = self.b, self.nest
        taps = Taps(
            blocks=nest.half,
            block=self.lanes,
            rows=1,
            columns=1,
            row_step=1,
            column_step=1,
            pixel_row_step=step[0],
            pixel_column_step=step[1],
            plane_pitch=pitches[1],
            row_pitch=pitches[0],
        )
        number = b.iadd(b.imul(self.quad.panel, PRODUCTS), filters)
        weights = (nest.w, b.imul(number, self.depth))
        zero = b.splat(b.const(0.0), self.lanes)
        pairs = nest.pairing.band * nest.across
        ahead = Ahead(PRODUCTS * self.depth, self.quad.number, pairs)
        return emit_tile(
            b,
            self.tile,
            taps,
            self.lanes,
            source,
            weights,
            [zero] * self.tile.vectors,
            ahead=ahead,
            pieces=Pieces(nest.totals, piece_blocks(nest.half, 1, _LONGEST_PIECE)),
        )

    def _park(self, slot: int, values: list[Value]) -> None:
        """Keep a tile in scratch memory."""
        for n, value in enumerate(values):
            self.b.store(self.nest.parked, 0, value, offset=slot * self.nest.kept + n * self.lanes)

    def _added(self, slot: int, values: list[Value]) -> list[Value]:
        """The sum of a tile that was kept and another."""
        b, first = self.b, slot * self.nest.kept
        return [
            b.binary(
                "add", b.load(self.nest.parked, 0, self.lanes, offset=first + n * self.lanes), v
            )
            for n, v in enumerate(values)
        ]

    def _finish(self, values: list[Value], half: int, y: Index) -> None:
        """Bias, epilogue and store of a tile of the panel in a half of the output channels."""
        b, nest, tile, x = self.b, self.nest, self.tile, self.quad.x
        block = b.imul(b.iadd(self.quad.panel, half * nest.panels), tile.vectors)
        patch = Patch(tile.rows, tile.columns, tile.vectors)
        if nest.bias is not None:
            at = b.imul(block, self.lanes)
            bias = [
                b.load(nest.bias, at, self.lanes, offset=v * self.lanes)
                for v in range(tile.vectors)
            ]
            values = [b.binary("add", v, bias[n % tile.vectors]) for n, v in enumerate(values)]
        base = nest.out.index(b, block, y, x)
        finished = nest.epilogue.finish(b, values, patch, block, y, x)
        places = [(r, c, v) for r, c in patch.pixels for v in range(tile.vectors)]
        for value, (row, column, v) in zip(finished, places, strict=True):
            b.store(nest.result, base, value, offset=nest.out.offset(v, row, column))


def pack_halves(site: Site, vectors: int) -> NDArray[np.float32]:
    """Filters [O,C,1,1] as `[panel][product][channel][vectors * lanes]`, summed in f64.

    Products are in the order of `sums_of_filters`.
    """
    w = np.asarray(site.constant(site.anchor.args[1]), np.float64)[:, :, 0, 0]
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    spread = np.zeros((source.blocks * source.block, out.blocks * out.block))
    spread[source.channel_slots[:, None], out.channel_slots[None, :]] = w.T
    used = np.stack(sums_of_filters(*halves(spread)))
    panels = used.reshape(PRODUCTS, len(spread) // 2, -1, vectors * out.block)
    return np.ascontiguousarray(panels.transpose(2, 0, 1, 3), np.float32)


def halves(matrix: Array) -> tuple[Array, Array, Array, Array]:
    """The blocks 11, 12, 21, 22 of a matrix with even sides."""
    rows, columns = (n // 2 for n in matrix.shape)
    above, below = matrix[:rows], matrix[rows:]
    return above[:, :columns], above[:, columns:], below[:, :columns], below[:, columns:]


def sums_of_filters(b11: Array, b12: Array, b21: Array, b22: Array) -> tuple[Array, ...]:
    """The right sides of P1, P2, P6, P7, -P4, P5 and P3."""
    t1 = b12 - b11
    t2 = b22 - t1
    return b11, b21, t2, b22 - b12, b21 - t2, t1, b22
