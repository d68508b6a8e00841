"""Which operations exist for which kinds; the interpreter can run all that the rules allow."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.loopir.arith import DTYPES
from cnncc.loopir.build import Builder
from cnncc.loopir.interp import run
from cnncc.loopir.nodes import BINARY_OPS, COMPARE_OPS, UNARY_OPS, Kind
from cnncc.loopir.rules import arithmetic_rule

LOGIC = {"and", "or", "xor"}
REAL = {"add", "sub", "mul", "div", "min", "max"}
ROUNDING = {"floor", "ceil", "trunc", "round"}


def allowed(op: str, kind: Kind) -> bool:
    if kind is Kind.F16:
        return False  # storage only
    if op in COMPARE_OPS:
        return True
    if kind is Kind.BOOL:
        return op in LOGIC | {"not"}
    if kind.is_float:
        return op in REAL | ROUNDING | {"neg", "abs", "sqrt"}
    return op not in ROUNDING | {"sqrt"}


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("op", [*UNARY_OPS, *BINARY_OPS, *COMPARE_OPS])
def test_operations_of_each_kind(op: str, kind: Kind, lanes: int) -> None:
    b = Builder("f")
    x = b.load(b.buffer("x", kind), 0, lanes)
    make = b.compare if op in COMPARE_OPS else b.binary
    made = b.unary(op, x) if op in UNARY_OPS else make(op, x, x)
    _, broken = arithmetic_rule(b.func.body[-1])
    assert (broken == "") == allowed(op, kind)
    if not broken:
        b.store(b.buffer("out", made.type.kind, writable=True), 0, made)
        out = np.zeros(lanes, DTYPES[made.type.kind])
        run(b.func, [np.ones(lanes, DTYPES[kind]), out])
        if op == "eq":
            assert out.all()


@pytest.mark.parametrize("kind", list(Kind))
def test_halves_become_f32_and_nothing_else(kind: Kind) -> None:
    b = Builder("f")
    b.convert(b.load(b.buffer("x", Kind.F16), 0, 4), kind)
    _, broken = arithmetic_rule(b.func.body[-1])
    assert (broken == "") == (kind is Kind.F32)
    b.convert(b.load(b.buffer("y", Kind.F32), 0, 4), Kind.F16)
    assert arithmetic_rule(b.func.body[-1])[1]
