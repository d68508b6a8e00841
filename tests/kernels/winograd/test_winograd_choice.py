"""Which transforms are chosen, and what the choice says of itself."""

from __future__ import annotations

import pytest

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.winograd.winograd_choice import (
    WinogradShape,
    fetches_ahead,
    rounding_of,
    winograd_choices,
)
from cnncc.targets import find
from tests.kernels.harness import each_target
from tests.kernels.winograd.winograd_rounding import DATA, PAIRS, error

WIDE = find("x86-64-v4")


def _shape(size: int, channels: int, kernel: tuple[int, int] = (3, 3), **more) -> WinogradShape:
    blocks = channels // WIDE.lanes()
    return WinogradShape(size, size, blocks, blocks, 1, kernel, **more)


def test_large_maps_get_large_tiles():
    best = winograd_choices(WIDE, _shape(56, 64))[0]
    assert (best.vertical.outputs, best.horizontal.outputs) == (4, 4)
    assert best.tiles == 14 * 14
    assert best.planes == 36


def test_small_maps_with_many_filters_read_fewer_of_them():
    found = winograd_choices(WIDE, _shape(7, 512))
    assert found[0].expands
    assert found[0].filters == 9
    assert str(found[0]).startswith("F(4x4, 3x3) of plain filters, blocks of 4 tiles")
    transformed = next(choice for choice in found if not choice.expands)
    assert transformed.filters == transformed.planes < 36


def test_few_channels_are_summed_by_turns_where_errors_are_magnified():
    for channels, sums in ((32, 3), (64, 3), (80, 2), (256, 2)):
        for choice in winograd_choices(WIDE, _shape(56, channels)):
            large = min(choice.vertical.outputs, choice.horizontal.outputs) == 4
            assert choice.sums == (1 if choice.expands else sums if large else 2)
            assert not (large and choice.expands and sums == 3)
            assert choice.expands or choice.tile.vectors == 1
            assert choice.sums * choice.tile.accumulators <= WIDE.vector_registers
    narrow = winograd_choices(find("x86-64-v3"), WinogradShape(56, 56, 4, 4, 1, (3, 3)))
    assert {choice.sums for choice in narrow} == {1}  # few registers, and splats take one
    shallow = winograd_choices(WIDE, _shape(56, 16))
    assert {choice.sums for choice in shallow} == {1}


def test_channels_that_fill_no_block_cost_nothing():
    whole, part = (
        winograd_choices(WIDE, WinogradShape(56, 56, 1, 1, 1, (3, 3), channels=count))
        for count in (0, 12)
    )
    assert part[0].cycles < whole[0].cycles


def test_filters_are_fetched_where_few_register_tiles_read_them():
    tile = Tile(1, 14, 2)
    assert fetches_ahead(1, tile)
    assert fetches_ahead(8 * 14, tile)
    assert not fetches_ahead(8 * 14 + 1, tile)


def test_of_two_ways_as_quick_the_one_that_reads_less_is_taken():
    """Memory is what threads share: 256 filters at 16x16 are 9.4 MB transformed, 2.4 MB plain."""
    found = winograd_choices(WIDE, _shape(16, 256))
    assert found[0].streamed == min(c.streamed for c in found if c.planes == 36)


def test_filters_are_expanded_where_a_row_of_planes_stays_in_registers():
    """32 registers hold 3 or 4 tiles of 6 planes, their filters, and what they are made of."""
    for target, tiles in ((WIDE, 4), (find("aarch64"), 3)):
        expanded = [c for c in winograd_choices(target, _shape(7, 512)) if c.expands]
        assert max(c.tile.columns for c in expanded if c.horizontal.outputs == 4) == tiles
        for choice in expanded:
            held = choice.tile.columns * choice.horizontal.products
            assert held + choice.horizontal.products < target.vector_registers
    assert not any(c.expands for c in winograd_choices(find("x86-64-v3"), _shape(7, 512)))


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (9, 9), (7, 7), (3, 9)])
def test_windows_without_a_transform(kernel):
    assert winograd_choices(WIDE, _shape(28, 64, kernel)) == ()


def test_a_tile_holds_whole_windows():
    for choice in winograd_choices(WIDE, _shape(28, 64, window=(4, 2))):
        assert choice.vertical.outputs == 4


@each_target
def test_blocks_of_tiles_are_of_like_size(target):
    for size in (5, 14, 27, 56):
        for choice in winograd_choices(target, WinogradShape(size, size, 4, 4, 1, (3, 3))):
            blocks = -(-choice.tiles // choice.block)
            assert choice.block * blocks - choice.tiles < blocks
            assert choice.tile.accumulators <= target.vector_registers


def test_the_halo_holds_whole_tiles():
    best = winograd_choices(WIDE, _shape(14, 64))[0]
    assert best.halo((1, 1), 14, 14) == (1, 1, 3, 3)
    assert rounding_of(best.vertical, best.horizontal) == best.rounding == 64.0
    assert str(best).startswith("F(4x4, 3x3)")


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("kind", DATA)
def test_the_bound_has_room(pair, kind):
    """K comes from `python -m tests.kernels.winograd.winograd_rounding`; this is a part of it."""
    assert error(pair, 16, kind, 1) <= rounding_of(*pair) / 2


def test_work_falls_into_equal_parts() -> None:
    """20 blocks of filters are 5 panels of 4 vectors, but 10 of 2: two threads wait less."""
    for rows, blocks in ((16, 20), (7, 20), (16, 2)):
        shape = WinogradShape(rows, rows, 10, blocks, 1, (3, 3))
        choices = winograd_choices(WIDE, shape)
        best = choices[0]
        assert -(-best.tiles // best.block) * (blocks // best.tile.vectors) % 2 == 0
        assert best.cycles <= 1.1 * min(choice.cycles for choice in choices)


def test_choices_are_there_once() -> None:
    found = winograd_choices(WIDE, WinogradShape(14, 14, 10, 20, 1, (3, 3)))
    assert len(set(found)) == len(found)
