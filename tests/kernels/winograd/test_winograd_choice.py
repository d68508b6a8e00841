"""What a choice says of itself."""

from __future__ import annotations

import pytest

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape, fetches_ahead, rounding_of
from cnncc.targets import find
from tests.kernels.winograd.winograd_rounding import DATA, PAIRS, error

WIDE = find("x86-64-v4")


def _shape(size: int, channels: int, kernel: tuple[int, int] = (3, 3), **more) -> WinogradShape:
    blocks = channels // WIDE.lanes()
    return WinogradShape(size, size, blocks, blocks, 1, kernel, **more)


def test_filters_are_fetched_where_few_register_tiles_read_them():
    tile = Tile(1, 14, 2)
    assert fetches_ahead(1, tile)
    assert fetches_ahead(8 * 14, tile)
    assert not fetches_ahead(8 * 14 + 1, tile)


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
