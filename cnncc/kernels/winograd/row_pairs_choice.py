"""Minimal filtering of pairs of rows: the transform, columns at a time, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_choice import IDENTITY, rounding_of
from cnncc.targets.target import Target

_TRANSFORMS = {taps: CookToom(2, taps) for taps in (3, 5, 7)}
_OTHERS = 4  # registers that are no accumulators
_TILE_OVERHEAD = 40.0  # cycles


@dataclass(frozen=True, slots=True)
class RowPairsShape:
    """What decides about a convolution of one group without stride and dilation.

    Attributes:
        channels: of the input.
        rows: of the result, before a pool.
        columns: of it.
        out_blocks: blocks of output channels.
        kernel: rows and columns of the filter.
        window: rows and columns of a pool behind it, else (1, 1).
    """

    channels: int
    rows: int
    columns: int
    out_blocks: int
    kernel: tuple[int, int]
    window: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RowTilesChoice:
    """A transform down the rows alone, and the registers.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: one result from all taps of a row: the definition.
        down: tiles of rows.
        across: columns.
        together: columns whose products are in registers together.
        cycles: predicted time of one thread.
    """

    vertical: CookToom
    horizontal: CookToom
    down: int
    across: int
    together: int
    cycles: float

    @property
    def rounding(self) -> float:
        """K of the tolerances' rule C."""
        return rounding_of(self.vertical, IDENTITY)

    @property
    def extents(self) -> tuple[int, int]:
        """Rows and columns of inputs that the tiles read."""
        down = (self.down - 1) * self.vertical.outputs + self.vertical.inputs
        return down, self.across + self.horizontal.taps - 1

    def __str__(self) -> str:
        f, across = self.vertical, self.horizontal
        return f"F({f.outputs}x1, {f.taps}x{across.taps}), {self.together} columns at once"


@cache
def row_pairs_choice(target: Target, shape: RowPairsShape) -> RowTilesChoice | None:
    """What suits a shape; None where there is no transform, or its products fill all registers."""
    vertical = _TRANSFORMS.get(shape.kernel[0])
    if vertical is None:
        return None
    room = (target.vector_registers - _OTHERS) // vertical.products
    together = min(room, shape.columns) // shape.window[1] * shape.window[1]
    if together == 0:
        return None
    horizontal = CookToom(1, shape.kernel[1])
    down = -(-shape.rows // 2)
    choice = RowTilesChoice(vertical, horizontal, down, shape.columns, together, 0.0)
    return replace(choice, cycles=down * _pair_cycles(target, shape, choice))


def _pair_cycles(target: Target, shape: RowPairsShape, choice: RowTilesChoice) -> float:
    """Of one pair of rows."""
    machine, products = target.machine, choice.vertical.products
    vectors = -(-(shape.columns + shape.kernel[1] - 1) // target.lanes())
    cycles = _TILE_OVERHEAD + shape.channels * vectors * 2.5 * products
    full, left = divmod(shape.columns, choice.together)
    for count, columns in ((full, choice.together), (1 if left else 0, left)):
        sums = products * columns
        # A number for all lanes is half the work of a whole vector.
        loads = (products + sums / 2) / machine.loads
        step = max(sums / machine.fmas, loads, machine.fma_latency)
        tile = shape.channels * shape.kernel[1] * step + _TILE_OVERHEAD + 2.0 * sums
        cycles += count * shape.out_blocks * tile
    return cycles
