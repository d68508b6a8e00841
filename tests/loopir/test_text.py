"""The laws of text: parse after print is the identity, print after parse as well."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings

from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Program, Value
from cnncc.loopir.parse import parse_program
from cnncc.loopir.scan import LoopTextError
from cnncc.loopir.text import canonical_text, print_program, print_stmt

from .generate import functions

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


def same(a: Any, b: Any, seen: dict[Value, Value]) -> bool:
    """Whether two trees of nodes are equal but for the identities and hints of their values."""
    if isinstance(a, Value) and isinstance(b, Value):
        return seen.setdefault(a, b) is b and a.type == b.type
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, seen) for x, y in zip(a, b, strict=True))
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name), seen) for f in dataclasses.fields(a)
        )
    return bool(a == b)


@settings(max_examples=80, deadline=None)
@given(functions())
def test_text_laws(func: Func) -> None:
    program = Program([func])
    text = print_program(program)
    again = parse_program(text)
    assert same(program, again, {})
    assert print_program(again) == text
    assert canonical_text(again.funcs[0]) == canonical_text(func)


def test_a_function_as_text() -> None:
    assert print_program(parse_program(SCALE)) == SCALE


def test_comments_and_blank_lines_are_skipped() -> None:
    spaced = "# a dump\n\n" + SCALE.replace("    yield", "\n    # carried\n    yield")
    assert print_program(parse_program(spaced)) == SCALE


def test_the_canonical_form_forgets_names() -> None:
    func = parse_program(SCALE).funcs[0]
    renamed = parse_program(SCALE.replace("sum", "acc").replace("scale", "other")).funcs[0]
    other = parse_program(SCALE.replace("i + 8", "i + 9")).funcs[0]
    assert canonical_text(func) == canonical_text(renamed)
    assert canonical_text(func) != canonical_text(other)


def test_one_statement() -> None:
    func = parse_program(SCALE).funcs[0]
    assert print_stmt(func, func.body[1]) == SCALE.split("\n")[2].strip()
    assert print_stmt(func, func.body[1].body[0]) == "x: f32x8 = load src[i + 8]"


def test_types_are_written_where_nothing_implies_them() -> None:
    text = SCALE.replace("sum = zero -> total", "sum: f32x4 = zero -> total: i32")
    assert print_program(parse_program(text)) == text


def test_hints_become_unique_names() -> None:
    b = Builder("f")
    for hint in ("x", "x_1", "x", "for", "9 lives", "é"):
        b.index_param(hint)
    text = print_program(Program([b.func]))
    names = "x: index, x_1: index, x_2: index, for_: index, v9_lives: index, _: index"
    assert text == f"func f({names}):\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("func scale", "fun scale", 1, "expected `func`"),
        ("f32[64]", "f64[64]", 1, "expected a type"),
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
