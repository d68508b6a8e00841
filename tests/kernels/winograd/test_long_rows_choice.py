"""Pieces and blocks of long rows: they cover the result, and the model knows what pays."""

from __future__ import annotations

import pytest

from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.winograd.long_rows_choice import PIECE, LongRowsShape, long_rows_choice
from cnncc.targets import TARGETS, find

WIDE = find("x86-64-v4")


def shape(columns=200, taps=15, blocks=4, rows=1):
    return LongRowsShape(rows, columns, blocks, 16 * blocks, blocks, taps)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
@pytest.mark.parametrize("taps", [8, 9, 15, 31])
def test_pieces_and_tiles_cover_everything(target, taps):
    choice = long_rows_choice(target, shape(taps=taps))
    assert choice is not None
    assert 0 <= choice.pieces * PIECE.taps - taps < PIECE.taps
    assert 0 <= choice.across * PIECE.outputs - 200 < PIECE.outputs
    assert choice.held == choice.block + choice.pieces - 1
    assert choice.extents == (1, choice.across * 3 + choice.pieces * 3 - 1)


def test_short_rows_have_none():
    assert long_rows_choice(WIDE, shape(taps=7)) is None
    assert long_rows_choice(WIDE, shape(columns=10, taps=15)) is None


def test_it_is_quicker_than_the_definition():
    """With 15 taps there are 25 products instead of 45."""
    choice = long_rows_choice(WIDE, shape(columns=1000))
    direct = choose_tile(WIDE, 1, 1000, 4, 64 * 15)
    assert choice is not None
    assert 25 / 45 < choice.cycles / direct.cycles < 0.7


def test_blocks_stay_in_the_cache():
    choice = long_rows_choice(WIDE, shape(columns=20000, blocks=16))
    assert choice is not None
    assert choice.block * PIECE.products * 16 * 64 <= 4 << 20
