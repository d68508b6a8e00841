"""The choice of a register tile: which one covers a feature map in the fewest predicted cycles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cnncc.errors import InternalError
from cnncc.kernels.convolution.conv_tile import MOST_HALVED, Tile, tile_parts
from cnncc.kernels.cost import fma_per_cycle, tile_cycles
from cnncc.targets.target import Target

_ALTERNATING = 1.1


@dataclass(frozen=True, slots=True)
class TileChoice:
    """The chosen tile and what the model says of it.

    Attributes:
        tile: the main tile; the last row and column of tiles may be smaller.
        cycles: predicted cycles of the whole feature map for one group of output channels.
        utilisation: share of the multiply-add units' peak.
        rejected: other candidates with their predicted cycles, the best first.
    """

    tile: Tile
    cycles: float
    utilisation: float
    rejected: tuple[tuple[Tile, float], ...]


@cache
def choose_tile(
    target: Target,
    rows: int,
    columns: int,
    out_blocks: int,
    steps: int,
    *,
    unit: tuple[int, int] = (1, 1),
    most_vectors: int | None = None,
    most_pixels: int | None = None,
    sums: int = 1,
    last: int = 0,
    sides: bool = False,
    pick: int = 0,
) -> TileChoice:
    """The tile with the fewest predicted cycles.

    Args:
        target: its `tiles` table says which tiles stay in registers.
        rows: output rows.
        columns: output columns.
        out_blocks: blocks of output channels (of one group); a tile's vectors must divide it.
        steps: products that each output element adds up.
        unit: rows and columns that must stay together in a tile (the window of a fused pool).
        most_vectors: an upper bound for the vectors of a tile.
        most_pixels: an upper bound for its pixels.
        sums: registers for each element of the result: more than 1 with `BlockSums`.
        last: lanes of the last vector of all where it is narrow, as in `Tile`.
        sides: whether the tiles of the last columns may have rows of their own.
        pick: the rank of the tile that is wanted, the best of those there are if too high.
    """
    spared = 1 - last / target.lanes() if last else 0.0
    splat = splat_cost(target, sums)
    options: list[tuple[float, int, Tile]] = []
    for held, vectors in target.tiles:
        pixels = min(held // sums, most_pixels or held)
        if out_blocks % vectors or vectors > (most_vectors or vectors):
            continue
        panels = out_blocks // vectors
        for r in range(unit[0], min(rows, pixels // unit[1]) + 1, unit[0]):
            for c in range(unit[1], min(columns, pixels // r) + 1, unit[1]):
                for side in _sides(rows, columns, pixels, (r, c)) if sides else [0]:
                    tile = Tile(r, c, vectors, side=side)
                    parts = list(tile_parts(rows, columns, tile))
                    cycles = sum(
                        count * (n * tile_cycles(target, h * w, v, steps, splat=splat))
                        for h, w, count in parts
                        for n, v in (
                            (panels - 1, vectors),
                            (1, (vectors - spared) * _mixed(vectors, last, h * w)),
                        )
                    )
                    options.append((cycles, len(parts), tile))
    options.sort(key=lambda o: (o[0], o[1], -o[2].vectors, -o[2].columns))
    if not options:
        raise InternalError(f"no register tile of `{target.name}` holds {unit} pixels")
    if pick < len(options):
        options.insert(0, options.pop(pick))
    cycles, _, tile = options[0]
    ideal = rows * columns * (out_blocks - spared) * steps / fma_per_cycle(target)
    rejected = tuple((t, c) for c, _, t in options[1:4])
    return TileChoice(tile, cycles, ideal / cycles, rejected)


def _mixed(vectors: int, last: int, pixels: int) -> float:
    """How much longer multiply-adds of two widths take where they alternate."""
    return _ALTERNATING if last and vectors == 2 and pixels > MOST_HALVED else 1.0


def splat_cost(target: Target, sums: int) -> float:
    """Loads that a number for all lanes counts for; tiles with several sums have one vector."""
    return 0.5 if sums > 1 and target.multiplies_memory else 1.0


def _sides(rows: int, columns: int, most_pixels: int, tile: tuple[int, int]) -> list[int]:
    """What `side` may be for a tile of so many rows and columns: registers full, or 0."""
    width = columns % tile[1]
    if width == 0 or rows == 1:
        return [0]
    tallest = min(rows, most_pixels // width)
    even = -(-rows // -(-rows // tallest))  # as many tiles, of like height
    return [0] if even == tile[0] else [0, even]


def narrow_lanes(target: Target, channels: int) -> int:
    """Lanes of the register for a vector of so few channels; 0 where a whole one costs no more."""
    half = target.lanes() // 2
    return half if channels <= half and fma_per_cycle(target) < 2 else 0
