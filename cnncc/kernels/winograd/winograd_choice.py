"""Which minimal filtering a convolution gets, how many tiles at a time, and what that costs.

A tile of `vertical.outputs x horizontal.outputs` results is computed from as many planes as the
transforms have inputs, each plane a matrix product over channels. The more outputs a tile has, the
fewer multiplications and the more filters to read: 4 times as many numbers as the untransformed
ones for F(4x4, 3x3). Filters come from memory once an inference, and again from a cache for each
block of tiles. Where few tiles read them, they are transformed while they are multiplied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from cnncc.kernels.convolution.conv_tile import Tile, tile_parts
from cnncc.kernels.convolution.tile_choice import TileChoice, choose_tile, splat_cost
from cnncc.kernels.cost import tile_cycles
from cnncc.kernels.layout import Halo
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_expand import most_tiles, run_blocks
from cnncc.kernels.winograd.winograd_regions import Fringe
from cnncc.targets.target import Target

IDENTITY = CookToom(1, 1)
# Transforms by taps and stride. Larger ones round worse than they save: F(6,3) has 9 times the
# error of F(4,3).
_TRANSFORMS = {
    (1, 1): (IDENTITY,),
    (3, 1): (CookToom(2, 3), CookToom(4, 3)),
    (5, 1): (CookToom(2, 5), CookToom(4, 5)),
    (7, 1): (CookToom(2, 7),),
    (3, 2): (CookToom(2, 3, 2), CookToom(4, 3, 2)),
    (5, 2): (CookToom(2, 5, 2),),
}
# Results of the tiles that the last row or column may have, by outputs, taps and stride.
_SMALLER = {(4, 3, 1): 2}
# Rule C of the tolerances: |error| <= u (K T + (4 + 2 sqrt(n)) S). K by products of the two
# transforms, 2.5 to 4 times the worst of `docs/decisions/026-winograd.md`.
_ROUNDING = {
    (1, 4): 16.0,
    (1, 5): 16.0,
    (1, 6): 40.0,
    (1, 8): 168.0,
    (1, 9): 40.0,
    (4, 4): 16.0,
    (4, 6): 48.0,
    (5, 5): 16.0,
    (5, 9): 28.0,
    (6, 6): 64.0,
    (7, 7): 12.0,
    (9, 9): 72.0,
}
_MOST_BLOCK_BYTES = 1 << 22  # transformed inputs of a block of tiles
_L3_BYTES = 16 << 20  # filters that find room there beside everything else
_L3_BYTES_PER_CYCLE = 11.0
_MEMORY_BYTES_PER_CYCLE = 8.0
_MOST_FETCHING = 8  # register tiles of a block; for more, waiting for their filters is little
_MAGNIFYING = 4  # outputs in both directions from which on the transform back magnifies errors
_FEW_BLOCKS = 4  # of channels, up to which sums by turns cost little
_LEAST_EXPANDED = 2  # tiles in registers, where filters are made of taps
_BESIDE = 1.04  # times as long as multiply-adds alone, beside additions that make filters
_RUN_OVERHEAD = 40.0  # cycles of a register tile for each run of channels
_PANELS = (None, 2)  # most vectors of a panel: narrow ones are slower, but there are more of them
# Threads, and what it counts by how much the busiest works longer than its share.
_WAITING = ((2, 0.25), (4, 0.04))
_SHARED = 0.25  # share of the time of streaming that counts because threads share one memory
_VISIBLE = 0.12  # share of reading transformed inputs from L3 that is not hidden
_HIDDEN = 0.8  # share of arithmetic that streaming hides where both take as long


@dataclass(frozen=True, slots=True)
class WinogradShape:
    """What decides about a convolution.

    Attributes:
        rows: of the result, before a pool.
        columns: of it.
        in_blocks: blocks of input channels of a group.
        out_blocks: blocks of output channels of a group.
        groups: groups of channels.
        kernel: rows and columns of the filter.
        strides: down and across.
        window: rows and columns of a pool behind it, else (1, 1); a tile holds whole windows.
        dilations: down and across; 1 along an axis of one tap.
        channels: input channels of a group that are multiplied, where they do not fill the blocks;
            0 for all.
    """

    rows: int
    columns: int
    in_blocks: int
    out_blocks: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    channels: int = 0

    @property
    def phases(self) -> tuple[int, int]:
        """Rows, and columns, after which results see the inputs between those of the first."""
        return min(self.dilations[0], self.rows), min(self.dilations[1], self.columns)

    @property
    def phase_rows(self) -> int:
        """Rows of the largest phase."""
        return -(-self.rows // self.phases[0])

    @property
    def phase_columns(self) -> int:
        """Columns of the largest phase."""
        return -(-self.columns // self.phases[1])

    @property
    def dilated(self) -> bool:
        """Whether there are phases."""
        return self.dilations != (1, 1)


@dataclass(frozen=True, slots=True)
class WinogradChoice:
    """Transforms, tiles and registers.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        phases: of a dilated convolution, down and across: each is a map of its own.
        dilations: rows and columns from one pixel of a phase to the next.
        down: tiles in a column of a phase.
        across: tiles in a row.
        block: tiles that are transformed together.
        tile: register tile of the products; its columns are tiles.
        cycles: predicted time of one thread.
        streamed: cycles of it in which filters come from memory, once, hidden or not.
        sums: registers of each product: 2 where blocks of channels are summed apart, 3 where every
            turn of the loop is, too.
        fringe: results of the smaller tiles of the last row and column, 0 where there are none.
    """

    vertical: CookToom
    horizontal: CookToom
    phases: tuple[int, int]
    dilations: tuple[int, int]
    down: int
    across: int
    block: int
    tile: Tile
    cycles: float
    streamed: float
    sums: int = 1
    fringe: tuple[int, int] = (0, 0)

    @property
    def regions(self) -> Fringe:
        """The tiles by their size."""
        return Fringe(self.vertical, self.horizontal, self.down, self.across, *self.fringe)

    @property
    def products(self) -> int:
        """Multiplications for a pair of channels."""
        if self.fringe == (0, 0):
            return self.planes * self.tiles
        return sum(planes * tiles for planes, tiles in self.regions.counts())

    @property
    def planes(self) -> int:
        """Products of matrices."""
        return self.vertical.products * self.horizontal.products

    @property
    def tiles(self) -> int:
        """Tiles that cover the result."""
        return self.phases[0] * self.phases[1] * self.down * self.across

    @property
    def expands(self) -> bool:
        """Whether filters are transformed while they are multiplied."""
        return self.vertical.expands

    @property
    def filters(self) -> int:
        """Numbers that are kept of the taps of a channel."""
        taps = self.vertical.taps * self.horizontal.taps
        return taps if self.expands else self.planes

    @property
    def rounding(self) -> float:
        """K of the tolerances' rule C."""
        return rounding_of(self.vertical, self.horizontal)

    @property
    def extents(self) -> tuple[int, int]:
        """Rows and columns of inputs that the tiles of a phase read."""
        return _extent(self.vertical, self.down), _extent(self.horizontal, self.across)

    def halo(self, pads: tuple[int, int], height: int, width: int) -> Halo:
        """Zero pixels around an input picture so that no tile needs code of its own."""
        bottom, right = (
            (phases - 1) + (extent - 1) * dilation + 1
            for phases, extent, dilation in zip(
                self.phases, self.extents, self.dilations, strict=True
            )
        )
        return pads[0], pads[1], max(0, bottom - pads[0] - height), max(0, right - pads[1] - width)

    def __str__(self) -> str:
        v, h = self.vertical, self.horizontal
        name = f"F({v.outputs}x{h.outputs}, {v.taps}x{h.taps})"
        if (v.stride, h.stride) != (1, 1):
            name += f" of stride {v.stride}x{h.stride}"
        if self.dilations != (1, 1):
            name += f" over {self.phases[0]}x{self.phases[1]} phases"
        if self.fringe != (0, 0):
            below, right = (
                n or whole.outputs for n, whole in zip(self.fringe, (v, h), strict=True)
            )
            name += f" and {below}x{right} at the edges"
        if self.expands:
            name += " of plain filters"
        size = f"{self.tile.columns}x{self.tile.vectors}"
        return f"{name}, blocks of {self.block} tiles, {size} registers"


