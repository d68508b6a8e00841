"""Random small LoopIR functions: well typed, in bounds, and with defined arithmetic only."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from cnncc.loopir.build import INDEX, Builder, vector
from cnncc.loopir.nodes import Func, Index, Kind, Type, Value

SIZE = 64
LANES = 4
F32 = vector(LANES)
I32 = vector(LANES, Kind.I32)
MASK = vector(LANES, Kind.BOOL)


class Pool:
    """Values in scope, by type; a nested body sees a copy."""

    def __init__(self, values: list[Value]) -> None:
        self.values = values

    def nested(self) -> Pool:
        return Pool(list(self.values))

    def of(self, type_: Type) -> list[Value]:
        return [value for value in self.values if value.type == type_]


@st.composite
def functions(draw: st.DrawFn) -> Func:
    b = Builder(draw(st.sampled_from(["f", "conv.3x3", "main2"])))
    src = b.buffer("src", extent=SIZE)
    ints = b.buffer(draw(st.sampled_from(["ints", "src", "for", "1 odd-name", ""])), Kind.I32, SIZE)
    dst = b.buffer("dst", extent=SIZE, writable=True)
    n = b.index_param("n")
    pool = Pool([n])
    start = b.const(draw(st.sampled_from([0.5, -1.25, 3.0, float("inf"), 1e-7])), F32)
    lanes = b.const(tuple(draw(st.lists(st.integers(-9, 9), min_size=LANES, max_size=LANES))), I32)
    pool.values += [start, lanes, b.const(draw(st.booleans()), MASK)]
    if draw(st.booleans()):
        scratch = b.alloc(SIZE, hint="scratch")
        b.store(scratch, 0, start)
        pool.values.append(b.load(scratch, 0, LANES))
    _body(draw, b, pool, (src, ints, dst), depth=0)
    b.store(dst, _place(draw, b, pool), draw(st.sampled_from(pool.of(F32))))
    return b.func


def _place(draw: st.DrawFn, b: Builder, pool: Pool) -> Index:
    """An index at which LANES elements fit."""
    known = pool.of(INDEX)
    if draw(st.booleans()):
        return draw(st.integers(0, SIZE - LANES))
    return b.imax(0, b.imin(draw(st.sampled_from(known)), SIZE - LANES))


def _body(draw: st.DrawFn, b: Builder, pool: Pool, buffers: tuple[Value, ...], depth: int) -> None:
    for _ in range(draw(st.integers(1, 6))):
        choice = draw(st.integers(0, 9 if depth < 3 else 7))
        if choice == 8:
            _loop(draw, b, pool, buffers, depth)
        elif choice == 9:
            _branch(draw, b, pool, buffers, depth)
        else:
            _simple(draw, b, pool, buffers, choice)


def _loop(draw: st.DrawFn, b: Builder, pool: Pool, buffers: tuple[Value, ...], depth: int) -> None:
    carried_type = draw(st.sampled_from([F32, I32, INDEX]))
    hi: Index = draw(st.sampled_from([0, 1, 3, 8, pool.of(INDEX)[0]]))
    hi = hi if isinstance(hi, int) else b.imin(hi, 3)
    carry = [draw(st.sampled_from(pool.of(carried_type)))] if draw(st.booleans()) else []
    with b.loop(draw(st.integers(-2, 2)), hi, draw(st.integers(1, 3)), carry=carry) as loop:
        inner = pool.nested()
        inner.values += [loop.iv, *loop.carried]
        _body(draw, b, inner, buffers, depth + 1)
        loop.yields([draw(st.sampled_from(inner.of(carried_type))) for _ in carry])
    pool.values += loop.results


def _branch(
    draw: st.DrawFn, b: Builder, pool: Pool, buffers: tuple[Value, ...], depth: int
) -> None:
    cond = b.compare("lt", draw(st.sampled_from(pool.of(INDEX))), draw(st.integers(-1, 5)))
    with b.when(cond):
        _body(draw, b, pool.nested(), buffers, depth + 1)
    if draw(st.booleans()):
        with b.otherwise():
            _body(draw, b, pool.nested(), buffers, depth + 1)


def _simple(
    draw: st.DrawFn, b: Builder, pool: Pool, buffers: tuple[Value, ...], choice: int
) -> None:
    src, ints, dst = buffers

    def some(type_: Type) -> Value:
        return draw(st.sampled_from(pool.of(type_)))

    match choice:
        case 0:
            op = draw(st.sampled_from(["add", "sub", "mul", "min", "max"]))
            made = b.binary(op, some(F32), some(F32))
        case 1:
            made = b.fma(some(F32), some(F32), some(F32))
        case 2:
            mask = draw(st.sampled_from([None, *pool.of(MASK)]))
            offset = draw(st.integers(-3, 0))
            place = b.imax(_place(draw, b, pool), -offset)
            made = b.load(src, place, LANES, offset=offset, mask=mask)
        case 3:
            made = b.compare(draw(st.sampled_from(["lt", "ge", "ne"])), some(I32), some(I32))
        case 4:
            made = b.select(some(MASK), some(F32), some(F32))
        case 5:
            op = draw(st.sampled_from(["add", "mul", "xor", "and", "max"]))
            made = b.binary(op, some(I32), b.load(ints, _place(draw, b, pool), LANES))
        case 6:
            lanes = draw(st.lists(st.integers(0, 2 * LANES - 1), min_size=LANES, max_size=LANES))
            made = b.shuffle(some(F32), some(F32), lanes)
        case _:
            mask = draw(st.sampled_from([None, *pool.of(MASK)]))
            b.store(dst, _place(draw, b, pool), some(F32), mask=mask)
            made = b.binary("add", b.imin(some(INDEX), 1000), draw(st.integers(-4, 4)))
    pool.values.append(made)


def arguments(seed: int) -> tuple[list[np.ndarray | int], np.ndarray]:
    """Arguments for a generated function, and the one of them that it writes."""
    rng = np.random.default_rng(seed)
    dst = np.zeros(SIZE, np.float32)
    src = rng.standard_normal(SIZE).astype(np.float32)
    return [src, rng.integers(-50, 50, SIZE, np.int32), dst, int(rng.integers(-3, 9))], dst
