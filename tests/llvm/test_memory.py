"""Addresses, masks, scratch buffers, views and prefetches, against LoopIR's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import EmitError
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir import interp
from cnncc.loopir.arith import DTYPES
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Kind, Program
from cnncc.targets import find
from tests.llvm.native import RUNNABLE, NativeChild, assert_same

pytestmark = pytest.mark.native


def compare(native: NativeChild, b: Builder, args: list[np.ndarray | int]) -> list[np.ndarray]:
    copies = [[a.copy() if isinstance(a, np.ndarray) else a for a in args] for _ in range(2)]
    interp.run(b.func, copies[0])
    for target in RUNNABLE:
        got = native.run(b.func, copies[1], target)
        assert_same(got, copies[0], b.func)
    return copies[0]


@pytest.mark.parametrize("kind", list(Kind))
def test_displacements_and_negative_bases(native: NativeChild, kind: Kind) -> None:
    b = Builder("move")
    x, y = b.buffer("x", kind), b.buffer("y", kind, writable=True)
    with b.loop(-4, 4) as loop:
        for offset in (4, 12, 20):
            b.store(y, loop.iv, b.load(x, loop.iv, offset=offset), offset=offset)
        b.store(y, loop.iv, b.load(x, b.iadd(loop.iv, 4), 2), offset=40)
    data = np.arange(64).astype(DTYPES[kind])
    compare(native, b, [data, np.zeros(64, DTYPES[kind])])


@pytest.mark.parametrize("lanes", [1, 5, 16])
@pytest.mark.parametrize("kind", list(Kind))
def test_masks_leave_lanes_out(native: NativeChild, kind: Kind, lanes: int) -> None:
    b = Builder("masked")
    m = b.buffer("m", Kind.BOOL)
    x, y = b.buffer("x", kind), b.buffer("y", kind, writable=True)
    with b.loop(0, 32) as loop:
        mask = b.load(m, loop.iv, lanes)
        value = b.load(x, loop.iv, lanes, mask=mask)
        b.store(y, b.imul(loop.iv, lanes), value)
        b.store(y, b.imul(loop.iv, lanes), value, offset=700, mask=mask)
    rng = np.random.default_rng(0)
    data = rng.integers(1, 100, 64).astype(DTYPES[kind])
    out = np.ones(1400, DTYPES[kind])
    compare(native, b, [rng.integers(0, 2, 64).astype(bool), data, out])


def test_masked_off_lanes_do_not_fault(native: NativeChild) -> None:
    """The last element of a page that ends the mapping: lanes beyond it must not be touched."""
    b = Builder("tail")
    x, y = b.buffer("x", extent=None), b.buffer("y", writable=True)
    mask = b.const((True, True, True, *[False] * 13), vector(16, Kind.BOOL))
    b.store(y, 0, b.load(x, 1 << 40, 16, offset=-(1 << 40), mask=mask), mask=mask)
    none = b.const(False, vector(16, Kind.BOOL))
    b.store(y, 1 << 44, b.load(x, 1 << 44, 16, mask=none), mask=none)
    out = np.full(16, 9.0, "f")
    for target in RUNNABLE:
        got = native.run(b.func, [np.arange(16, dtype="f"), out], target)[1]
        assert got.tolist() == [0, 1, 2, *[9] * 13]


def test_scratch_is_aligned_and_views_shift(native: NativeChild) -> None:
    b = Builder("scratch")
    x, y = b.buffer("x"), b.buffer("y", writable=True)
    first, second = b.alloc(48), b.alloc(7, Kind.I8)
    shifted = b.view(first, 16, 32)
    with b.loop(0, 32, 16) as loop:
        part = b.view(x, loop.iv)
        b.store(shifted, loop.iv, b.load(part, 3, 16))
    b.store(second, 6, b.const(3, vector(1, Kind.I8)))
    with b.loop(0, 32) as loop:
        b.prefetch(x, loop.iv, offset=1 << 30)
        scale = b.convert(b.load(second, 6), Kind.F32)
        b.store(y, loop.iv, b.binary("mul", b.load(first, loop.iv, offset=16), scale))
    out = compare(native, b, [np.arange(64, dtype="f"), np.zeros(32, "f")])
    assert out[1].tolist() == [3.0 * (i + 3) for i in range(32)]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.F16])
def test_parts_of_the_arena_as_other_kinds(native: NativeChild, kind: Kind) -> None:
    """Two views of one place have one address, and each counts in its own elements."""
    b = Builder("kinds")
    arena, out = b.buffer("arena", extent=256, writable=True), b.buffer("out", kind, writable=True)
    part, bytes_ = b.view(arena, 0, 64, kind=kind), b.view(arena, 0, 1024, kind=Kind.U8)
    with b.loop(0, 8) as loop:
        b.store(arena, loop.iv, b.load(arena, loop.iv, offset=128))
    with b.loop(0, 8) as loop:
        low = b.load(bytes_, b.imul(loop.iv, kind.size_bytes))
        b.store(part, loop.iv, b.convert(low, kind), offset=24)
        b.store(part, loop.iv, b.load(part, loop.iv), offset=16)
        b.store(bytes_, loop.iv, b.load(bytes_, loop.iv, offset=1), offset=768)
    with b.loop(0, 32, 8) as loop:
        b.store(out, loop.iv, b.load(part, loop.iv, 8))
    data = np.random.default_rng(5).integers(0, 2, 1024).astype(np.uint8).view(np.float32)
    compare(native, b, [data, np.zeros(32, DTYPES[kind])])


def test_offsets_become_displacements() -> None:
    b = Builder("disp")
    x, y = b.buffer("x"), b.buffer("y", writable=True)
    n = b.index_param("n")
    with b.loop(0, n) as loop:
        total = b.load(x, loop.iv)
        for offset in (8, 16, 24):
            total = b.binary("add", total, b.load(x, loop.iv, offset=offset))
        b.store(y, loop.iv, total)
    target = find("x86-64-v3")
    text = emit_assembly(emit_program(Program([b.func]), target), target)
    for bytes_ in (32, 64, 96):
        assert f"\t{bytes_}(%rdi,%r" in text or f" {bytes_}(%rdi,%r" in text
    assert text.count("leaq") == 0


def test_a_scratch_buffer_needs_an_extent() -> None:
    b = Builder("bad")
    scratch = b.alloc(4)
    scratch.type = type(scratch.type)(Kind.F32, None, True)
    with pytest.raises(EmitError, match="scratch"):
        emit_program(Program([b.func]), find("x86-64"))
