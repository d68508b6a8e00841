"""Convolution, pointwise steps and pooling in one loop nest; the map between is never stored.

Where windows do not overlap, a register tile covers whole windows and each pooled pixel is the
maximum (or mean) of accumulators. Where they overlap, a work item walks down a band of pooled rows
and keeps as many finished rows of the convolution as the window is high in a ring of scratch
memory; only the rows above a band are computed twice.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.conv_nest import (
    ConvGeometry,
    ConvNest,
    conv_geometry,
    conv_place,
    for_each_tile,
    for_each_width,
    last_lanes,
    out_buffer,
    pack_panels,
    refuses_conv,
)
from cnncc.kernels.conv_tile import Tile, TileChoice, choose_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    PackedArg,
    Site,
    scratch_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.fused import Step
from cnncc.ops.pool import window_counts

_RING_BYTES = 128 << 10  # scratch of a band: it stays in L2
_BAND_OVERHEAD = 0.08  # share of rows that bands may compute twice


@dataclass(frozen=True, slots=True)
class PoolBehind:
    """The pool behind a convolution.

    Attributes:
        step: operator and attributes.
        rows: pooled rows.
        columns: pooled columns.
    """

    step: Step
    rows: int
    columns: int

    @property
    def is_max(self) -> bool:
        """Whether it takes the maximum rather than the mean."""
        return self.step.op == "max_pool2d"

    @property
    def overlaps(self) -> bool:
        """Whether windows share pixels, hang over the edge or may not fill up."""
        a = self.step.attrs
        return tuple(a.window) != tuple(a.strides) or any(a.pads) or bool(a.ceil)


def pool_of(site: Site) -> PoolBehind:
    """The pool that ends a site."""
    return PoolBehind(site.steps[-1], site.result.shape[2], site.result.shape[3])


class _ConvPool(Kernel):
    """What both ways share."""

    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})

    def refuses(self, site: Site) -> str:
        if not site.ends_in_pool:
            return "does not end in a pool"
        return refuses_conv(site) or self._refuses_pool(site)

    @abstractmethod
    def _refuses_pool(self, site: Site) -> str:
        """Why the pool does not suit."""

    @staticmethod
    def _estimate(
        site: Site, cycles: float, choice: str, figures: dict[str, float], ideal: float
    ) -> Estimate:
        """The model's time; `ideal` are the cycles of the multiply-adds at the peak."""
        fmas = ideal * site.target.machine.fmas
        weights = 4.0 * site.types[site.anchor.args[1]].elems
        return predict(site, cycles, choice, figures, fmas=fmas, weights=weights)

    def _start(self, site: Site, tile: Tile) -> tuple[Builder, ConvNest, list[Arg]]:
        """The function with the parameters that the convolution reads."""
        nest = ConvNest(site, tile.vectors, last=-1)
        filters = np.asarray(site.constant(site.anchor.args[1]), np.float32)
        groups = site.anchor.attrs.groups
        weights = pack_panels(filters, nest.source, nest.out, groups, tile.vectors)
        b = Builder(self.name)
        return b, nest, nest.declare(b, weights, weights.size)


