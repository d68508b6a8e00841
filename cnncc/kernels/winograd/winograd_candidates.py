"""Which minimal filtering a convolution gets, how many tiles at a time, and what that costs.

A tile of `vertical.outputs x horizontal.outputs` results is computed from as many planes as the
transforms have inputs, each plane a matrix product over channels. The more outputs a tile has, the
fewer multiplications and the more filters to read: 4 times as many numbers as the untransformed
ones for F(4x4, 3x3). Filters come from memory once an inference, and again from a cache for each
block of tiles. Where few tiles read them, they are transformed while they are multiplied.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_choice import (
    IDENTITY,
    WinogradChoice,
    WinogradShape,
    rounds_known,
)
from cnncc.kernels.winograd.winograd_cycles import expanded, transformed
from cnncc.kernels.winograd.winograd_tiling import MAGNIFYING, tilings
from cnncc.targets.target import Target

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
_PANELS = (None, 2)  # most vectors of a panel: narrow ones are slower, but there are more of them
# Threads, and what it counts by how much the busiest works longer than its share.
_WAITING = ((2, 0.25), (4, 0.04))
_SHARED = 0.25  # share of the time of streaming that counts because threads share one memory


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
            if (
                rounds_known(vertical, horizontal)
                and _fits(shape, vertical, horizontal)
                and _rounds_well(shape, vertical, horizontal)
            ):
                for tiling in tilings(target, shape, vertical, horizontal):
                    found += [transformed(tiling, vectors) for vectors in _PANELS]
                    found += expanded(tiling)
                    fringe = _fringe(shape, vertical, horizontal)
                    if tiling.blocks == 1 and any(fringe):
                        found += [transformed(replace(tiling, fringe=fringe), v) for v in _PANELS]

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
    return shape.in_blocks > 1 or min(vertical.outputs, horizontal.outputs) < MAGNIFYING


def _waiting(shape: WinogradShape, choice: WinogradChoice) -> float:
    """What waiting of threads counts, as a share of the time of one.

    The inputs of a block whose panels are in several shares are transformed for each of them.
    """
    panels = shape.out_blocks // choice.tile.vectors
    whole, last = divmod(choice.tiles, choice.block)
    items = shape.groups * (whole + (last > 0)) * panels
    total = 0.0
    for threads, weight in _WAITING:
        ends = [n * items // threads for n in range(threads + 1)]
        done = [_tiles_of(end, panels, choice.block, whole, last) for end in ends]
        busiest = max(hi - lo for lo, hi in pairwise(done)) / done[-1]
        within = sum(end % panels > 0 for end in ends)
        total += weight * (threads * busiest - 1 + within * choice.again / choice.cycles)
    return total


def _tiles_of(items: int, panels: int, block: int, whole: int, last: int) -> int:
    """Tiles of the first so many items; the last block of each group has fewer than others."""
    groups, rest = divmod(items, panels * (whole + (last > 0)))
    tail = max(0, rest - whole * panels)
    return (groups * panels * whole + rest - tail) * block + (groups * panels + tail) * last
