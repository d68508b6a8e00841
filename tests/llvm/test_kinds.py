"""Every operation on every element kind: native code gives the interpreter's bits.

Special values (limits, neighbours of powers of two, halves, NaN) meet one another in all pairs, and
random ones of every magnitude join them, in scalars and in vectors of 64 bytes.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncc.llvm.elf import undefined_symbols
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_object
from cnncc.loopir import interp
from cnncc.loopir.arith import DTYPES
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import (
    BINARY_OPS,
    COMPARE_OPS,
    UNARY_OPS,
    BufferType,
    Func,
    Kind,
    Program,
    Value,
)
from cnncc.loopir.parse import parse_program
from cnncc.loopir.rules import arithmetic_rule
from cnncc.loopir.text import print_program
from cnncc.loopir.verify import verify
from cnncc.targets import TARGETS, Target, find
from tests.llvm.kind_values import divisible, pairs, singles, special
from tests.llvm.native import RUNNABLE, NativeChild

KINDS = [kind for kind in Kind if kind is not Kind.F16]
DIVISIONS, SHIFTS, EXTREMA = ("div", "rem"), ("shl", "shr"), ("min", "max")
BITCASTS = {Kind.F32: Kind.I32, Kind.I32: Kind.F32, Kind.F64: Kind.I64, Kind.I64: Kind.F64}
VECTOR_BYTES = 64
CROSS_GCC, EMULATOR = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
Make = Callable[[Builder, list[Value]], Value]


@dataclass(frozen=True)
class Case:
    """A function, and what is put into its first parameters."""

    func: Func
    inputs: list[np.ndarray]

    def arguments(self) -> list[np.ndarray]:
        outs = [p.type for p in self.func.params[len(self.inputs) :]]
        size = self.inputs[0].size
        zeros = [np.zeros(size, DTYPES[t.kind]) for t in outs if isinstance(t, BufferType)]
        return [*self.inputs, *zeros]

    def compare(self, got: list[Any], place: str) -> None:
        """Against the interpreter, bit by bit, but for kinds of NaN and which zero is greater."""
        want = self.arguments()
        interp.run(self.func, want)
        for param, a, b in zip(self.func.params, got, want, strict=True):
            same = a == b
            if a.dtype.kind == "f":
                same = same & ((np.signbit(a) == np.signbit(b)) | (param.hint in EXTREMA))
                same |= np.isnan(a) & np.isnan(b)
            shown = [(*(x[i] for x in self.inputs), a[i], b[i]) for i in np.flatnonzero(~same)[:4]]
            assert not shown, f"{param.hint} on {place}: operands, got, wanted: {shown}"


def allowed(op: str, kind: Kind) -> bool:
    """Whether LoopIR has the operation on this kind."""
    b = Builder("f")
    x = b.load(b.buffer("x", kind), 0)
    if op in UNARY_OPS:
        b.unary(op, x)
    else:
        (b.compare if op in COMPARE_OPS else b.binary)(op, x, x)
    return not arithmetic_rule(b.func.body[-1])[1]


def _unary(op: str) -> Make:
    return lambda b, v: b.unary(op, v[0])


def _binary(op: str) -> Make:
    return lambda b, v: b.binary(op, v[0], v[1])


def _compare(op: str) -> Make:
    return lambda b, v: b.compare(op, v[0], v[1])


def _chosen(op: str) -> Make:
    return lambda b, v: b.select(b.compare(op, v[0], v[1]), v[1], v[0])


def _converted(kind: Kind) -> Make:
    return lambda b, v: b.convert(v[0], kind)


def of_one(kind: Kind) -> dict[str, Make]:
    makes = {op: _unary(op) for op in UNARY_OPS if allowed(op, kind)}
    makes |= {f"to_{to.value}": _converted(to) for to in KINDS}
    if kind in BITCASTS:
        makes["bits"] = lambda b, v: b.bitcast(v[0], BITCASTS[kind])
    return makes


def of_two(kind: Kind) -> dict[str, Make]:
    plain = [op for op in BINARY_OPS if op not in (*DIVISIONS, *SHIFTS) and allowed(op, kind)]
    makes = {op: _binary(op) for op in plain}
    makes |= {op: _compare(op) for op in COMPARE_OPS}
    return makes | {f"select_{op}": _chosen(op) for op in ("lt", "ne")}


def binary(ops: tuple[str, ...], kind: Kind) -> dict[str, Make]:
    return {op: _binary(op) for op in ops if allowed(op, kind)}


def table(
    name: str, kind: Kind, makes: dict[str, Make], inputs: list[np.ndarray], lanes: int
) -> Case:
    """A function with an output for each operation, applied `lanes` elements at a time."""
    b = Builder(name)
    size = inputs[0].size
    sources = [b.buffer(f"x{number}", kind, size) for number in range(len(inputs))]
    with b.loop(0, size, lanes) as loop:
        values = [b.load(source, loop.iv, lanes) for source in sources]
        for hint, make in makes.items():
            made = make(b, values)
            b.store(b.buffer(hint, made.type.kind, size, writable=True), loop.iv, made)
    return Case(b.func, inputs)


def cases(kind: Kind, *, full: bool) -> Iterator[Case]:
    """All operations on a kind, on scalars or on full vectors."""
    lanes = VECTOR_BYTES // kind.size_bytes if full else 1
    x, (first, second) = singles(kind), pairs(kind)
    yield table("one", kind, of_one(kind), [x], lanes)
    yield table("two", kind, of_two(kind), [first, second], lanes)
    yield table("division", kind, binary(DIVISIONS, kind), [*divisible(kind, first, second)], lanes)
    whole = abs(x) if kind is Kind.INDEX else x
    width = 31 if kind is Kind.INDEX else kind.bits
    amounts = (np.arange(x.size) * 7 % width).astype(x.dtype)
    yield table("shifts", kind, binary(SHIFTS, kind), [whole, amounts], lanes)


def named(kind: Kind) -> str:
    return kind.value


@pytest.mark.native
@pytest.mark.parametrize("kind", KINDS, ids=named)
@pytest.mark.parametrize("full", [False, True], ids=["scalar", "vector"])
def test_native_code_computes_as_the_interpreter(
    native: NativeChild, kind: Kind, full: bool
) -> None:
    for case in cases(kind, full=full):
        assert verify(case.func) == []
        for target in RUNNABLE:
            case.compare(native.run(case.func, case.arguments(), target), target.name)


@pytest.mark.native
@pytest.mark.skipif(not CROSS_GCC or not EMULATOR, reason="no AArch64 compiler and emulator")
@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_aarch64_code_computes_as_the_interpreter(tmp_path: Path, kind: Kind) -> None:
    both = [case for full in (False, True) for case in cases(kind, full=full)]
    for number, case in enumerate(both):
        case.func.name += str(number)
    target = find("aarch64")
    program = Program([case.func for case in both])
    (tmp_path / "code.o").write_bytes(emit_object(emit_program(program, target), target))
    (tmp_path / "main.c").write_text(_harness(both))
    command = [str(CROSS_GCC), "-static", "main.c", "code.o", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    given = b"".join(array.tobytes() for case in both for array in case.inputs)
    run = [str(EMULATOR), "-cpu", "cortex-a53", "./main"]
    done = subprocess.run(run, cwd=tmp_path, input=given, capture_output=True, check=True)
    at = 0
    for case in both:
        got = []
        for array in case.arguments():
            got.append(np.frombuffer(done.stdout, array.dtype, array.size, at))
            at += array.nbytes
        case.compare(got, target.name)


def _harness(all_cases: list[Case]) -> str:
    """A C program that reads all inputs, calls all functions, and writes all their buffers."""
    buffers, reads, calls, writes = [], [], [], []
    for case in all_cases:
        names = [f"{case.func.name}_{number}" for number in range(len(case.func.params))]
        for name, array in zip(names, case.arguments(), strict=True):
            buffers.append(f"static _Alignas(64) char {name}[{array.nbytes}];")
            writes.append(f"fwrite({name}, 1, sizeof {name}, stdout);")
        reads += [f"fread({n}, 1, sizeof {n}, stdin);" for n in names[: len(case.inputs)]]
        buffers.append(f"void {case.func.name}({', '.join(['void *'] * len(names))});")
        calls.append(f"{case.func.name}({', '.join(names)});")
    return "\n".join(["#include <stdio.h>", *buffers, "int main(void) {", *reads, *calls, *writes,
                      "return 0; }"])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_the_text_reads_back(kind: Kind) -> None:
    for case in cases(kind, full=True):
        text = print_program(Program([case.func]))
        assert print_program(parse_program(text)) == text


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_no_operation_calls_a_library(target: Target) -> None:
    for kind in KINDS:
        makes = of_one(kind) | of_two(kind) | binary((*DIVISIONS, *SHIFTS), kind)
        for lanes in (1, 5, VECTOR_BYTES // kind.size_bytes):
            empty = [np.zeros(4 * lanes, DTYPES[kind])] * 2
            func = table("all", kind, makes, empty, lanes).func
            image = emit_object(emit_program(Program([func]), target), target)
            assert undefined_symbols(image) == set(), f"{kind.value}x{lanes}"


@pytest.mark.native
@pytest.mark.parametrize("kind", list(Kind), ids=named)
def test_literals_lanes_and_masks(native: NativeChild, kind: Kind) -> None:
    half = kind is Kind.F16
    values = np.array([1.5, -0.0, 6e-8, np.inf], np.float16) if half else special(kind)
    b = Builder("lanes")
    source, flags = b.buffer("x", kind, 64), b.buffer("flags", Kind.BOOL, 64)
    out, masked = (b.buffer(hint, kind, 64, writable=True) for hint in ("out", "masked"))
    low, high = b.load(source, 0, 8), b.load(source, 8, 8)
    b.store(out, 0, b.shuffle(low, high, [15, 0, 8, 1, 9, 7, 2, 2]))
    b.store(out, 8, b.splat(b.extract(high, 5), 8))
    b.store(out, 16, b.select(b.load(flags, 0, 8), low, high))
    b.store(out, 24, b.select(b.load(flags, 3), low, high))
    if not half:
        lanes = tuple(np.resize(values, 8).tolist())
        b.store(out, 32, b.const(lanes, vector(8, kind)))
        b.store(out, 40, b.splat(b.const(lanes[-1], vector(1, kind)), 8))
    for count, start in ((1, 0), (8, 16), (16, 32)):
        mask = b.load(flags, start, count)
        b.store(masked, start, b.load(source, start, count, mask=mask), offset=count)
        b.store(masked, start, b.load(source, start, count), mask=mask)
    chosen = np.random.default_rng(3).integers(0, 2, 64).astype(bool)
    case = Case(b.func, [np.resize(values, 64), chosen])
    assert verify(b.func) == []
    text = print_program(Program([b.func]))
    assert print_program(parse_program(text)) == text
    for target in RUNNABLE:
        case.compare(native.run(b.func, case.arguments(), target), target.name)


@pytest.mark.native
@pytest.mark.parametrize("lanes", [1, 8])
def test_multiply_add_of_f64_is_rounded_once_or_twice(native: NativeChild, lanes: int) -> None:
    rng = np.random.default_rng(4)
    ins = [rng.standard_normal(64) for _ in range(3)]
    case = table("fma", Kind.F64, {"fma": lambda b, v: b.fma(*v)}, ins, lanes)
    want = case.arguments()
    interp.run(case.func, want)
    for target in RUNNABLE:
        got = native.run(case.func, case.arguments(), target)
        np.testing.assert_allclose(got[3], want[3], rtol=0, atol=2e-15)
