"""Tiles cover a map once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_tile import Tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.loopir import interp
from cnncc.loopir.build import Builder


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_tiles_cover_the_map_once(rows, columns, tile_rows, tile_columns):
    """Smaller at the far edges, never beyond them."""
    b = Builder("cover")
    out = b.buffer("out", extent=rows * columns, writable=True)
    down, across = b.index_param("down"), b.index_param("across")

    def body(tile, y, x):
        for row, column in np.ndindex(tile.rows, tile.columns):
            at = b.iadd(b.imul(b.iadd(y, row), columns), x)
            b.store(out, at, b.binary("add", b.load(out, at, offset=column), b.const(1.0)),
                    offset=column)  # fmt: skip

    for_each_tile(b, rows, columns, Tile(tile_rows, tile_columns, 1), (down, across), body)
    count = np.zeros(rows * columns, np.float32)
    for place in np.ndindex(-(-rows // tile_rows), -(-columns // tile_columns)):
        interp.run(b.func, [count, *place])
    assert (count == 1).all()
