"""The choice of tiles: legal, and the best of the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.errors import InternalError
from cnncc.kernels.convolution.conv_tile import (
    MOST_HALVED,
    Tile,
    tile_parts,
)
from cnncc.kernels.convolution.tile_choice import choose_tile, narrow_lanes
from cnncc.kernels.cost import tile_cycles
from cnncc.targets import TARGETS, find


def test_tables_leave_room():
    for target in TARGETS.values():
        for pixels, vectors in target.tiles:
            assert pixels * vectors + vectors <= target.vector_registers
        assert any(vectors == 1 for _, vectors in target.tiles), "one block must always fit"


targets = st.sampled_from([find(n) for n in ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64")])


extents = st.integers(1, 60)


@given(targets, extents, extents, st.integers(1, 24), st.sampled_from((1, 9, 64, 576, 4608)))
def test_the_choice_is_legal_and_the_best(target, rows, columns, blocks, steps):
    choice = choose_tile(target, rows, columns, blocks, steps)
    tile = choice.tile
    assert blocks % tile.vectors == 0
    assert 1 <= tile.rows <= rows
    assert 1 <= tile.columns <= columns
    most = max(p for p, v in target.tiles if v == tile.vectors)
    assert tile.rows * tile.columns <= most
    assert 0 < choice.utilisation <= 1
    assert all(cycles >= choice.cycles for _, cycles in choice.rejected)


@given(targets, st.integers(1, 12), st.integers(1, 12), st.sampled_from(((1, 2), (2, 2), (2, 1))))
def test_units_stay_together(target, rows, columns, unit):
    choice = choose_tile(target, rows * unit[0], columns * unit[1], 4, 9, unit=unit)
    assert choice.tile.rows % unit[0] == 0
    assert choice.tile.columns % unit[1] == 0


@given(targets, st.integers(1, 4))
def test_most_vectors(target, most):
    assert choose_tile(target, 8, 8, 12, 64, most_vectors=most).tile.vectors <= most


def test_a_unit_that_no_tile_holds():
    with pytest.raises(InternalError, match="no register tile"):
        choose_tile(find("x86-64"), 8, 8, 1, 9, unit=(8, 8))


def test_the_side_of_a_narrow_map_has_tiles_of_its_own():
    """Seven columns: tiles of six, and for the seventh pixels of several rows."""
    avx2 = find("x86-64-v3")
    plain, sides = (choose_tile(avx2, 7, 7, 64, 4608, sides=s) for s in (False, True))
    assert sides.tile == Tile(1, 6, 2, side=4)
    assert str(sides.tile) == "1x6 pixels (4 rows at the side) x 2 vectors"
    assert list(tile_parts(7, 7, sides.tile)) == [(1, 6, 7), (4, 1, 1), (3, 1, 1)]
    assert plain.utilisation < 0.9 < sides.utilisation


@given(targets, extents, extents, st.integers(1, 8))
def test_sides_never_cost(target, rows, columns, blocks):
    plain, sides = (choose_tile(target, rows, columns, blocks, 576, sides=s) for s in (False, True))
    assert sides.cycles <= plain.cycles
    assert max(p for p, v in target.tiles if v == sides.tile.vectors) >= max(
        h * w for h, w, _ in tile_parts(rows, columns, sides.tile)
    )


def test_the_model():
    target = find("x86-64-v4")
    # One 512-bit multiply-add a cycle: 28 accumulators need 28 cycles a step.
    assert tile_cycles(target, 14, 2, 101) - tile_cycles(target, 14, 2, 1) == 2800
    # A single accumulator waits for the one before: four cycles a step.
    assert tile_cycles(target, 1, 1, 101) - tile_cycles(target, 1, 1, 1) == 400
    # Two multiply-adds, but also two loads a cycle on narrower machines.
    narrow = find("x86-64-v3")
    assert tile_cycles(narrow, 10, 1, 101) - tile_cycles(narrow, 10, 1, 1) == 550


def test_narrow_vectors():
    """Only where wide registers go through the units in two halves."""
    wide, narrow = find("x86-64-v4"), find("x86-64-v3")
    assert [narrow_lanes(wide, n) for n in (1, 8, 9, 16)] == [8, 8, 0, 0]
    assert narrow_lanes(narrow, 1) == 0
    assert Tile(1, 2, 3).widths(16) == [16, 16, 16]
    assert Tile(1, 2, 3, 8).widths(16) == [16, 16, 8]
    whole, spared = (choose_tile(wide, 8, 28, 2, 64, last=n) for n in (0, 8))
    assert 0.74 < spared.cycles / whole.cycles < 0.8


def test_a_whole_vector_and_a_narrow_one_alternate_in_no_tile():
    """Of two blocks in registers that are all narrow, of four with more whole ones beside it."""
    wide = find("x86-64-v4")
    two, four = (choose_tile(wide, 56, 56, n, 96, last=8).tile for n in (2, 4))
    assert (two.vectors, two.rows * two.columns <= MOST_HALVED) == (2, True)
    assert four.vectors == 4


def test_sums_of_turns_take_half_of_the_registers():
    for target in TARGETS.values():
        plain, turns = (choose_tile(target, 1, 60, 2, 64, sums=n).tile for n in (1, 2))
        assert 2 * turns.accumulators <= max(p * v for p, v in target.tiles)
        assert turns.accumulators < plain.accumulators
