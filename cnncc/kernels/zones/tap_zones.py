"""Which taps of a window see the picture: zones of results, and the tiles that multiply them.

Along an axis of a convolution, neighbouring results see the same taps until one enters the picture
or leaves it; of a transposed one the same holds for results a stride apart. Where zones of both
axes meet, all windows see one block of taps, and tiles of such a block share their code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.conv_tile import Tile, tile_parts
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.cost import tile_cycles
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.targets.target import Target

_MOST_SUMS = 192 << 10  # bytes of partial sums of an item: they stay in L2
_LEAST_ITEMS = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """A convolution along one axis.

    Attributes:
        extent: pixels of the input.
        results: pixels of the result.
        window: taps.
        stride: of the windows; of a transposed convolution that of the inputs.
        pad: pixels before the picture.
        dilation: pixels from one tap to the next.
        transposed: whether inputs are spread over results.
    """

    extent: int
    results: int
    window: int
    stride: int
    pad: int
    dilation: int
    transposed: bool = False

    @property
    def result_step(self) -> int:
        """From one result of a zone to the next."""
        return self.stride if self.transposed else 1

    @property
    def source_step(self) -> int:
        """Inputs from one result of a zone to the next."""
        return 1 if self.transposed else self.stride

    def seen(self, place: int) -> list[tuple[int, int]]:
        """The taps that see the picture from a result, with the input that each sees."""
        if self.transposed:
            spread = [(k, place + self.pad - k * self.dilation) for k in range(self.window)]
            found = [(k, at // self.stride) for k, at in spread if at % self.stride == 0]
        else:
            origin = place * self.stride - self.pad
            found = [(k, origin + k * self.dilation) for k in range(self.window)]
        return [(k, at) for k, at in found if 0 <= at < self.extent]

    def phases(self) -> Iterator[tuple[int, int]]:
        """Results and taps of each phase of a transposed convolution; of others there is one."""
        if not self.transposed:
            yield self.results, self.window
            return
        for phase in range(min(self.stride, self.results)):
            reach = (phase + self.pad - k * self.dilation for k in range(self.window))
            taps = sum(at % self.stride == 0 for at in reach)
            yield -(-(self.results - phase) // self.stride), taps

    @property
    def products(self) -> int:
        """Products of each pair of channels by the definition."""
        return sum(results * taps for results, taps in self.phases())


@dataclass(frozen=True, slots=True)
class Zone:
    """Results that see the same taps.

    Attributes:
        start: the first of them.
        size: how many there are.
        taps: those that see the picture; may be none.
        sources: the input that each of them sees from the first result.
    """

    start: int
    size: int
    taps: tuple[int, ...]
    sources: tuple[int, ...]


@cache
def zones_of(axis: Axis) -> tuple[Zone, ...]:
    """The zones along an axis."""
    found = []
    for phase in range(min(axis.result_step, axis.results)):
        places = range(phase, axis.results, axis.result_step)
        for taps, run in groupby(places, lambda p: tuple(k for k, _ in axis.seen(p))):
            first, *others = run
            sources = tuple(at for _, at in axis.seen(first))
            found.append(Zone(first, 1 + len(others), taps, sources))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class ZonesShape:
    """What decides about a convolution.

    Attributes:
        down: along columns of pixels.
        across: along rows.
        channels: that a reduction multiplies.
        out_blocks: blocks of output channels of a group.
    """

    down: Axis
    across: Axis
    channels: int
    out_blocks: int

    @property
    def products(self) -> int:
        """Products of each pair of channels whose taps see the picture."""
        down, across = (
            sum(zone.size * len(zone.taps) for zone in zones_of(axis))
            for axis in (self.down, self.across)
        )
        return down * across

    @property
    def share(self) -> float:
        """The same as a share of the definition's; 1 where that has none."""
        every = self.down.products * self.across.products
        return self.products / every if every else 1.0


def zones_shape(
    attrs: Conv2dAttrs | Conv2dTransposeAttrs,
    x: TensorType,
    window: Sequence[int],
    result: TensorType,
    channels: int,
    out_blocks: int,
) -> ZonesShape:
    """The shape of a convolution, transposed or not, of input [1,C,H,W]."""
    down, across = (
        Axis(
            x.shape[2 + axis],
            result.shape[2 + axis],
            window[axis],
            attrs.strides[axis],
            attrs.pads[axis],
            attrs.dilations[axis],
            isinstance(attrs, Conv2dTransposeAttrs),
        )
        for axis in (0, 1)
    )
    return ZonesShape(down, across, channels, out_blocks)


