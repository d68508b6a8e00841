"""Functions, loops, branches and calls; random straight-line programs; refused programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncc.errors import EmitError
from cnncc.llvm.elf import undefined_symbols
from cnncc.llvm.emit import emit_program, emit_unit
from cnncc.llvm.optimize import emit_object, optimized_text
from cnncc.llvm.types import literal, symbol
from cnncc.loopir import interp
from cnncc.loopir.build import INDEX, Builder, vector
from cnncc.loopir.nodes import BINARY_OPS, COMPARE_OPS, Kind, Program, Value
from cnncc.targets import TARGETS, find
from tests.llvm.native import RUNNABLE, NativeChild, assert_same

V2 = find("x86-64-v2")


def counting(lo: int | None, hi: int | None, step: int) -> Builder:
    """Two carried values that swap, over a loop whose bounds are constants or parameters."""
    b = Builder("count")
    y = b.buffer("y", Kind.INDEX, writable=True)
    low, high = b.index_param("lo"), b.index_param("hi")
    first, second = b.const(3, INDEX), b.const(5, INDEX)
    bounds = (low if lo is None else lo, high if hi is None else hi)
    with b.loop(*bounds, step, [first, second]) as loop:
        a, c = loop.carried
        b.store(y, 2, loop.iv)
        loop.yields([c, b.binary("add", a, loop.iv)])
    b.store(y, 0, loop.results[0])
    b.store(y, 1, loop.results[1])
    return b


@pytest.mark.native
@pytest.mark.parametrize(("lo", "hi"), [(0, 0), (0, 1), (2, 9), (5, 4), (-3, 3), (0, 7)])
@pytest.mark.parametrize("step", [1, 2, 7])
def test_loops(native: NativeChild, lo: int, hi: int, step: int) -> None:
    for low, high in ((lo, hi), (None, hi), (lo, None), (None, None)):
        b = counting(low, high, step)
        want: list[Any] = [np.zeros(3, np.int64), lo, hi]
        interp.run(b.func, want)
        for target in RUNNABLE[:1]:
            assert_same(native.run(b.func, [np.zeros(3, np.int64), lo, hi], target), want, b.func)


@pytest.mark.native
def test_branches_in_loops_and_vector_accumulators(native: NativeChild) -> None:
    b = Builder("branches")
    x, y = b.buffer("x"), b.buffer("y", writable=True)
    with b.loop(0, 8, carry=[b.const(0.0, vector(8))]) as outer:
        with b.loop(0, outer.iv, carry=outer.carried) as inner:
            inner.yields([b.binary("add", inner.carried[0], b.load(x, inner.iv, 8))])
        with b.when(b.compare("lt", outer.iv, 4)):
            with b.when(b.compare("eq", outer.iv, 2)):
                b.store(y, 100, b.const(7.0))
            b.store(y, b.imul(outer.iv, 8), inner.results[0])
        with b.otherwise():
            b.store(y, b.imul(outer.iv, 8), b.unary("neg", inner.results[0]))
        outer.yields(inner.results)
    b.store(y, 64, outer.results[0])
    args = [np.random.default_rng(0).integers(-9, 9, 32).astype("f"), np.zeros(128, "f")]
    want = [a.copy() for a in args]
    interp.run(b.func, want)
    for target in RUNNABLE:
        assert_same(native.run(b.func, args, target), want, b.func)


@pytest.mark.native
def test_calls_pass_views_and_numbers(native: NativeChild) -> None:
    inner = Builder("scale")
    x, factor = inner.buffer("x", writable=True), inner.index_param("factor")
    with inner.loop(0, 4) as loop:
        value = inner.convert(factor, Kind.F32)
        inner.store(x, loop.iv, inner.binary("mul", inner.load(x, loop.iv), value))
    outer = Builder("both")
    y = outer.buffer("y", writable=True)
    with outer.loop(0, 3) as loop:
        outer.call("scale", [outer.view(y, outer.imul(loop.iv, 4), 4), outer.iadd(loop.iv, 2)])
    outer.call("scale", [y, -1])
    program = Program([inner.func, outer.func])
    for target in RUNNABLE[:1]:
        got = native.run(program, [np.ones(12, "f")], target)[0]
        assert got.tolist() == [-2.0] * 4 + [3.0] * 4 + [4.0] * 4
    image = emit_object(emit_unit(program, outer.func, V2), V2)
    assert undefined_symbols(image) == {"scale"}


# -- random straight-line programs -----------------------------------------------------------------


@st.composite
def straight_lines(draw: st.DrawFn) -> Builder:
    """A straight line over f32 and i32 vectors of one width; every value is stored."""
    lanes = draw(st.sampled_from([1, 4, 8, 16]))
    b = Builder("random")
    x, k = b.buffer("x"), b.buffer("k", Kind.I32)
    y, z = b.buffer("y", writable=True), b.buffer("z", Kind.I32, writable=True)
    reals = [b.load(x, 0, lanes), b.load(x, 7, lanes), b.const(0.5, vector(lanes))]
    whole = [b.load(k, 0, lanes), b.load(k, 5, lanes), b.const(3, vector(lanes, Kind.I32))]
    for _ in range(draw(st.integers(1, 12))):
        _grow(draw, b, reals, whole, lanes)
    for number, value in enumerate(reals):
        b.store(y, number * lanes, value)
    for number, value in enumerate(whole):
        b.store(z, number * lanes, value)
    return b


def _grow(draw: st.DrawFn, b: Builder, reals: list[Value], whole: list[Value], lanes: int) -> None:
    real, number = st.sampled_from(list(reals)), st.sampled_from(list(whole))
    match draw(st.integers(0, 7)):
        case 0:
            op = draw(st.sampled_from(["add", "sub", "mul", "min", "max"]))
            reals.append(b.binary(op, draw(real), draw(real)))
        case 1:
            ops = [op for op in BINARY_OPS if op not in ("div", "rem", "shl", "shr")]
            whole.append(b.binary(draw(st.sampled_from(ops)), draw(number), draw(number)))
        case 2:
            reals.append(b.unary(draw(st.sampled_from(["neg", "abs", "floor"])), draw(real)))
        case 3:
            cond = b.compare(draw(st.sampled_from(COMPARE_OPS)), draw(real), draw(real))
            whole.append(b.select(cond, draw(number), draw(number)))
        case 4:
            cond = b.compare(draw(st.sampled_from(COMPARE_OPS)), draw(number), draw(number))
            reals.append(b.select(cond, draw(real), draw(real)))
        case 5:
            whole.append(b.convert(draw(real), Kind.I32))
        case 6:
            reals.append(b.convert(draw(number), Kind.F32))
        case _ if lanes > 1:
            picks = draw(st.lists(st.integers(0, 2 * lanes - 1), min_size=lanes, max_size=lanes))
            reals.append(b.shuffle(draw(real), draw(real), picks))
        case _:
            reals.append(b.bitcast(b.binary("and", draw(number), whole[2]), Kind.F32))


SPECIAL = [0.0, -0.0, 1.0, -1.5, 2.5, np.inf, -np.inf, np.nan, 1e9, -1e10, 3.0, 1e-30]


@pytest.mark.native
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(b=straight_lines(), seed=st.integers(0, 1000))
def test_random_straight_lines(native: NativeChild, b: Builder, seed: int) -> None:
    rng = np.random.default_rng(seed)
    args = [
        rng.choice(np.array(SPECIAL, "f"), 32),
        rng.integers(-(2**31), 2**31, 32).astype("i4"),
        np.zeros(256, "f"),
        np.zeros(256, "i4"),
    ]
    want = [a.copy() for a in args]
    interp.run(b.func, want)
    for target in RUNNABLE:
        assert_same(native.run(b.func, args, target), want, b.func)
    arm = find("aarch64")
    assert undefined_symbols(emit_object(emit_program(Program([b.func]), arm), arm)) == set()


# -- text ------------------------------------------------------------------------------------------


def test_buffers_carry_their_promises() -> None:
    b = Builder("f")
    b.buffer("a")
    b.buffer("b", Kind.U8, writable=True, unique=False)
    text = emit_program(Program([b.func]), V2)
    assert "ptr noalias captures(none) readonly align 4 %p0, ptr captures(none) align 1 %p1" in text


def test_only_contract_and_nsz_are_allowed() -> None:
    b = Builder("f")
    x, y = b.buffer("x"), b.buffer("y", writable=True)
    v = b.load(x, 0, 8)
    b.store(y, 0, b.binary("max", b.fma(v, v, v), b.binary("mul", v, v)))
    text = emit_program(Program([b.func]), V2)
    assert "fmul contract" in text
    assert "fadd contract" in text
    assert "llvm.fma" not in text
    assert not {"fast", "nnan", "ninf", "reassoc", "arcp", "afn"} & set(text.split())


def test_every_rolled_loop_has_a_mark_of_its_own() -> None:
    b = Builder("f")
    n = b.index_param("n")
    with b.loop(0, n), b.loop(0, n):
        pass
    text = emit_program(Program([b.func]), V2)
    assert text.count("!llvm.loop !2") == text.count("!llvm.loop !3") == 1
    assert "llvm.loop.unroll.disable" in optimized_text(text, V2)


def test_a_loop_of_one_turn_is_no_loop() -> None:
    b = Builder("f")
    y = b.buffer("y", Kind.INDEX, writable=True)
    with b.loop(3, 5, 4) as loop:
        b.store(y, loop.iv, b.binary("add", loop.iv, 1))
    assert "br " not in emit_program(Program([b.func]), V2)


def test_scheduling_is_chosen_by_architecture() -> None:
    b = Builder("f")
    for target in TARGETS.values():
        text = emit_program(Program([b.func]), target)
        assert ('"tune-cpu"="haswell"' in text) == target.triple.startswith("x86_64")


def test_broken_programs_are_refused() -> None:
    b = Builder("f")
    b.barrier()
    with pytest.raises(EmitError, match="barrier"):
        emit_program(Program([b.func]), V2)
    b = Builder("f")
    x = b.buffer("x")
    b.binary("add", Value(INDEX, "ghost"), 1)
    with pytest.raises(EmitError, match="ghost"):
        emit_program(Program([b.func]), V2)
    b.func.body.clear()
    b.binary("add", x, 1)
    with pytest.raises(EmitError, match="used as a number"):
        emit_program(Program([b.func]), V2)
    b.func.body.clear()
    with b.loop(0, 9, 0):
        pass
    with pytest.raises(EmitError, match="step"):
        emit_program(Program([b.func]), V2)


def test_literals() -> None:
    assert literal(Kind.F32, 0.1) == "0x3FB99999A0000000"
    assert literal(Kind.F32, 1e39) == "0x7FF0000000000000"
    assert literal(Kind.U8, 255) == "-1"
    for kind, number in ((Kind.I8, 256), (Kind.I32, 0.5), (Kind.INDEX, 2**64)):
        with pytest.raises(EmitError):
            literal(kind, number)
    with pytest.raises(EmitError):
        symbol('a"b')
