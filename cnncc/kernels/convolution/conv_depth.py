"""How deep a convolution's reduction is: channels of a block that need no multiplying are skipped.

The last block of a segment of channels may be full of zeros from some lane on. The reduction walks
over each block in steps of a few channels and stops behind the last that holds any; only what such
a step reaches beyond it is multiplied in vain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnncc.kernels.layout import Layout
from cnncc.kernels.movement import OffsetTable
from cnncc.kernels.template import Arg, PackedArg
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

_STEPS = (4, 3, 2, 1)  # channels unrolled: more make LLVM's scheduler spill
_TURN = 0.1  # what a turn of the loop costs, in steps of one channel


@dataclass(frozen=True, slots=True)
class Depth:
    """The channels that a reduction multiplies.

    Attributes:
        step: channels in one unrolled step.
        turns: steps for each block.
    """

    step: int
    turns: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Channels multiplied in all, those counted that the last steps multiply in vain."""
        return self.step * sum(self.turns)

    @property
    def even(self) -> bool:
        """Whether all blocks are equally deep."""
        return len(set(self.turns)) == 1

    def columns(self, block: int) -> list[int]:
        """The slots that are multiplied, in order, of blocks of `block` channels."""
        return [
            place * block + channel
            for place, turns in enumerate(self.turns)
            for channel in range(turns * self.step)
        ]


def depth_of(source: Layout, groups: int) -> Depth:
    """The depth of a convolution of `groups` groups, each of which begins on a block boundary.

    Groups may fill their blocks differently; each block is as deep as the deepest of its like.
    """
    held = source.slot_channels.reshape(groups, -1, source.block) >= 0
    last = held.any(axis=0) * np.arange(1, source.block + 1)
    used = [max(1, int(n)) for n in last.max(axis=1)]

    def turns(step: int) -> tuple[int, ...]:
        return tuple(-(-n // step) for n in used)

    fitting = [s for s in _STEPS if s * max(turns(s)) <= source.block]
    step = min(fitting, key=lambda s: sum(turns(s)) * (s + _TURN))
    return Depth(step, turns(step))


class DepthTable:
    """A depth as code: a number where all blocks are equally deep, else a table."""

    def __init__(self, depth: Depth) -> None:
        self.step = depth.step
        self._turns: Index = depth.turns[0]
        self._table = None if depth.even else OffsetTable(np.asarray(depth.turns, np.int64))

    def declare(self, b: Builder) -> list[Arg]:
        """Add the table's parameter, if there is one; its argument."""
        if self._table is None:
            return []
        self._table.declare(b, "depths")
        return [PackedArg(self._table.array)]

    def turns(self, b: Builder, block: Index) -> Index:
        """Steps of a block."""
        return self._turns if self._table is None else self._table.at(b, block)