def _extent(f: CookToom, tiles: int) -> int:
    """Inputs that so many tiles in a row read."""
    return (tiles * f.outputs - 1) * f.stride + f.taps


def fetches_ahead(tiles: int, tile: Tile) -> bool:
    """Whether a plane's filters are fetched while those of the one before it are multiplied."""
    return -(-tiles // tile.columns) <= _MOST_FETCHING


def rounding_of(vertical: CookToom, horizontal: CookToom) -> float:
    """K of the tolerances' rule C for a pair of transforms."""
    least, most = sorted((vertical.products, horizontal.products))
    return _ROUNDING[least, most]


@cache
def winograd_choices(target: Target, shape: WinogradShape) -> tuple[WinogradChoice, ...]:
    """What can be done for a shape, the best first; empty where nothing saves products.

    The best is the quickest, but one whose work does not fall into halves or quarters must win by
    some of what the other threads would wait, and one that reads more by some of the time that
    takes, as threads share the memory.
    """
    found = []
    downwards, sideways = zip(shape.kernel, shape.strides, strict=True)
    for vertical in _TRANSFORMS.get(downwards, ()):
        for horizontal in _TRANSFORMS.get(sideways, ()):
            least, most = sorted((vertical.products, horizontal.products))
            if (
                (least, most) in _ROUNDING
                and _fits(shape, vertical, horizontal)
                and _rounds_well(shape, vertical, horizontal)
            ):
                for tiling in _tilings(target, shape, vertical, horizontal):
                    found += [_transformed(tiling, vectors) for vectors in _PANELS]
                    found += _expanded(tiling)
                    fringe = _fringe(shape, vertical, horizontal)
                    if tiling.blocks == 1 and any(fringe):
                        found += [_transformed(replace(tiling, fringe=fringe), v) for v in _PANELS]

    def cost(choice: WinogradChoice) -> float:
        return choice.cycles * (1 + _waiting(shape, choice)) + _SHARED * choice.streamed

    return tuple(sorted(dict.fromkeys(found), key=cost))


def _fits(shape: WinogradShape, vertical: CookToom, horizontal: CookToom) -> bool:
    """Whether tiles hold whole windows of a pool, and are no larger than a phase."""
    if not shape.dilated:
        return vertical.outputs % shape.window[0] == 0 and horizontal.outputs % shape.window[1] == 0
    return (
        shape.strides == (1, 1)
        and shape.window == (1, 1)
        and vertical.outputs <= shape.phase_rows
        and horizontal.outputs <= shape.phase_columns
    )


def _fringe(shape: WinogradShape, vertical: CookToom, horizontal: CookToom) -> tuple[int, int]:
    """Results of the smaller tiles of the last row and column; 0 where they are like the others."""
    extents = (shape.rows, shape.columns)
    if shape.dilated or any(n % w for n, w in zip(extents, shape.window, strict=True)):
        return 0, 0
    below, right = (
        _smaller(f, extent, window)
        for f, extent, window in zip((vertical, horizontal), extents, shape.window, strict=True)
    )
    return below, right


def _smaller(f: CookToom, extent: int, window: int) -> int:
    """Results of the last tile of so many results, if a smaller one has room for them; else 0."""
    small = _SMALLER.get((f.outputs, f.taps, f.stride), 0)
    fits = extent > f.outputs and 0 < extent % f.outputs <= small
    return small if fits and small % window == 0 else 0


def _rounds_well(shape: WinogradShape, vertical: CookToom, horizontal: CookToom) -> bool:
    """Whether the transforms do not round much worse than sums by the definition.

    Those are short over a single block of channels, and there are no pieces to cut them into.
    """
    return shape.in_blocks > 1 or min(vertical.outputs, horizontal.outputs) < _MAGNIFYING


def _waiting(shape: WinogradShape, choice: WinogradChoice) -> float:
    """What waiting of threads counts, as a share of the time of one."""
    blocks = -(-choice.tiles // choice.block)
    items = shape.groups * blocks * (shape.out_blocks // choice.tile.vectors)
    return sum(
        weight * (threads * -(-items // threads) / items - 1) for threads, weight in _WAITING
    )


@dataclass(frozen=True, slots=True)
class _Tiling:
    """A pair of transforms, and how many tiles go together.

    Attributes:
        target: the machine.
        shape: of the convolution.
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        block: tiles that go together.
        fringe: results of the smaller tiles of the last row and column, 0 where there are none.
    """

    target: Target
    shape: WinogradShape
    vertical: CookToom
    horizontal: CookToom
    block: int
    fringe: tuple[int, int] = (0, 0)

    @property
    def down(self) -> int:
        """Tiles in a column of a phase."""
        return -(-self.shape.phase_rows // self.vertical.outputs)

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.shape.phase_columns // self.horizontal.outputs)

    @property
    def tiles(self) -> int:
        """Tiles that cover the result."""
        return self.shape.phases[0] * self.shape.phases[1] * self.down * self.across

    @property
    def blocks(self) -> int:
        """Blocks of tiles."""
        return -(-self.tiles // self.block)

    @property
    def last(self) -> int:
        """Tiles of the last block."""
        return self.tiles - (self.blocks - 1) * self.block

    @property
    def planes(self) -> int:
        """Products of matrices."""
        return self.vertical.products * self.horizontal.products

    @property
    def slots(self) -> int:
        """Channels of whole blocks."""
        return self.shape.in_blocks * self.target.lanes()

    @property
    def depth(self) -> int:
        """Channels that each product adds up, where filters were transformed before."""
        return self.shape.channels or self.slots

    @property
    def sums(self) -> int:
        """Registers of each product.

        Where there are many, and numbers from memory take none, blocks of channels are summed
        apart; few blocks are not pieces enough where the transforms magnify errors.
        """
        if not self.target.multiplies_memory or self.shape.in_blocks == 1:
            return 1
        magnified = min(self.vertical.outputs, self.horizontal.outputs) >= _MAGNIFYING
        return 3 if magnified and self.shape.in_blocks <= _FEW_BLOCKS else 2

    def most_vectors(self, panel: int | None) -> int | None:
        """An upper bound for the vectors of a register tile, of panels no wider than `panel`.

        A number from memory that several vectors are multiplied by would take a register.
        """
        return 1 if self.sums > 1 else panel

    @property
    def tile_bytes(self) -> int:
        """Transformed inputs of a tile."""
        return self.planes * self.slots * 4

    def filter_bytes(self, numbers: int) -> int:
        """So many numbers for each vector of filters of a group."""
        return numbers * self.shape.out_blocks * self.target.vector_bits // 8

    def streamed(self, filters: int) -> float:
        """Cycles in which so many bytes come from memory, and again for each further block."""
        cycles = filters / _MEMORY_BYTES_PER_CYCLE
        if (
            self.blocks > 1
            and filters + self.block * self.tile_bytes > self.target.l2_bytes * 3 // 4
        ):
            again = _L3_BYTES_PER_CYCLE if filters <= _L3_BYTES else _MEMORY_BYTES_PER_CYCLE
            cycles += (self.blocks - 1) * filters / again
        return cycles

    def choice(
        self, tile: Tile, multiplied: float, filters: int, *, expands: bool = False
    ) -> WinogradChoice:
        """The choice with products of so many cycles, and filters of so many bytes, a group."""
        vertical, horizontal = self.vertical, self.horizontal
        regions = Fringe(vertical, horizontal, self.down, self.across, *self.fringe).regions
        transforms = sum(
            (region.count if any(self.fringe) else self.tiles)
            * (
                self.shape.in_blocks * _input_cycles(region.vertical, region.horizontal)
                + self.shape.out_blocks * _output_cycles(region.vertical, region.horizontal)
            )
            for region in regions
        )
        held = self.tile_bytes + self.planes * tile.vectors * self.target.vector_bits // 8
        beyond = 1 - self.target.l2_bytes / 2 / (self.block * held)
        if beyond > 0:
            panels = self.shape.out_blocks // tile.vectors
            read = panels * self.tiles * self.tile_bytes
            multiplied += _VISIBLE * beyond * read / _L3_BYTES_PER_CYCLE
        return WinogradChoice(
            replace(vertical, expands=expands),
            replace(horizontal, expands=expands),
            self.shape.phases,
            self.shape.dilations,
            self.down,
            self.across,
            self.block,
            tile,
            self.shape.groups * (transforms + multiplied),
            self.shape.groups * filters / _MEMORY_BYTES_PER_CYCLE,
            1 if expands else self.sums,
            self.fringe,
        )


def _tilings(
    target: Target, shape: WinogradShape, vertical: CookToom, horizontal: CookToom
) -> Iterator[_Tiling]:
    """Blocks of like size, as long as their transformed inputs stay in a cache."""
    tiles = _Tiling(target, shape, vertical, horizontal, 1).tiles
    for count in range(1, tiles + 1):
        tiling = _Tiling(target, shape, vertical, horizontal, count)
        few = count == 1 or count * tiling.tile_bytes <= _MOST_BLOCK_BYTES
        if few and -(-tiles // tiling.blocks) == count:
            yield tiling


def _transformed(t: _Tiling, panel: int | None) -> WinogradChoice:
    """The choice whose filters were transformed before."""
    outs, depth, most_vectors = t.shape.out_blocks, t.depth, t.most_vectors(panel)
    regs = choose_tile(t.target, 1, t.block, outs, depth, most_vectors=most_vectors, sums=t.sums)
    wide = regs.tile.vectors
    tail = choose_tile(t.target, 1, t.last, outs, depth, most_vectors=wide, sums=t.sums)
    products = t.planes * (regs.cycles * (t.blocks - 1) + tail.cycles)
    if any(t.fringe):
        regs, products = _fringed(t, most_vectors)
    # Filters stream in while the first register tile of a block needs them, where nothing fetches
    # them before; the others find them in a cache.
    fetched = fetches_ahead(t.block, regs.tile)
    first = products if fetched else products / -(-t.block // regs.tile.columns)
    filters = t.filter_bytes(t.planes * depth)
    waited = _overlapped(first, t.streamed(filters))
    return t.choice(regs.tile, products - first + waited, filters)


def _overlapped(arithmetic: float, streaming: float) -> float:
    """Cycles of both together: the longer one, and all the more of the other the longer that is."""
    least, most = sorted((arithmetic, streaming))
    return most + (1 - _HIDDEN) * least * least / most


def _fringed(t: _Tiling, most_vectors: int | None) -> tuple[TileChoice, float]:
    """The register tile of planes with unlike numbers of tiles, and the cycles of all products."""
    outs = t.shape.out_blocks
    splat = splat_cost(t.target, t.sums)
    counts = tuple(Fringe(t.vertical, t.horizontal, t.down, t.across, *t.fringe).counts())

    def cycles(tile: Tile) -> float:
        return sum(
            planes * times * tile_cycles(t.target, columns, tile.vectors, t.depth, splat=splat)
            for planes, count in counts
            for _, columns, times in tile_parts(1, count, tile)
        ) * (outs // tile.vectors)

    found = [
        choose_tile(t.target, 1, count, outs, t.depth, most_vectors=most_vectors, sums=t.sums)
        for _, count in counts
    ]
    best = min(found, key=lambda choice: cycles(choice.tile))
    return best, cycles(best.tile)


def _expanded(t: _Tiling) -> list[WinogradChoice]:
    """The choice whose filters are made of taps while they are multiplied, if there is one.

    All registers are taken: where turns should be summed apart, they would not be.
    """
    most = most_tiles(t.target, t.horizontal)
    if most < _LEAST_EXPANDED or t.sums > 2:
        return []
    taps = t.vertical.taps * t.horizontal.taps
    filters = t.filter_bytes(taps * t.slots)
    runs = t.shape.in_blocks // run_blocks(t.target, t.shape.in_blocks, taps)
    counts = [t.block] * (t.blocks - 1) + [t.last]
    sizes = Counter(min(most, count - k) for count in counts for k in range(0, count, most))
    products = t.shape.out_blocks * sum(
        times * _expanded_cycles(t, size, runs) for size, times in sizes.items()
    )
    # The next run's taps come while this one's are multiplied.
    tile = Tile(1, min(most, t.block), 1)
    cycles = _overlapped(products, t.streamed(filters))
    return [t.choice(tile, cycles, filters, expands=True)]


def _expanded_cycles(t: _Tiling, size: int, runs: int) -> float:
    """All planes of so many tiles and one vector of outputs."""
    machine, cycles = t.target.machine, 0.0
    for phase in t.horizontal.phases:
        held = size * phase.products
        # A number for all lanes is half the work of a whole vector.
        loads = (t.vertical.taps * phase.taps + held / 2) / machine.loads
        channel = max(_BESIDE * held / machine.fmas, loads, machine.fma_latency)
        cycles += t.slots * channel + _RUN_OVERHEAD * runs + 2 * held * (runs + (runs > 1))
    return t.vertical.products * cycles


def _input_cycles(vertical: CookToom, horizontal: CookToom) -> float:
    """One tile of one block of input channels: about an operation and a store a number."""
    return 4.5 * vertical.products * horizontal.products + 20


def _output_cycles(vertical: CookToom, horizontal: CookToom) -> float:
    """One tile of one block of output channels."""
    results = vertical.outputs * horizontal.outputs
    return 3.5 * vertical.products * horizontal.products + 4.0 * results + 20
