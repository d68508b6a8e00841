"""The builder folds index arithmetic and refuses loops that are not closed."""

from __future__ import annotations

import pytest

from cnncc.errors import InternalError
from cnncc.loopir.build import INDEX, Builder, vector
from cnncc.loopir.nodes import Kind, Program
from cnncc.loopir.text import print_program


def test_integers_never_become_statements() -> None:
    b = Builder("f")
    n = b.index_param("n")
    assert b.iadd(2, 3) == 5
    assert b.isub(2, 3) == -1
    assert b.imul(4, 5) == 20
    assert (b.idiv(17, 5), b.irem(17, 5)) == (3, 2)
    assert (b.imin(1, 2), b.imax(1, 2)) == (1, 2)
    assert b.iadd(n, 0) is n
    assert b.imul(1, n) is n
    assert b.imul(n, 0) == 0
    assert b.idiv(n, 1) is n
    assert b.irem(n, 1) == 0
    assert b.func.body == []


def test_sums_gather_their_constants() -> None:
    b = Builder("f")
    n, m = b.index_param("n"), b.index_param("m")
    b.iadd(3, n, 4, m)
    b.isub(n, 2)
    b.isub(2, n)
    assert print_program(Program([b.func])).splitlines()[1:] == [
        "  v: index = add n, m",
        "  v_1: index = add v, 7",
        "  v_2: index = add n, -2",
        "  v_3: index = sub 2, n",
    ]


def test_single_lanes_stay_scalar() -> None:
    b = Builder("f")
    x = b.load(b.buffer("x"), 0)
    assert b.splat(x, 1) is x
    assert b.extract(x, 0) is x
    assert b.load_splat(b.buffer("y"), 0, 8).type == vector(8)
    assert b.compare("lt", 1, b.index_param("n")).type.kind is Kind.BOOL


def test_loops_must_be_closed() -> None:
    b = Builder("f")
    zero = b.const(0, INDEX)
    with pytest.raises(InternalError, match="left without `yields`"), b.loop(0, 3, carry=[zero]):
        pass
    with pytest.raises(InternalError, match="one value for each"), b.loop(0, 3) as loop:
        loop.yields([zero])


def test_otherwise_needs_its_branch() -> None:
    b = Builder("f")
    b.const(1.0)
    with pytest.raises(InternalError, match="must follow `when`"), b.otherwise():
        pass


def test_buffers_are_no_numbers() -> None:
    b = Builder("f")
    with pytest.raises(InternalError, match="a buffer was used as a number"):
        b.splat(b.buffer("x"), 4)
    with pytest.raises(InternalError, match="a number was used as a buffer"):
        b.load(b.index_param("n"), 0)
