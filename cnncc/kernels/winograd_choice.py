"""Which minimal filtering a convolution gets, how many tiles at a time, and what that costs.

A tile of `vertical.outputs x horizontal.outputs` results is computed from as many planes as the
transforms have inputs, each plane a matrix product over channels. The more outputs a tile has, the
fewer multiplications and the more filters to read: 4 times as many numbers as the untransformed
ones for F(4x4, 3x3). Filters come from memory once an inference, and again from a cache for each
block of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cnncc.kernels.conv_tile import Tile, choose_tile
from cnncc.kernels.cook_toom import CookToom
from cnncc.kernels.layout import Halo
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
_PANELS = (None, 2)  # most vectors of a panel: narrow ones are slower, but there are more of them
# Threads, and what it counts by how much the busiest works longer than its share.
_WAITING = ((2, 0.25), (4, 0.04))
_VISIBLE = 0.3  # share of reading transformed inputs from L3 that is not hidden
_HIDDEN = 0.8  # share of the shorter of arithmetic and streaming that the longer hides


@dataclass(frozen=True, slots=True)
class WinogradShape:
    """What decides about a convolution without dilation.

    Attributes:
        rows: of the result, before a pool.
        columns: of it.
        in_blocks: blocks of input channels of a group.
        out_blocks: blocks of output channels of a group.
        groups: groups of channels.
        kernel: rows and columns of the filter.
        strides: down and across.
        window: rows and columns of a pool behind it, else (1, 1); a tile holds whole windows.
    """

    rows: int
    columns: int
    in_blocks: int
    out_blocks: int
    groups: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class WinogradChoice:
    """Transforms, tiles and registers.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        down: tiles in a column of the result.
        across: tiles in a row.
        block: tiles that are transformed together.
        tile: register tile of the products; its columns are tiles.
        cycles: predicted time of one thread.
    """

    vertical: CookToom
    horizontal: CookToom
    down: int
    across: int
    block: int
    tile: Tile
    cycles: float

    @property
    def planes(self) -> int:
        """Products of matrices."""
        return self.vertical.products * self.horizontal.products

    @property
    def tiles(self) -> int:
        """Tiles that cover the result."""
        return self.down * self.across

    @property
    def rounding(self) -> float:
        """K of the tolerances' rule C."""
        return rounding_of(self.vertical, self.horizontal)

    def halo(self, pads: tuple[int, int], height: int, width: int) -> Halo:
        """Zero pixels around an input picture so that no tile needs code of its own."""
        bottom = _extent(self.vertical, self.down) - pads[0] - height
        right = _extent(self.horizontal, self.across) - pads[1] - width
        return pads[0], pads[1], max(0, bottom), max(0, right)

    def __str__(self) -> str:
        v, h = self.vertical, self.horizontal
        name = f"F({v.outputs}x{h.outputs}, {v.taps}x{h.taps})"
        if (v.stride, h.stride) != (1, 1):
            name += f" of stride {v.stride}x{h.stride}"
        size = f"{self.tile.columns}x{self.tile.vectors}"
        return f"{name}, blocks of {self.block} tiles, {size} registers"


def _extent(f: CookToom, tiles: int) -> int:
    """Inputs that so many tiles in a row read."""
    return (tiles * f.outputs - 1) * f.stride + f.taps


def rounding_of(vertical: CookToom, horizontal: CookToom) -> float:
    """K of the tolerances' rule C for a pair of transforms."""
    least, most = sorted((vertical.products, horizontal.products))
    return _ROUNDING[least, most]


