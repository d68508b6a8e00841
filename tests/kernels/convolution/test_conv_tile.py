"""What a tile covers, and pieces of a sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_tile import MOST_HALVED, Tile, piece_blocks, tile_parts

extents = st.integers(1, 60)


@given(extents, extents, st.integers(1, 28), st.integers(1, 28), st.integers(0, 28))
def test_parts_cover_the_map(rows, columns, tile_rows, tile_columns, side):
    tile = Tile(tile_rows, tile_columns, 1, side=side)
    parts = list(tile_parts(rows, columns, tile))
    assert sum(h * w * count for h, w, count in parts) == rows * columns
    assert all(h <= max(tile_rows, side) and w <= tile_columns for h, w, _ in parts)
    assert tile.count(rows, columns) == sum(count for _, _, count in parts)


def test_pieces_are_of_like_length_and_no_longer_than_asked_for():
    assert [piece_blocks(n, 4) for n in (1, 3, 4, 8, 11, 12, 16, 32)] == [1, 1, 1, 2, 2, 3, 4, 4]
    assert [piece_blocks(n, 2) for n in (2, 6, 10)] == [1, 3, 4]
    # Primes are no worse than their neighbours.
    assert [piece_blocks(n, 1, 8) for n in (7, 8, 11, 13, 26, 29)] == [7, 8, 6, 7, 7, 8]


def test_a_whole_vector_beside_a_narrow_one_is_two():
    """In tiles that are small enough; where it is alone or with others it stays whole."""
    halves = [(0, 8), (8, 8), (16, 8)]
    assert Tile(1, MOST_HALVED, 2, 8).registers(16) == halves
    assert Tile(3, 3, 2, 8).registers(16) == halves
    assert Tile(1, MOST_HALVED + 1, 2, 8).registers(16) == [(0, 16), (16, 8)]
    assert Tile(1, 1, 2).registers(16) == [(0, 16), (16, 16)]
    assert Tile(1, 1, 1, 8).registers(16) == [(0, 8)]
    assert Tile(1, 1, 3, 8).registers(16) == [(0, 16), (16, 16), (32, 8)]
