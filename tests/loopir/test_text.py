"""The laws of text: parse after print is the identity, print after parse as well."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given, settings

from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Program, Value
from cnncc.loopir.parse import parse_program
from cnncc.loopir.text import canonical_text, print_program, print_stmt

from .generate import functions
from .samples import SCALE


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