@cache
def winograd_choices(target: Target, shape: WinogradShape) -> tuple[WinogradChoice, ...]:
    """What can be done for a shape, the best first; empty where nothing saves products.

    The best is the quickest, but one whose work does not fall into halves or quarters must win by
    some of what the other threads would wait.
    """
    found = []
    downwards, sideways = zip(shape.kernel, shape.strides, strict=True)
    for vertical in _TRANSFORMS.get(downwards, ()):
        for horizontal in _TRANSFORMS.get(sideways, ()):
            least, most = sorted((vertical.products, horizontal.products))
            whole = (
                vertical.outputs % shape.window[0] == 0
                and horizontal.outputs % shape.window[1] == 0
            )
            if (least, most) in _ROUNDING and whole:
                for most_vectors in _PANELS:
                    found += _blocked(target, shape, vertical, horizontal, most_vectors)
    return tuple(sorted(dict.fromkeys(found), key=lambda c: c.cycles * (1 + _waiting(shape, c))))


def _waiting(shape: WinogradShape, choice: WinogradChoice) -> float:
    """What waiting of threads counts, as a share of the time of one."""
    blocks = -(-choice.tiles // choice.block)
    items = shape.groups * blocks * (shape.out_blocks // choice.tile.vectors)
    return sum(
        weight * (threads * -(-items // threads) / items - 1) for threads, weight in _WAITING
    )


def _blocked(
    target: Target,
    shape: WinogradShape,
    vertical: CookToom,
    horizontal: CookToom,
    most_vectors: int | None,
) -> list[WinogradChoice]:
    """The choices for a pair of transforms, by how many tiles go together."""
    down, across = -(-shape.rows // vertical.outputs), -(-shape.columns // horizontal.outputs)
    tiles, planes = down * across, vertical.products * horizontal.products
    depth = shape.in_blocks * target.lanes()
    tile_bytes = planes * depth * 4
    found = []
    for count in range(1, tiles + 1):
        blocks = -(-tiles // count)
        block = -(-tiles // blocks)
        if block != count or (count > 1 and block * tile_bytes > _MOST_BLOCK_BYTES):
            continue
        regs = choose_tile(target, 1, block, shape.out_blocks, depth, most_vectors=most_vectors)
        transforms = tiles * (
            shape.in_blocks * _input_cycles(vertical, horizontal)
            + shape.out_blocks * _output_cycles(vertical, horizontal)
        )
        last = tiles - (blocks - 1) * block
        tail = choose_tile(
            target, 1, last, shape.out_blocks, depth, most_vectors=regs.tile.vectors
        ).cycles
        products = planes * (regs.cycles * (blocks - 1) + tail)
        filters = planes * depth * shape.out_blocks * target.vector_bits // 8
        held = tile_bytes + planes * regs.tile.vectors * target.vector_bits // 8
        spill = block * held > target.l2_bytes // 2
        panels = shape.out_blocks // regs.tile.vectors
        streamed = filters / _MEMORY_BYTES_PER_CYCLE
        if blocks > 1 and filters > target.l2_bytes // 2:
            again = _L3_BYTES_PER_CYCLE if filters <= _L3_BYTES else _MEMORY_BYTES_PER_CYCLE
            streamed += (blocks - 1) * filters / again
        # Filters stream in while the first register tile of a block needs them; the others find
        # them in a cache.
        first = products / -(-block // regs.tile.columns)
        least, most = sorted((first, streamed))
        multiplied = products - first + most + (1 - _HIDDEN) * least
        if spill:
            multiplied += _VISIBLE * panels * tiles * tile_bytes / _L3_BYTES_PER_CYCLE
        cycles = shape.groups * (transforms + multiplied)
        found.append(WinogradChoice(vertical, horizontal, down, across, block, regs.tile, cycles))
    return found


def _input_cycles(vertical: CookToom, horizontal: CookToom) -> float:
    """One tile of one block of input channels: about an operation and a store a number."""
    return 4.5 * vertical.products * horizontal.products + 20


def _output_cycles(vertical: CookToom, horizontal: CookToom) -> float:
    """One tile of one block of output channels."""
    results = vertical.outputs * horizontal.outputs
    return 3.5 * vertical.products * horizontal.products + 4.0 * results + 20
