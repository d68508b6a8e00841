"""Which layouts are row-major, how axes are joined, how rows are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncc.ir.types import DType, TensorType, f32
from cnncc.kernels.layout import DenseLayout, Layout, RowMajor
from cnncc.kernels.rows.row_major import Chunks, collapse, pitches_of, row_major
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Kind


def test_layouts_of_the_same_memory():
    map_, row = f32(1, 3, 4, 5), RowMajor(DType.F32, (1, 3, 4, 5))
    assert row_major(row, map_) is row
    assert row_major(DenseLayout(DType.F32, 3, 4, 5, "chw"), map_) == row
    assert row_major(DenseLayout(DType.F32, 3, 4, 5, "hwc"), map_) is None
    assert row_major(DenseLayout(DType.F32, 1, 4, 5, "hwc"), f32(1, 1, 4, 5)) is not None
    assert row_major(DenseLayout(DType.U8, 3, 4, 5, "chw"), map_) is None
    assert row_major(Layout(8, (3,), 4, 5), map_) is None
    assert row_major(None, TensorType(DType.I64, (2,))) is None


@given(st.lists(st.integers(1, 4), max_size=5), st.data())
def test_joined_axes_walk_over_the_same_elements(shape, data):
    masked = [data.draw(st.booleans()) for _ in shape]
    spread = tuple(0 if m else p for m, p in zip(masked, pitches_of(shape), strict=True))
    dims, walks = collapse(shape, pitches_of(shape), spread)
    assert len(dims) <= max(1, len(shape))
    for pitches, walk in zip((pitches_of(shape), spread), walks, strict=True):
        before = np.array([np.dot(i, pitches) for i in np.ndindex(*shape)])
        after = np.array([np.dot(i, walk) for i in np.ndindex(*dims)])
        np.testing.assert_array_equal(before, after)


@given(
    length=st.integers(1, 70),
    lanes=st.sampled_from((1, 4)),
    unroll=st.integers(1, 3),
    size=st.integers(1, 40),
)
def test_chunks_cover_a_row_once(length, lanes, unroll, size):
    b = Builder("f")
    out = b.buffer("out", Kind.F32, length, writable=True)
    chunks = Chunks(length, lanes, unroll, size)
    with b.loop(0, chunks.count) as items:

        def body(at, offset, mask):
            old = b.load(out, at, lanes, offset=offset, mask=mask)
            b.store(out, at, b.binary("add", old, old), offset=offset, mask=mask)

        chunks.emit(b, items.iv, body)
    found = np.ones(length, np.float32)
    interp.run(b.func, [found])
    assert (found == 2).all()
