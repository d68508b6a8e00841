"""Rows of a convolution in scratch memory: what reads them is computed before they leave the cache.

The ring holds as many rows as one row of windows reads; a new row takes the place of the oldest.
Padding of those windows is in it as neutral numbers. Rows are counted from the first one of
padding, so that they are never negative.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.kernels.convolution.conv_geometry import ConvGeometry, last_lanes
from cnncc.kernels.convolution.conv_nest import ConvNest, conv_place, for_each_width
from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.kernels.template import Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


@dataclass(frozen=True, slots=True)
class RingShape:
    """What a ring holds of a panel.

    Attributes:
        rows: rows of it, as many as a window reaches over.
        top: rows of padding above the convolution.
        reach: rows that windows read, those of padding counted.
        left: columns of padding before a row.
        columns: columns of the convolution that windows read.
        right: columns of padding behind a row.
    """

    rows: int
    top: int
    reach: int
    left: int
    columns: int
    right: int

    @property
    def width(self) -> int:
        """Pixels of a row."""
        return self.left + self.columns + self.right

    @property
    def pixels(self) -> int:
        """Pixels of the whole ring."""
        return self.rows * self.width


def ring_shape(
    computed: int,
    window: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    result: tuple[int, int],
) -> RingShape:
    """The ring for windows over a convolution.

    Args:
        computed: columns of the convolution.
        window: rows and columns that a window spans, gaps of a dilation counted.
        strides: from one window to the next.
        pads: of the windows: top, left, bottom, right.
        result: rows and columns of windows.
    """
    reach = [(n - 1) * s + k for n, s, k in zip(result, strides, window, strict=True)]
    across = reach[1] - pads[1]
    columns, right = min(computed, across), max(0, across - computed)
    return RingShape(window[0], pads[0], reach[0], pads[1], columns, right)


def ring_tile(site: Site, g: ConvGeometry, ring: RingShape, held_bytes: int) -> TileChoice:
    """The register tile of the convolution, with few enough vectors that the ring takes no more."""
    most = max(1, held_bytes // (ring.pixels * site.lanes * 4))
    return choose_tile(
        site.target,
        1,
        ring.columns,
        g.out_blocks,
        g.steps,
        most_vectors=most,
        last=last_lanes(site),
    )


class ConvRing:
    """Code that fills a ring. A pixel holds the vectors of a panel, one behind the other."""

    def __init__(
        self,
        b: Builder,
        nest: ConvNest,
        g: ConvGeometry,
        tile: Tile,
        shape: RingShape,
        buffer: Value,
        neutral: float,
    ) -> None:
        self.b, self.nest, self.g, self.tile = b, nest, g, tile
        self.shape, self.buffer = shape, buffer
        self.lanes = nest.site.lanes
        self.pixel = tile.vectors * self.lanes
        self.pitch = shape.width * self.pixel
        self._neutral = b.splat(b.const(neutral), self.lanes)

    def clear_edges(self) -> None:
        """Neutral numbers left and right; nothing else is ever written there."""
        for slot in range(self.shape.rows):
            start = slot * self.pitch
            self._clear(start, self.shape.left)
            self._clear(start + (self.shape.left + self.shape.columns) * self.pixel,
                        self.shape.right)  # fmt: skip

    def row(self, number: Index) -> Index:
        """Element where a row begins, its padding included."""
        return self.b.imul(self.b.irem(number, self.shape.rows), self.pitch)

    def fill(self, panel: Index, start: Index, end: Index) -> None:
        """Rows `start ..< end`: those of the convolution, neutral numbers above and below it."""
        b, top = self.b, self.shape.top
        bottom = top + self.g.rows
        if top:
            with b.loop(start, b.imin(end, top), hint="above") as rows:
                self._clear(self._first(rows.iv), self.shape.columns)
            start = b.imax(start, top)
        if self.shape.reach > bottom:
            with b.loop(b.imax(start, bottom), end, hint="below") as rows:
                self._clear(self._first(rows.iv), self.shape.columns)
            end = b.imin(end, bottom)
        with b.loop(start, end, hint="row") as rows:
            self._compute(panel, b.isub(rows.iv, top), self._first(rows.iv))

    def _first(self, row: Value) -> Index:
        """Where a row's first pixel behind the padding lies."""
        return self.b.iadd(self.row(row), self.shape.left * self.pixel)

    def _clear(self, start: Index, pixels: int) -> None:
        """Neutral numbers in so many pixels."""
        if pixels:
            with self.b.loop(0, pixels * self.pixel, self.lanes, hint="i") as i:
                self.b.store(self.buffer, self.b.iadd(start, i.iv), self._neutral)

    def _compute(self, panel: Index, y: Index, base: Index) -> None:
        """One row of the convolution."""

        def every(tile: Tile) -> None:
            with self.b.loop(0, self._tiles, hint="tile") as across:
                self._tile(tile, panel, y, across.iv, base)

        for_each_width(self.b, self.nest, self.tile, panel, every)

    @property
    def _tiles(self) -> int:
        """Tiles of a row."""
        return -(-self.shape.columns // self.tile.columns)

    def _tile(self, tile: Tile, panel: Index, y: Index, across: Index, base: Index) -> None:
        b, tiles = self.b, self._tiles

        def body(part: Tile, _: Index, x: Index) -> None:
            at = b.iadd(base, b.imul(x, self.pixel))

            def store(row: int, column: Index, values: list[Value]) -> None:
                pixel = b.iadd(at, b.imul(column, self.pixel))
                for v, value in enumerate(values):
                    b.store(self.buffer, pixel, value, offset=v * self.lanes)

            place = conv_place(b, self.nest, self.g, panel, y, x)
            number = b.iadd(b.imul(y, tiles), across)
            self.nest.tile(b, part, panel, place, store, part=(number, self.g.rows * tiles))

        for_each_tile(b, 1, self.shape.columns, tile, (0, across), body)
