"""Every arithmetic node on every runnable target, against LoopIR's interpreter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cnncc.errors import EmitError
from cnncc.llvm.elf import undefined_symbols
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly, emit_object
from cnncc.loopir import interp
from cnncc.loopir.arith import DTYPES
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import COMPARE_OPS, Kind, Program, Value
from cnncc.targets import TARGETS, Target, find
from tests.llvm.native import RUNNABLE, NativeChild, assert_same

pytestmark = pytest.mark.native
LANES = [1, 3, 16]
ROUNDING = ("floor", "ceil", "trunc", "round")
N = 96  # elements; a multiple of all lanes
NUMBERS = (Kind.F32, Kind.I32, Kind.I8, Kind.U8, Kind.INDEX)
INTEGERS = (Kind.I32, Kind.I8, Kind.U8, Kind.INDEX)
EXTREMES = {
    Kind.F32: [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e-40, 3.4e38,
               -3.4e38, 127.5, 128.0, -128.9, -129.0, 255.9, 256.0, -0.9, 2147483520.0, 2.0**31,
               -(2.0**31), 8388607.5, -8388607.5, 8388608.0, 1e10, 9.3e18, -9.3e18, 3e9, 1e20],
    Kind.I32: [0, 1, -1, 7, -7, 2**31 - 1, -(2**31), 100],
    Kind.I8: [0, 1, -1, 7, -7, 127, -128, 100],
    Kind.U8: [0, 1, 7, 127, 128, 255],
    Kind.BOOL: [False, True, True, False],
    Kind.INDEX: [0, 1, -1, 7, -7, 2**40, -(2**40), 3],
}  # fmt: skip


def data(kind: Kind, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(EXTREMES[kind], DTYPES[kind]), N)


def lanewise(
    ins: list[Kind], out: Kind, lanes: int, make: Callable[[Builder, list[Value]], Value]
) -> Program:
    """A function that applies `make` to vectors of its inputs, `lanes` elements at a time."""
    b = Builder("lanewise")
    buffers = [b.buffer(f"in{number}", kind) for number, kind in enumerate(ins)]
    result = b.buffer("out", out, writable=True)
    with b.loop(0, N, lanes) as loop:
        b.store(result, loop.iv, make(b, [b.load(x, loop.iv, lanes) for x in buffers]))
    return Program([b.func])


def check(
    native: NativeChild,
    program: Program,
    inputs: list[np.ndarray],
    out: Kind,
    rtol: float = 0.0,
) -> None:
    want = [*inputs, np.zeros(N, DTYPES[out])]
    interp.run(program, want)
    for target in RUNNABLE:
        got = native.run(program, [*inputs, np.zeros(N, DTYPES[out])], target)
        assert_same(got, want, program.funcs[-1], rtol)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kind", NUMBERS)
def test_unary(native: NativeChild, kind: Kind, lanes: int) -> None:
    ops = ("neg", "abs", "sqrt", *ROUNDING) if kind is Kind.F32 else ("neg", "abs", "not")
    for op in ops:
        if op == "neg" and kind is Kind.U8:
            continue
        program = lanewise([kind], kind, lanes, lambda b, v, op=op: b.unary(op, v[0]))
        check(native, program, [data(kind, 1)], kind, 1e-6 if op == "sqrt" else 0)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kind", NUMBERS)
def test_binary(native: NativeChild, kind: Kind, lanes: int) -> None:
    logic = () if kind is Kind.F32 else ("and", "or", "xor")
    for op in ("add", "sub", "mul", "min", "max", *logic):
        program = lanewise([kind, kind], kind, lanes, lambda b, v, op=op: b.binary(op, *v))
        first, second = data(kind, 2), data(kind, 3)
        if kind is Kind.INDEX:
            first, second = first % 1000 - 500, second % 1000 - 500
        check(native, program, [first, second], kind)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kind", NUMBERS)
def test_division_and_shifts(native: NativeChild, kind: Kind, lanes: int) -> None:
    rng = np.random.default_rng(4)
    first, second = data(kind, 4), rng.integers(1, 7, N).astype(DTYPES[kind])
    if kind is Kind.INDEX:
        first = np.abs(first)
    for op in ("div",) if kind is Kind.F32 else ("div", "rem", "shl", "shr"):
        if op == "shl" and kind is Kind.INDEX:
            first = first % 1000
        program = lanewise([kind, kind], kind, lanes, lambda b, v, op=op: b.binary(op, *v))
        check(native, program, [first, second], kind, 1e-6)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("kind", [*NUMBERS, Kind.BOOL])
def test_compare_and_select(native: NativeChild, kind: Kind, lanes: int) -> None:
    for op in COMPARE_OPS if kind is not Kind.BOOL else ("eq", "ne"):

        def compare(b: Builder, v: list[Value], op: str = op) -> Value:
            return b.compare(op, v[0], v[1])

        def choose(b: Builder, v: list[Value], op: str = op) -> Value:
            return b.select(b.compare(op, v[0], v[1]), v[1], v[0])

        inputs = [data(kind, 5), data(kind, 6)]
        check(native, lanewise([kind, kind], Kind.BOOL, lanes, compare), inputs, Kind.BOOL)
        check(native, lanewise([kind, kind], kind, lanes, choose), inputs, kind)


@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_every_half_becomes_the_equal_float(native: NativeChild, lanes: int) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    b = Builder("widen")
    x = b.buffer("x", Kind.F16, halves.size)
    out = b.buffer("out", Kind.F32, halves.size, writable=True)
    with b.loop(0, halves.size, lanes) as i:
        b.store(out, i.iv, b.convert(b.load(x, i.iv, lanes), Kind.F32))
    with np.errstate(invalid="ignore"):
        wanted = halves.astype(np.float32)
    for target in RUNNABLE:
        _, got = native.run(b.func, [halves, np.zeros(halves.size, np.float32)], target)
        same = got.view(np.uint32) == wanted.view(np.uint32)
        assert (same | (np.isnan(got) & np.isnan(wanted))).all(), target.name


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("source", [*NUMBERS, Kind.BOOL])
def test_convert(native: NativeChild, source: Kind, lanes: int) -> None:
    for kind in (*NUMBERS, Kind.BOOL):
        program = lanewise([source], kind, lanes, lambda b, v, k=kind: b.convert(v[0], k))
        check(native, program, [data(source, 7)], kind)


@pytest.mark.parametrize("lanes", LANES)
def test_fma_bitcast_logic_on_bools(native: NativeChild, lanes: int) -> None:
    f = Kind.F32
    values = [np.random.default_rng(s).standard_normal(N).astype("f") for s in (8, 9, 10)]
    check(native, lanewise([f, f, f], f, lanes, lambda b, v: b.fma(*v)), values, f, 1e-5)
    bits = lanewise([f], Kind.I32, lanes, lambda b, v: b.bitcast(v[0], Kind.I32))
    check(native, bits, [data(f, 11)], Kind.I32)
    back = lanewise([Kind.I32], f, lanes, lambda b, v: b.bitcast(v[0], f))
    check(native, back, [data(Kind.I32, 12)], f)
    for op in ("and", "or", "xor"):
        program = lanewise(
            [Kind.BOOL] * 2, Kind.BOOL, lanes, lambda b, v, op=op: b.unary("not", b.binary(op, *v))
        )
        check(native, program, [data(Kind.BOOL, 13), data(Kind.BOOL, 14)], Kind.BOOL)


def test_extremum_hands_on_nan_in_every_lane(native: NativeChild) -> None:
    for op in ("min", "max"):
        for nan_first in (True, False):
            pair = [np.ones(N, "f"), np.ones(N, "f")]
            pair[0 if nan_first else 1][::5] = np.nan
            program = lanewise([Kind.F32] * 2, Kind.F32, 16, lambda b, v, op=op: b.binary(op, *v))
            for target in RUNNABLE:
                got = native.run(program, [*pair, np.zeros(N, "f")], target)[2]
                assert np.isnan(got[::5]).all()
                assert np.count_nonzero(np.isnan(got)) == len(got[::5])


def test_relu_of_a_constant_is_one_instruction() -> None:
    program = lanewise(
        [Kind.F32],
        Kind.F32,
        16,
        lambda b, v: b.binary("max", v[0], b.const(0.0, vector(16))),
    )
    text = emit_assembly(emit_program(program, find("x86-64-v4")), find("x86-64-v4"))
    assert text.count("vmaxps") == 1
    assert "vcmp" not in text


@pytest.mark.parametrize("kind", [Kind.F32, Kind.I32, Kind.U8, Kind.BOOL])
def test_splat_shuffle_extract_const(native: NativeChild, kind: Kind) -> None:
    b = Builder("lanes")
    x = b.buffer("x", kind)
    y = b.buffer("y", kind, writable=True)
    low, high = b.load(x, 0, 8), b.load(x, 8, 8)
    b.store(y, 0, b.shuffle(low, high, [0, 8, 1, 9, 7, 15, 3, 3]))
    b.store(y, 8, b.splat(b.extract(high, 5), 8))
    b.store(y, 16, b.splat(b.load(x, 3), 5))
    b.store(y, 21, b.shuffle(b.load(x, 1), b.load(x, 2), [1, 0, 1]))
    b.store(y, 24, b.shuffle(low, high, [9]))
    values = EXTREMES[kind][:4]
    b.store(y, 25, b.const(tuple(values), vector(4, kind)))
    b.store(y, 29, b.const(values[1], vector(3, kind)))
    b.store(y, 32, b.splat(b.const(values[1], vector(1, kind)), 4))
    check(native, Program([b.func]), [data(kind, 15)], kind)


def lookup(kind: Kind, lanes: int) -> Program:
    ins = [kind, kind, Kind.I32]
    return lanewise(ins, kind, lanes, lambda b, v: b.lookup(*v))


@pytest.mark.parametrize(("kind", "lanes"), [(Kind.F32, 16), (Kind.F32, 4), (Kind.U8, 2)])
def test_lookup_takes_the_low_bits_of_any_index(
    native: NativeChild, kind: Kind, lanes: int
) -> None:
    index = np.random.default_rng(16).integers(-(2**31), 2**31, N).astype(np.int32)
    check(native, lookup(kind, lanes), [data(kind, 17), data(kind, 18), index], kind)


def test_lookup_is_one_instruction_where_there_is_one() -> None:
    target = find("x86-64-v4")
    text = emit_assembly(emit_program(lookup(Kind.F32, 16), target), target)
    assert text.count("vpermt2ps") + text.count("vpermi2ps") == 1


def test_floor_calls_no_library_on_the_base_level() -> None:
    program = lanewise([Kind.F32], Kind.F32, 16, lambda b, v: b.unary("floor", v[0]))
    for target in TARGETS.values():
        assert undefined_symbols(emit_object(emit_program(program, target), target)) == set()


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_no_node_needs_a_library(target: Target) -> None:
    b = Builder("all")
    buffers = {kind: b.buffer(kind.value, kind, writable=True) for kind in Kind}
    for lanes in (1, 16):
        for source, buffer in buffers.items():
            value = b.load(buffer, 0, lanes)
            for kind, place in buffers.items():
                if Kind.F16 not in (source, kind) or kind is Kind.F32:
                    b.store(place, 64, b.convert(value, kind))
            if source in INTEGERS:
                for op in ("add", "sub", "mul", "div", "rem", "min", "max", "shl", "shr"):
                    b.store(buffer, 128, b.binary(op, value, b.load(buffer, 32, lanes)))
        real = b.load(buffers[Kind.F32], 0, lanes)
        for op in ("neg", "abs", "sqrt", "floor"):
            b.store(buffers[Kind.F32], 256, b.unary(op, real))
        for op in ("add", "sub", "mul", "div", "min", "max"):
            b.store(buffers[Kind.F32], 256, b.binary(op, real, real))
    image = emit_object(emit_program(Program([b.func]), target), target)
    assert undefined_symbols(image) == set()


def test_meaningless_operations_are_refused() -> None:
    for kind, op in ((Kind.F32, "rem"), (Kind.F32, "and"), (Kind.BOOL, "add"), (Kind.I32, "pow")):
        program = lanewise([kind, kind], kind, 4, lambda b, v, op=op: b.binary(op, *v))
        with pytest.raises(EmitError, match=op):
            emit_program(program, find("x86-64"))
    for half in ((Kind.F16, Kind.I32), (Kind.F32, Kind.F16)):
        program = lanewise([half[0]], half[1], 4, lambda b, v, to=half[1]: b.convert(v[0], to))
        with pytest.raises(EmitError, match="f16"):
            emit_program(program, find("x86-64"))
    for kind, op in ((Kind.I32, "sqrt"), (Kind.F32, "not")):
        program = lanewise([kind], kind, 4, lambda b, v, op=op: b.unary(op, v[0]))
        with pytest.raises(EmitError, match=op):
            emit_program(program, find("x86-64"))
