"""Minimal filtering of a strided convolution of few channels: which tiles, and what they cost.

With strides s the input falls into s x s phases, and each phase of the taps filters its own with a
stride of 1. Phases are like channels: a 7x7 convolution of stride 2 over 3 channels is one of
4x4 taps over 12, where the last taps of some phases are zero. One transform serves all phases, so
their products are added up before they are transformed back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.layout import Halo
from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_choice import rounding_of
from cnncc.targets.target import Target

# The transform by taps of a phase. Fewer than three taps save too little.
_TRANSFORMS = {3: CookToom(4, 3), 4: CookToom(3, 4)}
MOST_CHANNELS = 4  # of the input: with more, lanes of channels are better filled


@dataclass(frozen=True, slots=True)
class PhasedCookToom:
    """Minimal filtering in one dimension of a stride whose phases share one transform.

    Attributes:
        taps: of the filter.
        stride: inputs from one output to the next.
    """

    taps: int
    stride: int

    @property
    def core(self) -> CookToom:
        """The transform of a phase, whose missing taps are zero."""
        return _TRANSFORMS[-(-self.taps // self.stride)]

    @property
    def outputs(self) -> int:
        """Results of a tile."""
        return self.core.outputs

    @property
    def inputs(self) -> int:
        """Neighbouring inputs that a tile reads, those behind the last tap counted."""
        return self.core.inputs * self.stride

    @property
    def advance(self) -> int:
        """Inputs from one tile to the next."""
        return self.core.outputs * self.stride


@dataclass(frozen=True, slots=True)
class PhaseShape:
    """What decides about a convolution of one group without dilation.

    Attributes:
        channels: of the input.
        rows: of the result, before a pool.
        columns: of it.
        out_blocks: blocks of output channels.
        kernel: rows and columns of the filter.
        strides: down and across.
    """

    channels: int
    rows: int
    columns: int
    out_blocks: int
    kernel: tuple[int, int]
    strides: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PhaseChoice:
    """Transforms, tiles and registers.

    Attributes:
        vertical: transform along columns of pixels.
        horizontal: transform along rows.
        channels: of the input.
        down: tiles in a column of the result.
        across: tiles in a row of it.
        lanes: of the target, so many tiles are transformed at a time.
        tile: register tile of the products; its columns are tiles.
        cycles: predicted time of one thread.
    """

    vertical: PhasedCookToom
    horizontal: PhasedCookToom
    channels: int
    down: int
    across: int
    lanes: int
    tile: Tile
    cycles: float

    @property
    def planes(self) -> int:
        """Products of matrices."""
        return self.vertical.core.products * self.horizontal.core.products

    @property
    def depth(self) -> int:
        """Channels of each: those of the input in every phase."""
        return self.channels * self.vertical.stride * self.horizontal.stride

    @property
    def rounding(self) -> float:
        """K of the tolerances' rule C."""
        return rounding_of(self.vertical.core, self.horizontal.core)

    @property
    def row_groups(self) -> int:
        """Vectors of tiles that lines of pixels are cut into, for what tiles share counted."""
        shared = (self.horizontal.inputs - 1) // self.horizontal.advance
        return -(-(self.across + shared) // self.lanes)

    @property
    def tile_groups(self) -> int:
        """Vectors of tiles in a row."""
        return -(-self.across // self.lanes)

    @property
    def width(self) -> int:
        """Pixels of a line, padding counted, and what its last vector reads in vain."""
        return self.row_groups * self.lanes * self.horizontal.advance

    @property
    def extents(self) -> tuple[int, int]:
        """Rows and columns of inputs that the tiles read."""
        tall, wide = self.vertical, self.horizontal
        return (
            (self.down - 1) * tall.advance + tall.inputs,
            (self.across - 1) * wide.advance + wide.inputs,
        )

    def halo(self, pads: tuple[int, int], height: int, width: int) -> Halo:
        """Zero pixels that tiles see around a picture."""
        bottom, right = self.extents
        return pads[0], pads[1], max(0, bottom - pads[0] - height), max(0, right - pads[1] - width)

    def __str__(self) -> str:
        tall, wide = self.vertical, self.horizontal
        phases = f"{tall.stride}x{wide.stride} phases"
        core = f"F({tall.outputs}x{wide.outputs}, {tall.core.taps}x{wide.core.taps})"
        size = f"{self.tile.columns}x{self.tile.vectors}"
        return f"{core} over {phases}, rows of {self.across} tiles, {size} registers"


@cache
def phase_choice(target: Target, shape: PhaseShape) -> PhaseChoice | None:
    """What suits a shape; None where there is no transform for it."""
    if shape.channels > MOST_CHANNELS or min(shape.strides) < 2:
        return None
    for taps, stride in zip(shape.kernel, shape.strides, strict=True):
        if -(-taps // stride) not in _TRANSFORMS:
            return None
    vertical, horizontal = (
        PhasedCookToom(taps, stride)
        for taps, stride in zip(shape.kernel, shape.strides, strict=True)
    )
    down, across = -(-shape.rows // vertical.outputs), -(-shape.columns // horizontal.outputs)
    depth = shape.channels * vertical.stride * horizontal.stride
    products = choose_tile(target, 1, across, shape.out_blocks, depth)
    choice = PhaseChoice(
        vertical, horizontal, shape.channels, down, across, target.lanes(), products.tile, 0.0
    )
    row = choice.planes * products.cycles + _transform_cycles(choice, shape.out_blocks)
    return replace(choice, cycles=down * row)


def _transform_cycles(choice: PhaseChoice, out_blocks: int) -> float:
    """Of one row of tiles, before and after the products, as measured."""
    tall, wide = choice.vertical, choice.horizontal
    lines = choice.channels * tall.stride
    downwards = tall.core.products * wide.advance * (2.0 * _permutations(wide.advance) + 3.5)
    sideways = tall.core.products * wide.core.products * wide.stride * 3.5
    back = 1.5 * choice.planes + 2.5 * tall.outputs * wide.outputs
    return (
        lines * (choice.row_groups * downwards + choice.tile_groups * sideways)
        + choice.across * out_blocks * back
    )


def least_factor(number: int) -> int:
    """The least factor above 1 of a number above 1."""
    return next(k for k in range(2, number + 1) if number % k == 0)


def _permutations(step: int) -> int:
    """Permutations of two vectors for each vector that holds every `step`-th pixel of a line."""
    if step == 1:
        return 0
    factor = least_factor(step)
    return factor - 1 + _permutations(step // factor)
