"""Convolution, pointwise steps and pooling in one loop nest; the map between is never stored.

Where windows do not overlap, a register tile covers whole windows and each pooled pixel is the
maximum (or mean) of accumulators. Where they overlap, a work item walks down a band of pooled rows
and keeps as many finished rows of the convolution as the window is high in a ring of scratch
memory; only the rows above a thread's first band are computed twice.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_geometry import (
    ConvGeometry,
    conv_geometry,
    last_lanes,
    refuses_conv,
)
from cnncc.kernels.convolution.conv_nest import ConvNest, conv_place, for_each_width
from cnncc.kernels.convolution.conv_ring import ConvRing, RingShape, ring_shape, ring_tile
from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.pool_behind import HeldRows, PoolBehind, combine_window, pool_of, pool_row
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    PackedArg,
    Site,
    out_buffer,
    scratch_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.pool import window_counts

_RING_BYTES = 128 << 10  # scratch of a band: it stays in L2
_BAND_OVERHEAD = 0.08  # share of rows that bands may compute twice


class _ConvPool(Kernel):
    """What both ways share."""

    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True

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
        b = Builder(self.name)
        return b, nest, nest.declare(b, *nest.panel_filters())


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


class ConvPoolBand(_ConvPool):
    """One work item is one band of pooled rows for one panel of output channels."""

    name: ClassVar[str] = "conv_pool_band"

    def _refuses_pool(self, site: Site) -> str:
        if _ring(conv_geometry(site), pool_of(site)).pixels * site.lanes * 4 > _RING_BYTES:
            return f"a ring of rows is larger than {_RING_BYTES} bytes"
        return ""

    def _choice(self, site: Site) -> TileChoice:
        g = conv_geometry(site)
        return ring_tile(site, g, _ring(g, pool_of(site)), _RING_BYTES)

    def estimate(self, site: Site) -> Estimate:
        choice, pool = self._choice(site), pool_of(site)
        attrs = pool.step.attrs
        band = band_rows(pool.rows, attrs.window[0], attrs.strides[0])
        rows = pool.rows * attrs.strides[0] + max(0, attrs.window[0] - attrs.strides[0])
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
        g = conv_geometry(site)
        shape = _ring(g, pool)
        held, ring_arg = scratch_buffer(b, "ring", shape.pixels * tile.vectors * site.lanes)
        ring = ConvRing(b, nest, g, tile, shape, held, float("-inf") if pool.is_max else 0.0)
        band = band_rows(pool.rows, attrs.window[0], attrs.strides[0])
        bands = -(-pool.rows // band)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel, number = b.idiv(items.iv, bands), b.irem(items.iv, bands)
            first = b.imul(number, band)
            last = b.imin(b.iadd(first, band), pool.rows)
            # The band before left the rows that both share in the ring, if this call computed it.
            anew = b.select(b.compare("eq", number, 0), first, -1)
            anew = b.select(b.compare("eq", items.iv, lo), first, anew)
            _Band(b, ring, pool, divisor, out).emit(panel, first, last, anew)
        return [Launch(b.func, (*args, out_arg, ring_arg), nest.panels * bands)]


def band_rows(rows: int, window: int, stride: int) -> int:
    """Pooled rows of a band: enough that few rows are computed twice, if all are apart."""
    shared = max(0, window - stride)
    least = max(1, int(np.ceil(shared / stride / _BAND_OVERHEAD))) if shared else 1
    bands = max(1, rows // max(least, 4))
    return -(-rows // bands)


def _ring(g: ConvGeometry, pool: PoolBehind) -> RingShape:
    """The ring of a band."""
    attrs = pool.step.attrs
    return ring_shape(
        g.columns,
        tuple(attrs.window),
        tuple(attrs.strides),
        tuple(attrs.pads),
        (pool.rows, pool.columns),
    )


def _window_pixels(g: ConvGeometry, pool: PoolBehind) -> NDArray[np.float32]:
    """By how much each pooled pixel divides its sum, as f32[rows * columns]."""
    down = window_counts(pool.step.attrs, 0, g.rows, pool.rows)
    across = window_counts(pool.step.attrs, 1, g.columns, pool.columns)
    return np.outer(down, across).astype(np.float32).reshape(-1)


class _Band:
    """Code of one work item of `ConvPoolBand`."""

    def __init__(
        self, b: Builder, ring: ConvRing, pool: PoolBehind, divisor: Value | None, out: Value
    ) -> None:
        self.b, self.ring, self.pool = b, ring, pool
        self.divisor, self.out = divisor, out
        self.attrs = pool.step.attrs

    def emit(self, panel: Index, first: Index, last: Index, anew: Index) -> None:
        """Pooled rows `first ..< last` of one panel; before row `anew` the ring holds nothing."""
        b, (window, _), (stride, _) = self.b, self.attrs.window, self.attrs.strides
        self.ring.clear_edges()
        with b.loop(first, last, hint="oy") as pooled:
            start = b.imul(pooled.iv, stride)
            new = start
            if window > stride:
                is_first = b.compare("eq", pooled.iv, anew)
                new = b.select(is_first, start, b.iadd(start, window - stride))
            self.ring.fill(panel, new, b.iadd(start, window))
            self._pool_row(panel, pooled.iv)

    def _pool_row(self, panel: Index, oy: Value) -> None:
        """One pooled row out of the ring."""
        b, ring = self.b, self.ring
        start = b.imul(oy, self.attrs.strides[0])
        slots = [ring.row(b.iadd(start, i)) for i in range(self.attrs.window[0])]
        held = HeldRows(ring.buffer, slots, ring.pixel, ring.tile.vectors, ring.lanes)
        block = b.imul(panel, ring.tile.vectors)
        pool_row(b, self.pool, held, (self.out, ring.nest.out, block, oy), self.divisor)
