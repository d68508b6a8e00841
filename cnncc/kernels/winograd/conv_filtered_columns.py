"""Convolutions of few filters over planes by minimal filtering, with lanes of columns.

As in `conv_columns` a weight is one number for all lanes, so that no lane waits for filters that do
not exist. Down the rows it is F(m, r): few of the multiplications of the definition are left, and
transforms need no lane of a neighbour. Products of several filters are in registers together, one
row of transformed inputs after the other; each filter's are transformed back together.
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
from cnncc.kernels.convolution.conv_columns import ConvColumns, lane_mask, pooled_columns
from cnncc.kernels.cost import predict
from cnncc.kernels.epilogue import Epilogue
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    ResultArg,
    Site,
    per_channel,
    scratch_buffer,
)
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.row_pairs_choice import RowTilesChoice
from cnncc.kernels.winograd.tile_rounding import tile_rounding
from cnncc.kernels.winograd.transformed_rows import TransformedRows
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_OUTPUTS = (4, 2)  # rows that are computed together, where they and the taps have a transform
_TRANSFORMS = {(m, taps): CookToom(m, taps) for m, taps in ((2, 3), (4, 3), (2, 5), (4, 5), (2, 7))}
_OTHERS = 8  # registers that are no accumulators
_OVERHEAD = 30.0  # cycles of a loop's start and end


class ConvFilteredColumns(Kernel):
    """One work item is one tile of rows for all filters."""

    name: ClassVar[str] = "conv_filtered_columns"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        reason = ConvColumns().refuses(site)
        if reason:
            return reason
        attrs = site.anchor.attrs
        if (attrs.strides, attrs.dilations) != ((1, 1), (1, 1)):
            return "has strides or dilations"
        mean = site.steps[-1].op == "avg_pool2d"
        if site.types[site.anchor.args[0]].shape[1] == 1 and not mean:
            return "sums over one channel are short, and would round worse"
        if not _choices(site):
            return "no transform suits the rows of windows and result"
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread over its tile"
        return ""

    def estimate(self, site: Site) -> Estimate:
        choice = _choice(site)
        products = choice.vertical.products * choice.horizontal.taps
        elems = products * site.types[site.anchor.args[0]].shape[1] * site.result.shape[1]
        figures = {"error_bound_k": choice.rounding}
        fmas = float(elems * choice.down * -(-choice.across // site.lanes))
        return predict(site, choice.cycles, _words(choice), figures, fmas=fmas, weights=4.0 * elems)

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a tile of rows, infinite where it meets what is not finite."""
        # Of all rows and columns: also those that belong to no window of a pool.
        types, attrs = [site.types[a] for a in site.anchor.args], site.anchor.attrs
        rows, columns = lookup("conv2d").infer(types, attrs).shape[2:]
        choice = _choice(site)
        choice = replace(choice, down=-(-rows // choice.vertical.outputs), across=columns)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return tile_rounding(choice, attrs, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return [_FilteredColumns(site, _choice(site)).launch(self.name)]


def _words(choice: RowTilesChoice) -> str:
    f = choice.vertical
    taps = f"{f.taps}x{choice.horizontal.taps}"
    return f"F({f.outputs}x1, {taps}), {choice.together} filters at once"


def _window(site: Site) -> tuple[int, int]:
    """Rows and columns of the convolution for each pixel of the result."""
    rows, columns = site.steps[-1].attrs.window if site.ends_in_pool else (1, 1)
    return rows, columns


def _vectors(site: Site) -> int:
    """Vectors of neighbouring columns that are computed together: whole windows, at least two."""
    step = _window(site)[1]
    return step if site.ends_in_pool else min(2, -(-site.result.shape[3] // site.lanes))


def _choices(site: Site) -> list[RowTilesChoice]:
    """What suits the rows, the quickest first."""
    (down, right), taps = _window(site), site.types[site.anchor.args[1]].shape[2:]
    _, channels, rows, columns = site.result.shape
    rows, columns = rows * down, columns * right
    room = (site.target.vector_registers - _OTHERS) // _vectors(site)
    found = []
    for m in _OUTPUTS:
        vertical = _TRANSFORMS.get((m, taps[0]))
        if vertical is None or rows % m or m % down or not room:
            continue
        together = max(n for n in range(1, min(room, channels) + 1) if channels % n == 0)
        across = CookToom(1, taps[1])
        choice = RowTilesChoice(vertical, across, rows // m, columns, together, 0.0)
        found.append(replace(choice, cycles=choice.down * _tile_cycles(site, choice)))
    return sorted(found, key=lambda choice: choice.cycles)


def _tile_cycles(site: Site, choice: RowTilesChoice) -> float:
    """Of one tile of rows."""
    machine, lanes, products = site.target.machine, site.lanes, choice.vertical.products
    channels, filters = site.types[site.anchor.args[0]].shape[1], site.result.shape[1]
    vectors = -(-(choice.across + choice.horizontal.taps - 1) // lanes)
    cycles = _OVERHEAD + channels * vectors * 2.5 * products
    vectors = _vectors(site)
    sums = choice.together * vectors
    runs = -(-choice.across // (vectors * lanes)) * (filters // choice.together)
    # A vector in a row that is no whole number of them from its start lies in two lines.
    loads = (2 * vectors + choice.together / 2) / machine.loads
    step = max(sums / machine.fmas, loads, machine.fma_latency)
    product = channels * choice.horizontal.taps * step + _OVERHEAD / 2 + sums
    back = sums * 2.0 * products + _OVERHEAD * choice.together
    return cycles + runs * (products * product + back)


def _choice(site: Site) -> RowTilesChoice:
    choices = _choices(site)
    if not choices:
        raise InternalError(f"{site.name}: no transform of rows")
    return choices[0]


class _FilteredColumns:
    """The function of one site."""

    def __init__(self, site: Site, choice: RowTilesChoice) -> None:
        self.site, self.choice, self.f = site, choice, choice.vertical
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.lanes, self.window, self.vectors = site.lanes, _window(site), _vectors(site)
        self.pool = site.steps[-1] if site.ends_in_pool else None
        self.epilogue = Epilogue(site, last=-1 if self.pool else None)
        pads, read = site.anchor.attrs.pads, choice.across + choice.horizontal.taps - 1
        self.made = TransformedRows(self.source, self.f, (pads[0], pads[1]), read, self.lanes)

    def launch(self, name: str) -> Launch:
        """One work item a tile of rows."""
        site, choice, b = self.site, self.choice, Builder(name)
        self.b = b
        weights = pack_filtered_columns(site, choice)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(site.anchor.args) == 3:
            bias = per_channel(np.asarray(site.constant(site.anchor.args[2])), self.out)
            self.bias = b.buffer("bias", extent=bias.size)
            args.append(PackedArg(bias))
        self.epilogue.declare(b)
        self.held = choice.together * self.vectors * self.lanes  # sums of a product
        self.sums, sums_arg = scratch_buffer(b, "sums", self.f.products * self.held)
        args += [*self.epilogue.args, sums_arg, self.made.declare(b), ResultArg()]
        self.result = b.buffer("out", extent=self.out.elems, writable=True)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="rows") as items:
            self.made.fill(b, self.x, b.imul(items.iv, self.f.outputs))
            with b.loop(0, self.out.channels // choice.together, hint="panel") as panels:
                self._rows(panels.iv, items.iv)
        return Launch(b.func, tuple(args), choice.down)

    def _rows(self, panel: Index, item: Index) -> None:
        """The rows of an item, for a panel of filters."""
        b, run = self.b, self.vectors * self.lanes // self.window[1]
        full, left = divmod(self.out.width, run)
        with b.loop(0, full, hint="run") as runs:
            self._run(panel, item, b.imul(runs.iv, run), run)
        if left:
            self._run(panel, item, full * run, left)

    def _run(self, panel: Index, item: Index, column: Index, pixels: int) -> None:
        """`pixels` columns of the result from one on."""
        b, together = self.b, self.choice.together
        vectors = -(-pixels * self.window[1] // self.lanes)
        first = b.imul(column, self.window[1])
        with b.loop(0, self.f.products, hint="product") as products:
            self._multiply(panel, products.iv, first, vectors)
        with b.loop(0, together, hint="filter") as filters:
            channel = b.iadd(b.imul(panel, together), filters.iv)
            rows = self._transformed(channel, filters.iv, vectors)
            self._store(channel, (item, column), rows, pixels)

    def _multiply(self, panel: Index, product: Index, column: Index, vectors: int) -> None:
        """The sums of one product, as `[filter][vector]`."""
        b, lanes, together = self.b, self.lanes, self.choice.together
        taps, channels = self.choice.horizontal.taps, self.source.blocks
        number = b.iadd(b.imul(panel, self.f.products), product)
        weights = b.imul(number, channels * taps * together)
        row = b.iadd(b.imul(product, self.made.pitch), column)
        zeros = [b.splat(b.const(0.0), lanes)] * (together * vectors)
        with b.loop(0, channels, carry=zeros, hint="ic") as loop:
            place = b.iadd(row, b.imul(loop.iv, self.made.plane))
            at, sums = b.iadd(weights, b.imul(loop.iv, taps * together)), loop.carried
            for tap in range(taps):
                pixels = [
                    b.load(self.made.buffer, place, lanes, offset=tap + v * lanes)
                    for v in range(vectors)
                ]
                for f in range(together):
                    weight = b.load_splat(self.w, at, lanes, offset=tap * together + f)
                    for v, pixel in enumerate(pixels):
                        k = f * vectors + v
                        sums[k] = b.fma(pixel, weight, sums[k])
            loop.yields(sums)
        to = b.imul(product, self.held)
        for number_, value in enumerate(loop.results):
            b.store(self.sums, to, value, offset=number_ * lanes)

    def _transformed(self, channel: Index, place: Index, vectors: int) -> list[list[Value]]:
        """The rows of one filter behind all steps but a pool, as vectors of columns."""
        b, lanes = self.b, self.lanes
        first = b.imul(place, vectors * lanes)
        columns = []
        for v in range(vectors):
            sums = [
                b.load(self.sums, first, lanes, offset=p * self.held + v * lanes)
                for p in range(self.f.products)
            ]
            columns.append(self.f.transform_outputs(b, sums))
        rows = [list(row) for row in zip(*columns, strict=True)]
        if self.bias is not None:
            bias = b.load_splat(self.bias, channel, lanes)
            rows = [[b.binary("add", value, bias) for value in row] for row in rows]
        self.epilogue.open(b, channel, 0, 0)
        return [[self.epilogue.apply(b, value) for value in row] for row in rows]

    def _store(
        self, channel: Index, at: tuple[Index, Index], rows: list[list[Value]], pixels: int
    ) -> None:
        """The pixels of the result; `at`: the tile of rows, and a column of the result."""
        b, lanes, down = self.b, self.lanes, self.window[0]
        made = self.f.outputs // down
        base = self.out.index(b, channel, b.imul(at[0], made), at[1])
        for r in range(made):
            windows = rows[r * down : (r + 1) * down]
            for number, value in enumerate(pooled_columns(b, self.pool, windows, pixels)):
                mask = lane_mask(b, lanes, pixels - number * lanes)
                offset = r * self.out.row_pitch + number * lanes
                b.store(self.result, base, value, offset=offset, mask=mask)


def pack_filtered_columns(site: Site, choice: RowTilesChoice) -> NDArray[np.float32]:
    """Filters [O,C,kh,kw] as `[panel][product][input channel][kw][filter of the panel]`."""
    w = np.asarray(site.constant(site.anchor.args[1]), np.float64)
    made = np.einsum("pr,ocrs->pcso", choice.vertical.filter_matrix, w)
    panels = made.reshape(*made.shape[:3], -1, choice.together)
    return np.ascontiguousarray(panels.transpose(3, 0, 1, 2, 4), np.float32)
