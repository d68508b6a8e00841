"""Kernels written by hand against NumPy, and everything the interpreter must refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.loopir.arith import InterpError
from cnncc.loopir.build import INDEX, Builder, vector
from cnncc.loopir.interp import Interpreter, run
from cnncc.loopir.nodes import Func, Kind, Program

from .generate import arguments, functions

RNG = np.random.default_rng(7)


def test_dot_product_carries_accumulators() -> None:
    b = Builder("dot")
    x, y = b.buffer("x"), b.buffer("y")
    out, n = b.buffer("out", extent=8, writable=True), b.index_param("n")
    zero = b.const(0.0, vector(8))
    with b.loop(0, n, 16, carry=[zero, zero]) as loop:
        loop.yields(
            [
                b.fma(b.load(x, loop.iv, 8, offset=8 * k), b.load(y, loop.iv, 8, offset=8 * k), acc)
                for k, acc in enumerate(loop.carried)
            ]
        )
    b.store(out, 0, b.binary("add", *loop.results))
    a, c = (RNG.integers(-9, 9, 80).astype(np.float32) for _ in range(2))
    got = np.zeros(8, np.float32)
    code = Interpreter(b.func)
    code.run([a, c, got, 80])
    np.testing.assert_array_equal(got, (a * c).reshape(-1, 8).sum(0))
    code.run([a, c, got, 0])
    np.testing.assert_array_equal(got, np.zeros(8))


def masked_copy() -> Func:
    """Copies n elements, the last few under a mask."""
    b = Builder("copy")
    src, dst, n = b.buffer("src"), b.buffer("dst", writable=True), b.index_param("n")
    lanes = b.const((0, 1, 2, 3), vector(4, Kind.INDEX))
    with b.loop(0, n, 4) as loop:
        places = b.binary("add", b.splat(loop.iv, 4), lanes)
        mask = b.compare("lt", places, b.splat(n, 4))
        b.store(dst, loop.iv, b.load(src, loop.iv, 4, mask=mask), mask=mask)
    return b.func


@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_masked_tail_touches_nothing_beyond(n: int) -> None:
    src = RNG.standard_normal(n).astype(np.float32)
    dst = np.full(n, 99, np.float32)
    run(masked_copy(), [src, dst, n])
    np.testing.assert_array_equal(dst, src)


def test_masked_lanes_are_checked() -> None:
    src, dst = np.zeros(6, np.float32), np.zeros(7, np.float32)
    with pytest.raises(InterpError, match=r"copy: load from 'src' \[6\] is out of bounds"):
        run(masked_copy(), [src, dst, 7])


def test_transpose_by_shuffles() -> None:
    b = Builder("transpose")
    src, dst = b.buffer("src", extent=256), b.buffer("dst", extent=256, writable=True)
    rows = [b.load(src, 16 * i, 16) for i in range(16)]
    half = 8
    while half:
        # Swap the blocks of `half` rows and columns beside the diagonal.
        for i in (i for i in range(16) if not i & half):
            upper, lower = rows[i], rows[i + half]
            take = [lane if not lane & half else 16 + lane - half for lane in range(16)]
            rows[i] = b.shuffle(upper, lower, take)
            take = [lane + half if not lane & half else 16 + lane for lane in range(16)]
            rows[i + half] = b.shuffle(upper, lower, take)
        half //= 2
    for i, row in enumerate(rows):
        b.store(dst, 16 * i, row)
    x, got = np.arange(256, dtype=np.float32), np.zeros(256, np.float32)
    run(b.func, [x, got])
    np.testing.assert_array_equal(got.reshape(16, 16), x.reshape(16, 16).T)


def test_stencil_through_scratch() -> None:
    b = Builder("blur")
    src, dst = b.buffer("src", extent=32), b.buffer("dst", extent=32, writable=True)
    padded = b.alloc(34)
    zero = b.const(0.0)
    b.store(padded, 0, zero)
    b.store(padded, 33, zero)
    with b.loop(0, 32, 8) as loop:
        b.store(padded, loop.iv, b.load(src, loop.iv, 8), offset=1)
    with b.loop(0, 32, 8) as loop:
        left, mid, right = (b.load(padded, loop.iv, 8, offset=k) for k in range(3))
        b.store(dst, loop.iv, b.binary("add", b.binary("add", left, mid), right))
    x, got = RNG.integers(0, 9, 32).astype(np.float32), np.zeros(32, np.float32)
    run(b.func, [x, got])
    np.testing.assert_array_equal(got, np.convolve(x, [1, 1, 1], "same"))


def simple(body: Callable[[Builder], None], name: str = "f") -> Func:
    b = Builder(name)
    body(b)
    return b.func


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "3 arguments wanted, got 0"),
        ([np.zeros(4), np.zeros(4, np.float32), 0], "elements of float64"),
        ([np.zeros((2, 2), np.float32), np.zeros(4, np.float32), 0], "flat array"),
        ([1, np.zeros(4, np.float32), 0], "flat array"),
        ([np.zeros(4, np.float32), np.zeros(4, np.float32), np.zeros(1)], "an integer is wanted"),
        ([np.zeros(4, np.float32), np.frombuffer(bytes(16), np.float32), 0], "read-only"),
    ],
)
def test_arguments_must_fit(args: list[np.ndarray | int], message: str) -> None:
    b = Builder("f")
    b.buffer("src")
    b.buffer("dst", writable=True)
    b.index_param("n")
    with pytest.raises(InterpError, match=message):
        run(b.func, args)


def test_unique_buffers_may_not_overlap() -> None:
    b = Builder("f")
    b.buffer("src", extent=4)
    b.buffer("dst", extent=4, writable=True)
    data = np.zeros(8, np.float32)
    run(b.func, [data[:4], data[4:]])
    with pytest.raises(InterpError, match="'dst' and 'src' overlap"):
        run(b.func, [data[:4], data[3:7]])


@pytest.mark.parametrize("nested", [False, True])
def test_a_barrier_belongs_into_main(nested: bool) -> None:
    b = Builder("main" if nested else "f")
    if nested:
        b.index_param("thread")
        b.index_param("threads")
        with b.loop(0, 2):
            b.barrier()
    else:
        b.barrier()
    with pytest.raises(InterpError, match="barrier"):
        run(b.func, [])


def test_calls_must_fit() -> None:
    with pytest.raises(InterpError, match="'gone', which is not there"):
        run(simple(lambda b: b.call("gone", [])), [])
    callee = simple(lambda b: b.index_param("n"), "callee")
    with pytest.raises(InterpError, match="'callee' takes 1 arguments"):
        run(Program([callee, simple(lambda b: b.call("callee", []))]), [])
    with pytest.raises(InterpError, match="no function 'x'"):
        run(callee, [1], name="x")


def racy(barrier: bool) -> Program:
    """Each thread writes its number, then sums the numbers of all before it."""
    write = Builder("write")
    to, thread = write.buffer("to", writable=True), write.index_param("thread")
    write.store(to, thread, write.convert(thread, Kind.F32))
    read = Builder("read")
    source, sums = read.buffer("source"), read.buffer("sums", writable=True)
    thread = read.index_param("thread")
    with read.loop(0, 3, carry=[read.const(0.0)]) as loop:
        loop.yields([read.binary("add", loop.carried[0], read.load(source, loop.iv))])
    read.store(sums, thread, loop.results[0])
    main = Builder("main")
    numbers, out = main.buffer("numbers", writable=True), main.buffer("out", writable=True)
    thread, _ = main.index_param("thread"), main.index_param("threads")
    main.call("write", [numbers, thread])
    if barrier:
        main.barrier()
    main.call("read", [numbers, out, thread])
    return Program([write.func, read.func, main.func])


def test_threads_meet_at_barriers() -> None:
    for order in ("forward", "reversed"):
        numbers, out = np.zeros(3, np.float32), np.zeros(3, np.float32)
        run(racy(barrier=True), [numbers, out], threads=3, order=order)
        np.testing.assert_array_equal(out, [3, 3, 3])


def test_the_order_of_threads_exposes_a_race() -> None:
    results = []
    for order in ("forward", "reversed"):
        numbers, out = np.zeros(3, np.float32), np.zeros(3, np.float32)
        run(racy(barrier=False), [numbers, out], threads=3, order=order)
        results.append(out.tolist())
    assert results == [[0, 1, 3], [3, 3, 2]]


def test_carried_values_change_together() -> None:
    b = Builder("fibonacci")
    out = b.buffer("out", Kind.INDEX, writable=True)
    with b.loop(0, 10, carry=[b.const(0, INDEX), b.const(1, INDEX)]) as loop:
        x, y = loop.carried
        loop.yields([y, b.iadd(x, y)])
    b.store(out, 0, loop.results[0])
    got = np.zeros(1, np.int64)
    run(b.func, [got])
    assert got.tolist() == [55]


@settings(max_examples=60, deadline=None)
@given(functions(), st.integers(0, 99))
def test_random_functions_stay_in_bounds(func: Func, seed: int) -> None:
    first, dst = arguments(seed)
    run(func, first)
    second, again = arguments(seed)
    run(func, second)
    np.testing.assert_array_equal(dst, again)
