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


def test_a_part_of_another_kind_shares_the_bytes() -> None:
    b = Builder("f")
    arena = b.buffer("arena", extent=32, writable=True)
    wide = b.view(arena, 16, 2, kind=Kind.I64)
    b.store(wide, 1, b.const(-2, vector(1, Kind.I64)))
    b.store(b.view(arena, 0, 3, kind=Kind.BOOL), 1, b.const(True, vector(2, Kind.BOOL)))
    data = np.zeros(32, np.float32)
    run(b.func, [data])
    assert data[16:20].view(np.int64).tolist() == [0, -2]
    assert data[:1].view(np.uint8).tolist() == [0, 1, 1, 0]


def test_a_bool_is_any_byte_but_zero() -> None:
    b = Builder("f")
    bytes_, out = b.buffer("bytes", Kind.U8, 4), b.buffer("out", Kind.U8, 8, writable=True)
    flags = b.view(bytes_, 0, 4, kind=Kind.BOOL)
    all_ = b.const(True, vector(4, Kind.BOOL))
    b.store(out, 0, b.convert(b.load(flags, 0, 4), Kind.U8))
    b.store(out, 4, b.convert(b.load(flags, 0, 4, mask=all_), Kind.U8))
    got = np.zeros(8, np.uint8)
    run(b.func, [np.array([0, 1, 2, 255], np.uint8), got])
    assert got.tolist() == [0, 1, 1, 1] * 2


def test_scratch_is_written_byte_by_byte() -> None:
    b = Builder("f")
    scratch = b.alloc(4)
    wide = b.view(scratch, 0, 2, kind=Kind.F64)
    b.store(scratch, 0, b.const(0.0))
    b.store(b.view(scratch, 1, 4, kind=Kind.U8), 0, b.const(0, vector(4, Kind.U8)))
    b.load(wide, 0)
    run(b.func, [])
    b.store(scratch, 2, b.const(0.0))
    b.load(wide, 1)
    with pytest.raises(InterpError, match=r"\[1\] reads scratch that was never written"):
        run(b.func, [])


@pytest.mark.parametrize(
    ("index", "extent", "message"),
    [(1, 2, "is not aligned"), (2, 4, "out of bounds"), (6, 1, ""), (0, 4, ""), (7, 1, "bounds")],
)
def test_parts_of_another_kind_lie_inside_and_aligned(
    index: int, extent: int, message: str
) -> None:
    b = Builder("f")
    base, at = b.buffer("base", extent=8), b.index_param("at")
    b.load(b.view(base, at, extent, kind=Kind.F64), extent - 1)
    data = np.zeros(8, np.float32)
    if not message:
        run(b.func, [data, index])
        return
    with pytest.raises(InterpError, match=message):
        run(b.func, [data, index])


def test_a_part_of_another_kind_needs_an_extent() -> None:
    b = Builder("f")
    b.view(b.buffer("base"), 0, kind=Kind.F64)
    with pytest.raises(InterpError, match=r"as f64\[\?\] without an extent"):
        run(b.func, [np.zeros(8, np.float32)])


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
