"""A pair of transforms and how many tiles go together, with the cycles of what is not products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_choice import WinogradChoice, WinogradShape
from cnncc.kernels.winograd.winograd_regions import Fringe
from cnncc.targets.target import Target

MAGNIFYING = 4  # outputs in both directions from which on the transform back magnifies errors
_MOST_BLOCK_BYTES = 1 << 22  # transformed inputs of a block of tiles
_L3_BYTES = 16 << 20  # filters that find room there beside everything else
_L3_BYTES_PER_CYCLE = 11.0
_MEMORY_BYTES_PER_CYCLE = 8.0
_FEW_BLOCKS = 4  # of channels, up to which sums by turns cost little
_VISIBLE = 0.12  # share of reading transformed inputs from L3 that is not hidden


@dataclass(frozen=True, slots=True)
class Tiling:
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
        magnified = min(self.vertical.outputs, self.horizontal.outputs) >= MAGNIFYING
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
        counts = [region.count if any(self.fringe) else self.tiles for region in regions]
        pairs = [(region.vertical, region.horizontal) for region in regions]
        inputs = sum(n * _input_cycles(*pair) for n, pair in zip(counts, pairs, strict=True))
        results = sum(n * _output_cycles(*pair) for n, pair in zip(counts, pairs, strict=True))
        inputs, results = self.shape.in_blocks * inputs, self.shape.out_blocks * results
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
            self.shape.groups * (inputs + results + multiplied),
            self.shape.groups * filters / _MEMORY_BYTES_PER_CYCLE,
            inputs / self.blocks,
            1 if expands else self.sums,
            self.fringe,
        )


def tilings(
    target: Target, shape: WinogradShape, vertical: CookToom, horizontal: CookToom
) -> Iterator[Tiling]:
    """Blocks of like size, as long as their transformed inputs stay in a cache."""
    tiles = Tiling(target, shape, vertical, horizontal, 1).tiles
    for count in range(1, tiles + 1):
        tiling = Tiling(target, shape, vertical, horizontal, count)
        few = count == 1 or count * tiling.tile_bytes <= _MOST_BLOCK_BYTES
        if few and -(-tiles // tiling.blocks) == count:
            yield tiling


def _input_cycles(vertical: CookToom, horizontal: CookToom) -> float:
    """One tile of one block of input channels: about an operation and a store a number."""
    return 4.5 * vertical.products * horizontal.products + 20


def _output_cycles(vertical: CookToom, horizontal: CookToom) -> float:
    """One tile of one block of output channels."""
    results = vertical.outputs * horizontal.outputs
    return 3.5 * vertical.products * horizontal.products + 4.0 * results + 20
