"""One function or program a node kind, written by hand, and the memory it must leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnncc.loopir import nodes
from cnncc.loopir.build import INDEX, Builder, vector
from cnncc.loopir.nodes import Func, Kind, Program, Type, Value

F4 = vector(4)
X = np.array([1.5, -2.25, 0.0, 9.0], np.float32)


@dataclass(frozen=True)
class Sample:
    """A program whose last function takes `src` f32[4] and `dst` f32[4], and what it stores."""

    program: Program
    expected: np.ndarray


def _sample(body: Callable[[Builder, Value, Value], None], expected: object) -> Sample:
    b = Builder("sample")
    src, dst = b.buffer("src", extent=4), b.buffer("dst", extent=4, writable=True)
    body(b, src, dst)
    return Sample(Program([b.func]), np.asarray(expected, np.float32))


def _stores(make: Callable[[Builder, Value], Value]) -> Callable[[Builder, Value, Value], None]:
    def body(b: Builder, src: Value, dst: Value) -> None:
        b.store(dst, 0, make(b, b.load(src, 0, 4)))

    return body


def _looked_up(b: Builder, x: Value) -> Value:
    index = b.const((1, 7, 10, -4), Type(Kind.I32, 4))
    return b.lookup(x, b.unary("neg", b.unary("neg", x)), index)


def _loop(b: Builder, src: Value, dst: Value) -> None:
    with b.loop(0, 3, carry=[b.load(src, 0, 4)], hint="turn") as loop:
        loop.yields([b.binary("add", loop.carried[0], loop.carried[0])])
    b.store(dst, 0, loop.results[0])


def _branch(b: Builder, src: Value, dst: Value) -> None:
    with b.loop(0, 4) as loop:
        x = b.load(src, loop.iv)
        with b.when(b.compare("lt", loop.iv, 2)):
            b.store(dst, loop.iv, x)
        with b.otherwise():
            b.store(dst, loop.iv, b.unary("neg", x))


def _alloc(b: Builder, src: Value, dst: Value) -> None:
    scratch = b.alloc(8)
    b.store(scratch, 3, b.load(src, 0, 4))
    b.store(dst, 0, b.load(scratch, 3, 4))


def _view(b: Builder, src: Value, dst: Value) -> None:
    part = b.view(src, b.const(2, INDEX), 2)
    b.store(dst, 0, b.load(part, 0, 2))


def _masked(b: Builder, src: Value, dst: Value) -> None:
    mask = b.const((True, False, True, False), vector(4, Kind.BOOL))
    b.store(dst, 0, b.load(src, 0, 4, mask=mask))


def _masked_store(b: Builder, src: Value, dst: Value) -> None:
    mask = b.const((False, True, True, False), vector(4, Kind.BOOL))
    b.store(dst, 0, b.load(src, 0, 4), mask=mask)


def _prefetch(b: Builder, src: Value, dst: Value) -> None:
    b.prefetch(src, 3, offset=1000)
    b.store(dst, 0, b.load(src, 0, 4))


def _negated() -> Func:
    b = Builder("negate")
    src, dst = b.buffer("src", extent=2), b.buffer("dst", extent=2, writable=True)
    b.store(dst, 0, b.unary("neg", b.load(src, 0, 2)))
    return b.func


def _calls() -> Sample:
    b = Builder("sample")
    src, dst = b.buffer("src", extent=4), b.buffer("dst", extent=4, writable=True)
    for start in (0, 2):
        b.call("negate", [b.view(src, start, 2), b.view(dst, start, 2)])
    return Sample(Program([_negated(), b.func]), -X)


def _barrier() -> Sample:
    """Both halves are negated, then each thread copies the half of the other."""
    half = _negated()
    b = Builder("main")
    src, dst = b.buffer("src", extent=4), b.buffer("dst", extent=4, writable=True)
    between = b.view(dst, 0, 4)
    thread, _ = b.index_param("thread"), b.index_param("threads")
    start = b.imul(thread, 2)
    b.call("negate", [b.view(src, start, 2), b.view(between, start, 2)])
    b.barrier()
    other = b.isub(2, start)
    b.call("negate", [b.view(src, other, 2), b.view(between, other, 2)])
    return Sample(Program([half, b.func]), -X)


SAMPLES: dict[type, list[Sample]] = {
    nodes.Const: [
        _sample(_stores(lambda b, x: b.const((1, 2.5, -0.0, 1e30), F4)), [1, 2.5, -0.0, 1e30])
    ],
    nodes.Unary: [_sample(_stores(lambda b, x: b.unary("abs", x)), abs(X))],
    nodes.Binary: [_sample(_stores(lambda b, x: b.binary("mul", x, x)), X * X)],
    nodes.Fma: [_sample(_stores(lambda b, x: b.fma(x, x, x)), X * X + X)],
    nodes.Compare: [
        _sample(
            _stores(lambda b, x: b.convert(b.compare("gt", x, b.const(0.0, F4)), Kind.F32)), X > 0
        )
    ],
    nodes.Select: [
        _sample(_stores(lambda b, x: b.select(b.compare("eq", x, x), x, b.unary("neg", x))), X)
    ],
    nodes.Convert: [
        _sample(_stores(lambda b, x: b.convert(b.convert(x, Kind.I32), Kind.F32)), np.trunc(X))
    ],
    nodes.Bitcast: [_sample(_stores(lambda b, x: b.bitcast(b.bitcast(x, Kind.I32), Kind.F32)), X)],
    nodes.Splat: [_sample(_stores(lambda b, x: b.splat(b.extract(x, 3), 4)), [9, 9, 9, 9])],
    nodes.Shuffle: [_sample(_stores(lambda b, x: b.shuffle(x, x, (3, 4, 2, 5))), X[[3, 0, 2, 1]])],
    nodes.Lookup: [_sample(_stores(_looked_up), X[[1, 3, 2, 0]])],
    nodes.Extract: [_sample(_stores(lambda b, x: b.splat(b.extract(x, 1), 4)), [-2.25] * 4)],
    nodes.Load: [_sample(_masked, X * [1, 0, 1, 0]), _sample(_stores(lambda b, x: x), X)],
    nodes.Store: [_sample(_masked_store, X * [0, 1, 1, 0])],
    nodes.Alloc: [_sample(_alloc, X)],
    nodes.View: [_sample(_view, [0, 9, 0, 0])],
    nodes.For: [_sample(_loop, 8 * X)],
    nodes.If: [_sample(_branch, X * [1, 1, -1, -1])],
    nodes.Call: [_calls()],
    nodes.Barrier: [_barrier()],
    nodes.Prefetch: [_sample(_prefetch, X)],
}

SCALE = """\
func scale(src: f32[64], dst: f32[?]!, n: index):
  zero: f32x8 = const 0.0
  for i in 0..n step 8 carry sum = zero -> total:
    x: f32x8 = load src[i + 8]
    twice: f32x8 = add x, x
    big: bool = lt 3, i
    if big:
      store dst[i], twice
    else:
      store dst[i - 1], x
    sum_1: f32x8 = add sum, x
    yield sum_1
  store dst[n], total
"""
