"""Every element that is read or written is checked."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.loopir.arith import DTYPES, InterpError
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.interp import run
from cnncc.loopir.nodes import Kind


def test_unwritten_scratch_may_not_be_read() -> None:
    b = Builder("f")
    scratch = b.alloc(8)
    b.store(scratch, 0, b.const(0.0, vector(4)))
    part = b.view(scratch, 2, 6)
    b.load(part, 0, 2)
    b.load(part, 1, 2)
    with pytest.raises(InterpError, match=r"\[1\.\.2\] reads scratch that was never written"):
        run(b.func, [])


@pytest.mark.parametrize(("index", "lanes"), [(-1, 1), (8, 1), (5, 4), (-2, 4)])
@pytest.mark.parametrize("write", [False, True])
def test_bounds_are_checked(index: int, lanes: int, write: bool) -> None:
    b = Builder("f")
    buffer, at = b.buffer("data", writable=True), b.index_param("at")
    if write:
        b.store(buffer, at, b.const(0.0, vector(lanes)), offset=3)
    else:
        b.load(buffer, at, lanes, offset=3)
    with pytest.raises(InterpError, match=r"'data'.*is out of bounds: it has 8 elements"):
        run(b.func, [np.zeros(8, np.float32), index - 3])
    run(b.func, [np.zeros(8, np.float32), 1 - 3])


def test_a_view_ends_at_its_extent() -> None:
    b = Builder("f")
    part = b.view(b.buffer("data"), 2, 3)
    b.load(part, 2)
    b.load(part, 3)
    with pytest.raises(InterpError, match=r"\[3\] is out of bounds: it has 3"):
        run(b.func, [np.zeros(8, np.float32)])
    with pytest.raises(InterpError, match="view of 'data' from 2 on"):
        run(b.func, [np.zeros(4, np.float32)])


def test_the_extent_of_a_parameter_binds() -> None:
    b = Builder("f")
    b.load(b.buffer("data", extent=4), b.index_param("i"))
    with pytest.raises(InterpError, match="needs 4 elements, got 3"):
        run(b.func, [np.zeros(3, np.float32), 0])
    with pytest.raises(InterpError, match="it has 4 elements"):
        run(b.func, [np.zeros(9, np.float32), 4])


@pytest.mark.parametrize("kind", list(Kind))
def test_elements_of_every_kind(kind: Kind) -> None:
    b = Builder("f")
    src, dst = b.buffer("src", kind, 5), b.buffer("dst", kind, 5, writable=True)
    b.store(dst, 0, b.load(src, 0, 4))
    b.store(dst, 4, b.load(src, 4))
    x = np.array([1, 0, 1, 1, 1], DTYPES[kind])
    got = np.zeros(5, DTYPES[kind])
    run(b.func, [x, got])
    np.testing.assert_array_equal(got, x)


def test_a_loaded_vector_is_a_copy() -> None:
    b = Builder("f")
    data = b.buffer("data", writable=True)
    old = b.load(data, 0, 2)
    b.store(data, 0, b.const(9.0, vector(2)))
    b.store(data, 2, old)
    got = np.array([1, 2, 0, 0], np.float32)
    run(b.func, [got])
    assert got.tolist() == [9, 9, 1, 2]
