"""Pairs of register tiles: every row has its place, and the model knows what pays."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.strassen.strassen_pairs import (
    choose_pairing,
    halves_of,
    partners,
    tiles_of,
)
from cnncc.targets import TARGETS, find


@pytest.mark.parametrize("half", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [2, 3, 7, 10, 13])
def test_partners_are_each_others(rows, half):
    found = partners(rows, half)
    np.testing.assert_array_equal(found[found], np.arange(rows))
    assert (found == np.arange(rows)).sum() == rows % 2


def test_a_pair_of_odd_height_leaves_one_row():
    pair, lone = halves_of(Tile(7, 4, 2))
    assert (pair.tile.rows, pair.below, pair.line) == (3, 3, 0)
    assert (lone.tile.rows, lone.row, lone.below, lone.line) == (1, 6, 0, 3)


def test_the_sizes_of_tiles_that_code_is_made_for():
    target = find("x86-64-v4")
    even, odd = (choose_pairing(target, n, n, 32, 32) for n in (14, 7))
    assert list(tiles_of(even, 14, 14)) == [(even.tile, True)]
    assert [(t.rows, paired) for t, paired in tiles_of(odd, 7, 7)] == [
        (2, True),
        (1, True),
        (1, False),
    ]


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_tiles_stay_in_registers_and_panels_divide(target):
    for size, blocks in (((14, 14), (8, 4)), ((7, 7), (64, 10)), ((56, 56), (4, 16))):
        choice = choose_pairing(target, *size, *blocks)
        assert any(
            choice.tile.rows * choice.tile.columns <= pixels and choice.tile.vectors == vectors
            for pixels, vectors in target.tiles
        )
        assert blocks[1] % (2 * choice.tile.vectors) == 0
        assert choice.unit.rows == 2 * choice.tile.rows


def test_bands_are_no_larger_than_their_cache():
    target = find("x86-64-v4")
    choice = choose_pairing(target, 56, 56, 16, 16)
    held = choice.band * choice.tile.rows * 56 * 16 * target.lanes() * 4
    assert held <= target.l2_bytes // 2
