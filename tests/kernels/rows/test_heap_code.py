"""A heap in a buffer sorts whatever it is given."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.rows.heap_code import Heap, exceeds
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.loopir import interp
from cnncc.loopir.build import Builder


def sorted_by_heap(numbers):
    b = Builder("f")
    buffer = b.buffer("x", extent=numbers.size, writable=True)
    scalars = VectorScalars(b, 1)

    def above(one, other):
        return exceeds(scalars, one[0], other[0], is_float=True, nan="highest")

    heap = Heap(
        b,
        lambda slot: (b.load(buffer, slot),),
        lambda slot, entry: b.store(buffer, slot, entry[0]),
        above,
        numbers.size,
    )
    heap.order(numbers.size)
    heap.sort(numbers.size)
    found = numbers.copy()
    interp.run(b.func, [found])
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20))
def test_sorts(numbers):
    given_ = np.array(numbers, np.float32)
    np.testing.assert_array_equal(sorted_by_heap(given_), np.sort(given_))


def test_nan_is_the_highest():
    given_ = np.array([1, np.nan, -np.inf, np.inf, np.nan, 0], np.float32)
    np.testing.assert_array_equal(sorted_by_heap(given_), np.sort(given_))