class ConvPoolTile(_ConvPool):
    """One work item is one tile of whole pooling windows for one panel of output channels."""

    name: ClassVar[str] = "conv_pool_tile"

    def _refuses_pool(self, site: Site) -> str:
        pool = pool_of(site)
        if pool.overlaps:
            return "pooling windows overlap or hang over the edge"
        rows, columns = pool.step.attrs.window
        if rows * columns > max(pixels for pixels, _ in site.target.tiles):
            return "a pooling window does not fit the register tile"
        return ""

    def _choice(self, site: Site) -> TileChoice:
        g, pool = conv_geometry(site), pool_of(site)
        unit = pool.step.attrs.window
        rows, columns = pool.rows * unit[0], pool.columns * unit[1]
        return choose_tile(
            site.target, rows, columns, g.out_blocks, g.steps, unit=unit, last=last_lanes(site)
        )

    def estimate(self, site: Site) -> Estimate:
        choice = self._choice(site)
        cycles = choice.cycles * site.anchor.attrs.groups
        figures = {"utilisation": choice.utilisation}
        words = f"tile {choice.tile}"
        return self._estimate(site, cycles, words, figures, cycles * choice.utilisation)

    def lower(self, site: Site) -> list[Launch]:
        g, pool, tile = conv_geometry(site), pool_of(site), self._choice(site).tile
        window = pool.step.attrs.window
        b, nest, args = self._start(site, tile)
        out, out_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        rows, columns = pool.rows * window[0], pool.columns * window[1]
        down, across = -(-rows // tile.rows), -(-columns // tile.columns)
        with b.loop(lo, hi, hint="item") as items:
            panel = b.idiv(items.iv, down * across)
            number = b.irem(items.iv, down * across)

            def body(part: Tile, y: Index, x: Index) -> None:
                first = b.imul(panel, part.vectors)
                base = nest.out.index(b, first, b.idiv(y, window[0]), b.idiv(x, window[1]))
                cells: dict[tuple[int, int], list[list[Value]]] = {}

                def store(row: int, column: int, values: list[Value]) -> None:
                    cell = row // window[0], column // window[1]
                    cells.setdefault(cell, []).append(values)
                    if len(cells[cell]) == window[0] * window[1]:
                        for v in range(part.vectors):
                            pooled = combine_window(
                                b, pool, [p[v] for p in cells[cell]], site.lanes
                            )
                            b.store(out, base, pooled, offset=nest.out.offset(v, *cell))

                nest.tile(b, part, panel, conv_place(b, nest, g, panel, y, x), store)

            where = (b.idiv(number, across), b.irem(number, across))
            for_each_width(
                b, nest, tile, panel, lambda t: for_each_tile(b, rows, columns, t, where, body)
            )
        return [Launch(b.func, (*args, out_arg), nest.panels * down * across)]


def combine_window(b: Builder, pool: PoolBehind, values: list[Value], lanes: int) -> Value:
    """The maximum or mean of the pixels of a window, all of them inside the map."""
    total = values[0]
    for value in values[1:]:
        total = b.binary("max" if pool.is_max else "add", total, value)
    if pool.is_max:
        return total
    return b.binary("div", total, b.splat(b.const(float(len(values))), lanes))


class ConvPoolBand(_ConvPool):
    """One work item is one band of pooled rows for one panel of output channels."""

    name: ClassVar[str] = "conv_pool_band"

    def _refuses_pool(self, site: Site) -> str:
        if self._ring_row(site) * pool_of(site).step.attrs.window[0] * site.lanes * 4 > _RING_BYTES:
            return f"a ring of rows is larger than {_RING_BYTES} bytes"
        return ""

    @staticmethod
    def _ring_row(site: Site) -> int:
        """Pixels of a row of the ring: padding, the convolution's columns, padding."""
        return sum(_ring_columns(conv_geometry(site), pool_of(site)))

    def _choice(self, site: Site) -> TileChoice:
        g, pool = conv_geometry(site), pool_of(site)
        row_bytes = self._ring_row(site) * pool.step.attrs.window[0] * site.lanes * 4
        most = max(1, _RING_BYTES // row_bytes)
        columns = _ring_columns(g, pool)[1]
        return choose_tile(
            site.target, 1, columns, g.out_blocks, g.steps, most_vectors=most, last=last_lanes(site)
        )

    def estimate(self, site: Site) -> Estimate:
        choice, pool = self._choice(site), pool_of(site)
        attrs = pool.step.attrs
        band = band_rows(pool.rows, attrs.window[0], attrs.strides[0])
        bands = -(-pool.rows // band)
        rows = pool.rows * attrs.strides[0] + bands * max(0, attrs.window[0] - attrs.strides[0])
        pooled = site.blocked_out.blocks * pool.rows * pool.columns * np.prod(attrs.window)
        cycles = choice.cycles * rows * site.anchor.attrs.groups + float(pooled)
        figures = {"utilisation": choice.utilisation, "band_rows": float(band)}
        words = f"tile {choice.tile}, bands of {band} pooled rows"
        ideal = choice.cycles * choice.utilisation * conv_geometry(site).rows
        return self._estimate(site, cycles, words, figures, ideal * site.anchor.attrs.groups)

    def lower(self, site: Site) -> list[Launch]:
        tile = self._choice(site).tile
        b, nest, args = self._start(site, tile)
        pool = pool_of(site)
        divisor: Value | None = None
        if not pool.is_max:
            counts = _window_pixels(conv_geometry(site), pool)
            divisor = b.buffer("counts", extent=counts.size)
            args.append(PackedArg(counts))
        out, out_arg = out_buffer(b, site)
        attrs = pool.step.attrs
        elems = self._ring_row(site) * attrs.window[0] * tile.vectors * site.lanes
        ring, ring_arg = scratch_buffer(b, "ring", elems)
        band = band_rows(pool.rows, attrs.window[0], attrs.strides[0])
        bands = -(-pool.rows // band)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel, number = b.idiv(items.iv, bands), b.irem(items.iv, bands)
            first = b.imul(number, band)
            last = b.imin(b.iadd(first, band), pool.rows)

            def emit(t: Tile) -> None:
                _Band(b, site, nest, t, pool, divisor, out, ring).emit(panel, first, last)

            for_each_width(b, nest, tile, panel, emit)
        return [Launch(b.func, (*args, out_arg, ring_arg), nest.panels * bands)]


def band_rows(rows: int, window: int, stride: int) -> int:
    """Pooled rows of a band: enough that few rows of the convolution are computed twice."""
    shared = max(0, window - stride)
    least = max(1, int(np.ceil(shared / stride / _BAND_OVERHEAD))) if shared else 1
    bands = max(1, rows // max(least, 4))
    return -(-rows // bands)


def _ring_columns(g: ConvGeometry, pool: PoolBehind) -> tuple[int, int, int]:
    """Columns of a ring row: padding before, columns of the convolution, padding behind."""
    attrs = pool.step.attrs
    left = int(attrs.pads[1])
    reach = (pool.columns - 1) * attrs.strides[1] + attrs.window[1] - left
    return left, min(g.columns, reach), max(0, reach - g.columns)


def _window_pixels(g: ConvGeometry, pool: PoolBehind) -> NDArray[np.float32]:
    """By how much each pooled pixel divides its sum, as f32[rows * columns]."""
    down = window_counts(pool.step.attrs, 0, g.rows, pool.rows)
    across = window_counts(pool.step.attrs, 1, g.columns, pool.columns)
    return np.outer(down, across).astype(np.float32).reshape(-1)


class _Band:
    """Code of one work item of `ConvPoolBand`."""

    def __init__(
        self,
        b: Builder,
        site: Site,
        nest: ConvNest,
        tile: Tile,
        pool: PoolBehind,
        divisor: Value | None,
        out: Value,
        ring: Value,
    ) -> None:
        self.b, self.site, self.nest, self.tile, self.pool = b, site, nest, tile, pool
        self.divisor, self.out, self.ring = divisor, out, ring
        self.g = conv_geometry(site)
        self.attrs = pool.step.attrs
        self.left, self.columns, self.right = _ring_columns(self.g, pool)
        self.pixel = tile.vectors * site.lanes
        self.pitch = (self.left + self.columns + self.right) * self.pixel
        neutral = float("-inf") if pool.is_max else 0.0
        self.neutral = b.splat(b.const(neutral), site.lanes)

    def emit(self, panel: Index, first: Index, last: Index) -> None:
        """Pooled rows `first ..< last` of one panel."""
        b, (window, _), (stride, _) = self.b, self.attrs.window, self.attrs.strides
        for slot in range(window):
            self._clear(slot * self.pitch, self.left)
            self._clear(slot * self.pitch + (self.left + self.columns) * self.pixel, self.right)
        with b.loop(first, last, hint="oy") as pooled:
            # Rows are counted from the first row of padding, so that they are never negative.
            start = b.imul(pooled.iv, stride)
            new = start
            if window > stride:
                is_first = b.compare("eq", pooled.iv, first)
                new = b.select(is_first, start, b.iadd(start, window - stride))
            self._fill_ring(panel, new, b.iadd(start, window))
            self._pool_row(panel, pooled.iv)

    def _clear(self, start: Index, pixels: int) -> None:
        """Neutral numbers in so many pixels of the ring."""
        if pixels:
            with self.b.loop(0, pixels * self.pixel, self.site.lanes, hint="i") as i:
                self.b.store(self.ring, self.b.iadd(start, i.iv), self.neutral)

    def _fill_ring(self, panel: Index, start: Index, end: Index) -> None:
        """Rows `start ..< end`: those of the convolution, neutral numbers above and below it."""
        b, top = self.b, int(self.attrs.pads[0])
        bottom = top + self.g.rows
        reach = (self.pool.rows - 1) * self.attrs.strides[0] + self.attrs.window[0]
        if top:
            with b.loop(start, b.imin(end, top), hint="above") as rows:
                self._clear(self._slot(rows.iv), self.columns)
            start = b.imax(start, top)
        if reach > bottom:
            with b.loop(b.imax(start, bottom), end, hint="below") as rows:
                self._clear(self._slot(rows.iv), self.columns)
            end = b.imin(end, bottom)
        with b.loop(start, end, hint="row") as rows:
            self._row(panel, b.isub(rows.iv, top), self._slot(rows.iv))

    def _slot(self, padded_row: Value) -> Index:
        """Where a row's first pixel behind the padding lies in the ring."""
        b = self.b
        slot = b.imul(b.irem(padded_row, self.attrs.window[0]), self.pitch)
        return b.iadd(slot, self.left * self.pixel)

    def _row(self, panel: Index, y: Index, base: Index) -> None:
        """One row of the convolution."""
        b = self.b
        tiles = -(-self.columns // self.tile.columns)
        with b.loop(0, tiles, hint="tile") as across:
            self._tiles(panel, y, across.iv, base)

    def _tiles(self, panel: Index, y: Index, across: Index, base: Index) -> None:
        b, lanes = self.b, self.site.lanes

        def body(part: Tile, _: Index, x: Index) -> None:
            at = b.iadd(base, b.imul(x, self.pixel))

            def store(row: int, column: int, values: list[Value]) -> None:
                for v, value in enumerate(values):
                    b.store(self.ring, at, value, offset=column * self.pixel + v * lanes)

            place = conv_place(b, self.nest, self.g, panel, y, x)
            self.nest.tile(b, part, panel, place, store)

        for_each_tile(b, 1, self.columns, self.tile, (0, across), body)

    def _pool_row(self, panel: Index, oy: Value) -> None:
        """One pooled row out of the ring."""
        b, lanes, window = self.b, self.site.lanes, self.attrs.window
        start = b.imul(oy, self.attrs.strides[0])
        slots = [b.imul(b.irem(b.iadd(start, i), window[0]), self.pitch) for i in range(window[0])]
        out = self.nest.out
        with b.loop(0, self.pool.columns, hint="ox") as columns:
            x = b.imul(columns.iv, self.attrs.strides[1] * self.pixel)
            base = out.index(b, b.imul(panel, self.tile.vectors), oy, columns.iv)
            for v in range(self.tile.vectors):
                total: Value | None = None
                for slot in slots:
                    at = b.iadd(slot, x)
                    for j in range(window[1]):
                        value = b.load(self.ring, at, lanes, offset=j * self.pixel + v * lanes)
                        op = "max" if self.pool.is_max else "add"
                        total = value if total is None else b.binary(op, total, value)
                if total is None:
                    continue
                if self.divisor is not None:
                    at = b.iadd(b.imul(oy, self.pool.columns), columns.iv)
                    total = b.binary("div", total, b.load_splat(self.divisor, at, lanes))
                b.store(self.out, base, total, offset=out.offset(v, 0, 0))
