"""The tiles of a block: register tiles cover each that a plane has once, whatever their number."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels.winograd.block_tiles import BlockTiles
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.targets import find

SIDES = [(56, 56), (28, 28), (14, 14), (13, 13), (30, 17), (5, 6)]


def counting(tiles):
    """A function that counts how often each tile of a plane is in a register tile."""
    b = Builder("count")
    seen = b.buffer("seen", extent=tiles.choice.block, writable=True)
    plane, count = b.index_param("plane"), b.index_param("count")

    def part(size, start, number):
        for k in range(size):
            at = b.iadd(start, k)
            b.store(seen, at, b.binary("add", b.load(seen, at), b.const(1.0)))

    tiles.each(b, *tiles.range(b, plane, count), part)
    return b.func


@pytest.mark.parametrize("side", SIDES, ids=str)
@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
def test_every_tile_of_a_plane_is_covered_once(name, side):
    for choice in winograd_choices(find(name), WinogradShape(*side, 4, 4, 1, (3, 3))):
        tiles = BlockTiles(choice)
        func = counting(tiles)
        sizes = {choice.block, choice.tiles % choice.block} - {0}
        for plane in range(choice.planes):
            for count in sizes:
                seen = np.zeros(choice.block, np.float32)
                interp.run(func, [seen, plane, count])
                having = np.zeros(choice.block)
                having[slice(*_having(choice, plane, count))] = 1
                np.testing.assert_array_equal(seen, having, err_msg=f"{choice}, plane {plane}")


def _having(choice, plane, count):
    """The first tile that has a product of a plane, and the one behind the last."""
    if not any(choice.fringe):
        return 0, count
    rows, columns = choice.regions.lacking()
    pitch = choice.horizontal.products
    first, number = choice.regions.tiles(plane // pitch in rows, plane % pitch in columns)
    return first, first + number


def test_a_block_knows_how_many_tiles_its_planes_may_have():
    found = winograd_choices(find("x86-64-v4"), WinogradShape(14, 14, 32, 32, 1, (3, 3)))[0]
    tiles = BlockTiles(found)
    assert tiles.fringed
    assert tiles.counts() == {9, 12, 16}
