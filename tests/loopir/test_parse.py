"""Mistakes in `.loops` text are reported with their place, and nothing crashes the parser."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings

from cnncc.loopir.nodes import Func, Program
from cnncc.loopir.parse import parse_program
from cnncc.loopir.scan import LoopTextError
from cnncc.loopir.text import print_program

from .generate import functions
from .samples import SCALE


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("func scale", "fun scale", 1, "expected `func`"),
        ("f32[64]", "f65[64]", 1, "expected a type"),
        ("n: index):", "n: index", 1, "expected `,`"),
        ("const 0.0", "const zero", 2, "expected a number"),
        ("= add x, x", "= plus x, x", 5, "no operation `plus`"),
        ("add x, x", "add x", 5, "expected `,`"),
        ("add x, x", "add x, y", 5, "`y` is not defined"),
        ("add x, x", "add x, x x", 5, "expected the end"),
        ("twice: f32x8", "x: f32x8", 5, "`x` is defined twice"),
        ("twice: f32x8", "store: f32x8", 5, "expected a value"),
        ("i + 8]", "i + 99999999999999999999]", 4, "64 bits"),
        ("    if big:", "      if big:", 7, "indentation"),
        ("    if big:", "   if big:", 7, "indented by 2 spaces"),
        ("    if big:", "\tif big:", 7, "indented by 2 spaces"),
        ("    if big:", "    if big ;", 7, "unexpected ';'"),
        ("      store dst[i], twice", "      yield x", 8, "a branch yields nothing"),
        ("    yield sum_1", "    yield sum_1, x", 12, "the loop carries 1 values"),
        ("    yield sum_1\n", "", 3, "the loop carries 1 values"),
        ("  store dst[n], total", "  yield total", 13, "a loop that carries"),
        ("  store dst[n], total", "func scale():", 13, "a second function `scale`"),
        ("-> total:", "-> :", 3, "expected a name"),
    ],
)
def test_mistakes_are_placed(old: str, new: str, line: int, message: str) -> None:
    assert old in SCALE
    with pytest.raises(LoopTextError) as caught:
        parse_program(SCALE.replace(old, new, 1), "x.loops")
    assert caught.value.span is not None
    assert (caught.value.span.file, caught.value.span.line) == ("x.loops", line)
    assert message in caught.value.message


def test_deep_nesting_is_refused() -> None:
    lines = ["func f():"] + [f"{'  ' * d}for i{d} in 0..1 step 1:" for d in range(1, 200)]
    with pytest.raises(LoopTextError, match="nested more than 64 deep"):
        parse_program("\n".join(lines))


@settings(max_examples=80, deadline=None)
@given(functions())
def test_cut_text_never_crashes(func: Func) -> None:
    text = print_program(Program([func]))
    for end in range(0, len(text), max(1, len(text) // 40)):
        with contextlib.suppress(LoopTextError):
            parse_program(text[:end])