@dataclass(frozen=True, slots=True)
class Part:
    """A tile of results.

    Attributes:
        tile: its pixels and vectors.
        y: row of the first result.
        x: column of it.
        seen: taps (row, column) that see the picture, each with the input that it sees.
    """

    tile: Tile
    y: int
    x: int
    seen: tuple[tuple[tuple[int, int], tuple[int, int]], ...]


@dataclass(frozen=True, slots=True)
class ZonesChoice:
    """The tiles of all zones.

    Attributes:
        vectors: vectors of output channels of each.
        groups: the tiles of each work item.
        cycles: predicted time of a group of channels.
    """

    vectors: int
    groups: tuple[tuple[Part, ...], ...]
    cycles: float

    @property
    def shapes(self) -> list[Tile]:
        """The tiles that occur."""
        return list(dict.fromkeys(part.tile for group in self.groups for part in group))


@cache
def zones_choice(target: Target, shape: ZonesShape) -> ZonesChoice:
    """The number of vectors with the fewest predicted cycles, and the tiles of each zone."""
    found = [
        _tiled(target, shape, held, vectors)
        for held, vectors in target.tiles
        if shape.out_blocks % vectors == 0
    ]
    return min(found, key=lambda c: (c.cycles, -c.vectors))


def part_cycles(target: Target, shape: ZonesShape, tile: Tile, taps: int) -> float:
    """A tile with so many taps: after each its sums are put away, until the next fetches them."""
    pixels = tile.rows * tile.columns
    moved = pixels * tile.vectors / target.machine.loads
    return taps * (tile_cycles(target, pixels, tile.vectors, shape.channels) + moved) + 4 * moved


def _tiled(target: Target, shape: ZonesShape, held: int, vectors: int) -> ZonesChoice:
    parts: list[Part] = []
    for down in zones_of(shape.down):
        for across in zones_of(shape.across):
            parts += _parts(target, shape, (down, across), held, vectors)
    panels = shape.out_blocks // vectors
    cycles = sum(part_cycles(target, shape, part.tile, len(part.seen)) for part in parts)
    largest = max(part.tile.accumulators for part in parts) * target.vector_bits // 8
    count = max(-(-len(parts) * largest // _MOST_SUMS), -(-_LEAST_ITEMS // panels))
    size = -(-len(parts) // min(count, len(parts)))
    groups = tuple(tuple(parts[k : k + size]) for k in range(0, len(parts), size))
    return ZonesChoice(vectors, groups, cycles * panels)


def _parts(
    target: Target, shape: ZonesShape, zones: tuple[Zone, Zone], held: int, vectors: int
) -> Iterator[Part]:
    """The tiles of results where two zones meet."""
    down, across = zones
    taps = len(down.taps) * len(across.taps)

    def took(tile: Tile) -> float:
        return sum(
            count * part_cycles(target, shape, replace(tile, rows=h, columns=w), taps)
            for h, w, count in tile_parts(down.size, across.size, tile)
        )

    tiles = [
        Tile(r, c, vectors)
        for r in range(1, min(down.size, held) + 1)
        for c in range(1, min(across.size, held // r) + 1)
    ]
    for tile, y, x in _places(down.size, across.size, min(tiles, key=took)):
        yield Part(
            tile,
            down.start + y * shape.down.result_step,
            across.start + x * shape.across.result_step,
            tuple(
                ((row, column), (i + y * shape.down.source_step, k + x * shape.across.source_step))
                for row, i in zip(down.taps, down.sources, strict=True)
                for column, k in zip(across.taps, across.sources, strict=True)
            ),
        )


def _places(rows: int, columns: int, tile: Tile) -> Iterator[tuple[Tile, int, int]]:
    """The tiles that cover a zone, smaller at its far edges, with their first row and column."""
    for y in range(0, rows, tile.rows):
        for x in range(0, columns, tile.columns):
            height, width = min(tile.rows, rows - y), min(tile.columns, columns - x)
            yield replace(tile, rows=height, columns=width), y, x


def definition_cycles(target: Target, shape: ZonesShape) -> float:
    """What the same takes by tiles that multiply padding as well."""
    total = 0.0
    for rows, down in shape.down.phases():
        for columns, across in shape.across.phases():
            steps = max(1, shape.channels * down * across)
            total += choose_tile(target, rows, columns, shape.out_blocks, steps).cycles
    return total
