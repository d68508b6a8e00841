"""Which transforms are chosen."""

from __future__ import annotations

import pytest

from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.targets import find

WIDE = find("x86-64-v4")


def _shape(size: int, channels: int, kernel: tuple[int, int] = (3, 3), **more) -> WinogradShape:
    blocks = channels // WIDE.lanes()
    return WinogradShape(size, size, blocks, blocks, 1, kernel, **more)


def test_large_maps_get_large_tiles():
    best = winograd_choices(WIDE, _shape(56, 64))[0]
    assert (best.vertical.outputs, best.horizontal.outputs) == (4, 4)
    assert best.tiles == 14 * 14
    assert best.planes == 36


def test_of_two_ways_as_quick_the_one_that_reads_less_is_taken():
    """Memory is what threads share: 256 filters at 16x16 are 9.4 MB transformed, 2.4 MB plain."""
    found = winograd_choices(WIDE, _shape(16, 256))
    assert found[0].streamed == min(c.streamed for c in found if c.planes == 36)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (9, 9), (7, 7), (3, 9)])
def test_windows_without_a_transform(kernel):
    assert winograd_choices(WIDE, _shape(28, 64, kernel)) == ()


def test_a_tile_holds_whole_windows():
    for choice in winograd_choices(WIDE, _shape(28, 64, window=(4, 2))):
        assert choice.vertical.outputs == 4


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
