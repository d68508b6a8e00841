"""The loop nest of products of seven for eight: sums of inputs, products, sums of products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from cnncc.kernels.convolution.conv_depth import Depth, DepthTable
from cnncc.kernels.convolution.conv_geometry import conv_geometry
from cnncc.kernels.convolution.conv_tile import (
    Ahead,
    Pieces,
    Taps,
    Tile,
    declare_pieces,
    piece_blocks,
)
from cnncc.kernels.convolution.reduction import emit_tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.kernels.shares import each_panel
from cnncc.kernels.strassen.strassen_filters import P1, P3, P4, P5, P6, pack_halves
from cnncc.kernels.strassen.strassen_pairs import (
    LONE_PRODUCTS,
    PRODUCTS,
    Pairing,
    halves_of,
    whole_pairs,
)
from cnncc.kernels.template import (
    Arg,
    Launch,
    OperandArg,
    Site,
    bias_arg,
    out_buffer,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_TURN = 48  # multiply-adds of a turn of the reduction, beside which the loop costs nothing
_SUMS = 4  # S2, S3, S1 and S4, in the order of use
_LONGEST_PIECE = 8  # input blocks that are added up in one chain


class StrassenNest:
    """The loop nest of one site."""

    def __init__(self, site: Site, pairing: Pairing) -> None:
        self.site, self.pairing = site, pairing
        self.g = conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        tile = pairing.tile
        self.panels = whole_pairs(self.g.out_blocks) // 2 // tile.vectors
        self.kept = tile.accumulators * site.lanes
        self.epilogue = TileEpilogue(site, most=tile.accumulators)
        self.units = -(-self.g.rows // (2 * tile.rows))
        self.across = -(-self.g.columns // tile.columns)
        # Pairs of tiles that each band of each of two threads has.
        self.sure = max(1, self.units // max(2, -(-self.units // pairing.band))) * self.across
        # Rows of sums: both halves of a pair are one, and so is a row without a partner.
        sum_rows = pairing.band * tile.rows + 1
        # Blocks a multiple of a page apart would share few sets of the cache.
        self.pitch = (sum_rows * self.g.columns + 1) * site.lanes

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b = Builder(name)
        slots = self.out.blocks * self.out.block
        numbers = whole_pairs(self.out.blocks) * self.out.block
        elems = PRODUCTS * self.source.blocks * self.source.block * numbers // 4
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=elems)
        weights = self.site.packed(elems, partial(pack_halves, vectors=self.pairing.tile.vectors))
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), weights]
        self.bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            self.bias = b.buffer("bias", extent=slots)
            args.append(bias_arg(self.site, self.site.anchor.args[2], self.out))
        args += self.epilogue.declare(b)
        self.result, out_arg = out_buffer(b, self.site)
        half = self.g.in_blocks // 2
        self.sums, sums_arg = scratch_buffer(b, "sums", _SUMS * half * self.pitch)
        self.parked, parked_arg = scratch_buffer(b, "parked", 3 * self.kept)
        # What differs with the depth is not known in the function: layers of one shape share it.
        self.half = b.index_param("half")
        every: list[Arg | int] = [*args, out_arg, sums_arg, parked_arg, half]
        self.pieces: Pieces | None = None
        if half > _LONGEST_PIECE:
            registers, blocks = self.pairing.tile.accumulators, b.index_param("piece")
            self.pieces, totals_arg = declare_pieces(b, registers, self.site.lanes, blocks)
            every += [piece_blocks(half, 1, _LONGEST_PIECE), totals_arg]
        lo, hi = b.index_param("lo"), b.index_param("hi")
        # Rows of pairs in which this share has work fall into bands of like height.
        begin, end = (
            (b.idiv(lo, self.panels), b.idiv(b.iadd(hi, self.panels - 1), self.panels))
            if self.pairing.by_rows
            else (0, b.select(b.compare("lt", lo, hi), self.units, 0))
        )
        count = b.isub(end, begin)
        bands = b.idiv(b.iadd(count, self.pairing.band - 1), self.pairing.band)
        with b.loop(0, bands, hint="band") as band:
            start, stop = (
                b.iadd(begin, b.idiv(b.imul(number, count), bands))
                for number in (band.iv, b.iadd(band.iv, 1))
            )
            height = b.imin(self.pairing.band, b.isub(stop, start))
            with b.loop(0, height, hint="near") as pairs:
                self._sum_inputs(b, self._pair(b, start, pairs.iv), pairs.iv)
            with each_panel(b, (lo, hi), self.panels, self.units, by_rows=self.pairing.by_rows) as (
                panel,
                first,
                last,
            ):
                near = b.imax(0, b.isub(first, start)), b.imin(height, b.isub(last, start))
                self._panel(b, panel, start, near)
        return [Launch(b.func, tuple(every), self.units * self.panels)]

    def _pair(self, b: Builder, start: Index, near: Index) -> Index:
        """A row of pairs of the band that begins with `start`."""
        return b.imin(self.units - 1, b.iadd(start, near))  # a bound for those who verify it

    def _panel(self, b: Builder, panel: Index, start: Index, near: tuple[Index, Index]) -> None:
        """Rows of pairs of a panel, counted from `start`, with which their band begins."""
        unit, across = self.pairing.unit, self.across
        with b.loop(*near, hint="near") as pairs, b.loop(0, across, hint="across") as tiles:
            line = b.imul(pairs.iv, self.pairing.tile.rows)
            number = b.iadd(b.imul(b.isub(pairs.iv, near[0]), across), tiles.iv)

            def body(part: Tile, y: Index, x: Index) -> None:
                for half in halves_of(part):
                    top = b.iadd(y, half.row)
                    low = b.iadd(top, half.below) if half.below else None
                    quad = _Quad(panel, number, x, top, low, b.iadd(line, half.line))
                    _Products(self, b, half.tile, quad).all()

            where = (self._pair(b, start, pairs.iv), tiles.iv)
            for_each_tile(b, self.g.rows, self.g.columns, unit, where, body)

    # -- inputs ------------------------------------------------------------------------------------

    def input_at(self, b: Builder, block: Index, y: Index, x: Index) -> Index:
        """Where the input of a pixel of the result lies."""
        down, right = self.g.attrs.strides
        return self.source.index(b, block, b.imul(y, down), b.imul(x, right))

    def sum_at(self, b: Builder, number: Index, block: Index, row: Index, x: Index) -> Index:
        """Where one of the sums of a pixel lies; they are numbered in the order of use."""
        pixel = b.iadd(b.imul(row, self.g.columns), x)
        plane = b.iadd(b.imul(number, self.half), block)
        return b.iadd(b.imul(plane, self.pitch), b.imul(pixel, self.site.lanes))

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
            made = {0: s2, 1: s3, 2: s1, 3: b.binary("sub", a12, s2)}
        else:
            zero = b.splat(b.const(0.0), lanes)
            made = {0: b.binary("sub", zero, a11), 3: b.binary("add", a12, a11)}
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
    """Code of the products of a quad, one after the other.

    There is code for two of them, one of inputs and one of sums. A network finds no code in its
    caches when it comes to a layer: that of seven took 20 us to fetch.
    """

    def __init__(self, nest: StrassenNest, b: Builder, tile: Tile, quad: _Quad) -> None:
        self.nest, self.b, self.tile, self.quad = nest, b, tile, quad
        self.lanes = nest.site.lanes
        self.depth = b.imul(nest.half, self.lanes * tile.vectors * self.lanes)

    def all(self) -> None:
        """Every product, and what is the sum of it and those before."""
        b = self.b
        with b.loop(0, LONE_PRODUCTS if self.quad.low is None else PRODUCTS, hint="product") as p:
            number = p.iv
            if self.quad.low is None:
                number = b.select(b.compare("eq", number, 3), P3, number)
            early = b.select(b.compare("lt", number, P6), 1, 0)
            of_input = b.select(b.compare("eq", number, P4), 1, early)
            with b.when(b.compare("eq", of_input, 1)):
                self._of_input(number)
            with b.otherwise():
                self._of_sum(number)

    def _of_input(self, number: Value) -> None:
        """P1 = A11 B11, P2 = A12 B21 and P4 = A22 T4, of which C11 and C21 are made."""
        b, nest, quad = self.b, self.nest, self.quad
        p1 = b.compare("eq", number, P1)
        half = b.select(p1, 0, nest.half)
        y: Index = quad.top
        slot: Index = 0
        if quad.low is not None:
            below = b.compare("eq", number, P4)
            y, slot = b.select(below, quad.low, y), b.select(below, 2, 0)
        place = nest.input_at(b, half, y, quad.x)
        pitches = (nest.source.row_pitch, nest.source.plane_pitch)
        values = self._product(number, (nest.x, place), pitches, nest.g.attrs.strides)
        with b.when(p1):
            self._park(0, values)
        with b.otherwise():
            self._finish(self._added(slot, values), 0, y)

    def _of_sum(self, number: Value) -> None:
        """P6 = S2 T2, P7 = S3 T3, P5 = S1 T1 and P3 = S4 B22, of which C12 and C22 are made."""
        b, nest, quad = self.b, self.nest, self.quad
        early = b.compare("lt", number, P4)
        p6, p5 = b.compare("eq", number, P6), b.compare("eq", number, P5)
        order = b.select(early, b.select(p6, 0, 1), b.select(p5, 2, 3))
        place = nest.sum_at(b, order, 0, quad.line, quad.x)
        pitches = (nest.g.columns * self.lanes, nest.pitch)
        values = self._product(number, (nest.sums, place), pitches, (1, 1))
        with b.when(early):
            self._park(b.select(p6, 1, 2), self._added(b.select(p6, 0, 1), values))
        with b.otherwise():
            slot: Index = 1
            y: Index = quad.top
            if quad.low is not None:
                with b.when(p5):
                    self._park(0, self._added(1, values))
                slot, y = b.select(p5, 2, 0), b.select(p5, quad.low, y)
            self._finish(self._added(slot, values), 1, y)

    def _product(
        self,
        filters: Index,
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
            depth=_turns(self.tile, self.lanes),
        )
        number = b.iadd(b.imul(self.quad.panel, PRODUCTS), filters)
        weights = (nest.w, b.imul(number, self.depth))
        zero = b.splat(b.const(0.0), self.lanes)
        ahead = Ahead(b.imul(self.depth, PRODUCTS), self.quad.number, nest.sure)
        return emit_tile(
            b,
            self.tile,
            taps,
            self.lanes,
            source,
            weights,
            [zero] * self.tile.vectors,
            ahead=ahead,
            pieces=nest.pieces,
        )

    def _park(self, slot: Index, values: list[Value]) -> None:
        """Keep a tile in scratch memory."""
        place = self.b.imul(slot, self.nest.kept)
        for n, value in enumerate(values):
            self.b.store(self.nest.parked, place, value, offset=n * self.lanes)

    def _added(self, slot: Index, values: list[Value]) -> list[Value]:
        """The sum of a tile that was kept and another."""
        b, parked, lanes = self.b, self.nest.parked, self.lanes
        place = b.imul(slot, self.nest.kept)
        return [
            b.binary("add", b.load(parked, place, lanes, offset=n * lanes), v)
            for n, v in enumerate(values)
        ]

    def _finish(self, values: list[Value], half: int, y: Index) -> None:
        """Bias, epilogue and store of a tile of the panel in a half of the output channels."""
        b, blocks = self.b, self.nest.out.blocks
        block = b.imul(b.iadd(self.quad.panel, half * self.nest.panels), self.tile.vectors)
        if half and blocks % 2:
            with b.when(b.compare("lt", block, blocks)):
                self._store(values, block, y)
        else:
            self._store(values, block, y)

    def _store(self, values: list[Value], block: Index, y: Index) -> None:
        b, nest, tile, x = self.b, self.nest, self.tile, self.quad.x
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


def _turns(tile: Tile, lanes: int) -> DepthTable:
    """The channels of a block, as few in a turn as large tiles allow: code is long enough."""
    step = 2 if 2 * tile.accumulators >= _TURN else 4
    return DepthTable(Depth(step, (lanes // step,)))
