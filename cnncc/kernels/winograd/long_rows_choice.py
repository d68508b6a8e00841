"""Minimal filtering of long rows: a filter of many taps as a sum of short ones, and what it costs.

A piece of r taps is F(r, r): tiles of r results, so that the next piece reads what the next tile's
inputs were transformed to. Each input is transformed once for all pieces, each result once back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_choice import IDENTITY
from cnncc.targets.target import Target

PIECE = CookToom(3, 3)
_LEAST_TAPS = 8  # shorter rows have transforms of their own
_ROUNDING = 16.0  # K of the tolerances' rule C; the worst that was found is 2.3
_L3_BYTES_PER_CYCLE = 11.0
_MEMORY_BYTES_PER_CYCLE = 8.0
_VISIBLE = 0.3  # share of reading transformed inputs from L3 that is not hidden
_HIDDEN = 0.8  # share of the shorter of arithmetic and streaming that the longer hides
_MOST_BLOCK_BYTES = 1 << 22  # transformed inputs of a block of tiles
_NUMBERS = 16  # of blocks that are looked at


@dataclass(frozen=True, slots=True)
class LongRowsShape:
    """What decides about a convolution of one group, whose filters are single rows.

    Attributes:
        rows: of the result.
        columns: of it.
        in_blocks: blocks of input channels.
        channels: input channels that are multiplied.
        out_blocks: blocks of output channels.
        taps: of a filter.
    """

    rows: int
    columns: int
    in_blocks: int
    channels: int
    out_blocks: int
    taps: int


@dataclass(frozen=True, slots=True)
class LongRowsChoice:
    """Pieces, tiles and registers.

    Attributes:
        pieces: how many there are.
        down: rows.
        across: tiles in a row.
        block: tiles that are transformed together.
        tile: register tile of the products; its columns are tiles.
        cycles: predicted time of one thread.
    """

    pieces: int
    down: int
    across: int
    block: int
    tile: Tile
    cycles: float

    @property
    def vertical(self) -> CookToom:
        """Nothing is transformed down the rows."""
        return IDENTITY

    @property
    def horizontal(self) -> CookToom:
        """The windows that a tile's results share, all pieces together."""
        return CookToom(PIECE.outputs, self.pieces * PIECE.taps)

    @property
    def held(self) -> int:
        """Tiles whose inputs a block reads."""
        return self.block + self.pieces - 1

    @property
    def extents(self) -> tuple[int, int]:
        """Rows and columns of inputs that the tiles read."""
        return self.down, (self.across - 1) * PIECE.outputs + self.horizontal.inputs

    @property
    def rounding(self) -> float:
        """K of the tolerances' rule C."""
        return _ROUNDING

    def __str__(self) -> str:
        size = f"{self.tile.columns}x{self.tile.vectors}"
        return (
            f"{self.pieces} pieces of F({PIECE.outputs}, {PIECE.taps}),"
            f" blocks of {self.block} tiles, {size} registers"
        )


@cache
def long_rows_choice(target: Target, shape: LongRowsShape) -> LongRowsChoice | None:
    """The quickest blocks; None where rows are too short."""
    if shape.taps < _LEAST_TAPS:
        return None
    pieces = -(-shape.taps // PIECE.taps)
    across = -(-shape.columns // PIECE.outputs)
    if across < pieces:
        return None
    tile_bytes = PIECE.products * shape.in_blocks * target.vector_bits // 8
    fewest = -(-across * tile_bytes // _MOST_BLOCK_BYTES)
    sizes = {-(-across // n) for n in range(fewest, min(across, fewest + _NUMBERS) + 1)}
    found = [_blocked(target, shape, pieces, across, block) for block in sorted(sizes)]
    return min(found, key=lambda choice: choice.cycles)


def _blocked(
    target: Target, shape: LongRowsShape, pieces: int, across: int, block: int
) -> LongRowsChoice:
    planes, depth = PIECE.products, shape.channels * pieces
    full, last = divmod(across, block)
    main = choose_tile(target, 1, block, shape.out_blocks, depth)
    vectors = main.tile.vectors
    products = full * main.cycles
    if last:
        tail = choose_tile(target, 1, last, shape.out_blocks, depth, most_vectors=vectors)
        products += tail.cycles
    products *= planes * shape.rows
    blocks = (full + (last > 0)) * shape.rows
    held = (block + pieces - 1) * planes * shape.in_blocks * target.vector_bits // 8
    if held + block * planes * vectors * target.vector_bits // 8 > target.l2_bytes // 2:
        products += _VISIBLE * blocks * (shape.out_blocks // vectors) * held / _L3_BYTES_PER_CYCLE
    filters = planes * depth * shape.out_blocks * target.vector_bits // 8
    streamed = filters / _MEMORY_BYTES_PER_CYCLE
    if filters > target.l2_bytes // 2:
        streamed += (blocks - 1) * filters / _L3_BYTES_PER_CYCLE
    least, most = sorted((products, streamed))
    transforms = blocks * (block + pieces - 1) * shape.in_blocks * (4.5 * planes + 20)
    transforms += shape.rows * across * shape.out_blocks * (3.5 * planes + 32)
    cycles = transforms + most + (1 - _HIDDEN) * least
    return LongRowsChoice(pieces, shape.rows, across, block, main.tile, cycles)
