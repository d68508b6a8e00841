"""Diagnostics as text and JSON: columns that line up, nothing that steers a terminal."""

from __future__ import annotations

import pytest

from cnncc import spec
from cnncc.errors import Diagnostic, Frame, Label, Span, SpecError


def render(text: str, *marks: tuple[int, int, int, str], **more: object) -> str:
    spans = [Span("a.cnn", line, begin, end) for line, begin, end, _ in marks]
    labels = tuple(Label(s, m[3]) for s, m in zip(spans[1:], marks[1:], strict=True))
    found = Diagnostic("E0404", "error", "message", spans[0], marks[0][3], labels, **more)  # type: ignore[arg-type]
    return spec.render_text([found], {"a.cnn": text})


def test_one_mark() -> None:
    assert render("relu\nmaxpool(2)\n", (2, 1, 8, "here"), help="do this", notes=("so",)) == (
        "error[E0404]: message\n  --> a.cnn:2:1\n2 | maxpool(2)\n  | ^^^^^^^ here\n"
        "  = note: so\n  = help: do this\n"
    )


def test_two_marks_on_a_line() -> None:
    assert render("add(main, skip)\n", (1, 5, 9, "left"), (1, 11, 15, "right")) == (
        "error[E0404]: message\n  --> a.cnn:1:5\n1 | add(main, skip)\n"
        "  |     ^^^^  ---- right\n  |     left\n"
    )


def test_marks_on_two_lines_and_wide_numbers() -> None:
    text = "\n" * 8 + "one\n\ntwo\n"
    assert render(text, (11, 1, 4, "b"), (9, 1, 4, "a")) == (
        "error[E0404]: message\n  --> a.cnn:11:1\n 9 | one\n   | --- a\n11 | two\n   | ^^^ b\n"
    )


def test_wide_characters_and_tabs() -> None:
    said = render("\t犬 = relu\n", (1, 6, 10, ""))
    assert said.splitlines()[2:] == ["1 |  犬 = relu", "  |       ^^^^"]


def test_control_characters_are_shown_as_dots() -> None:
    assert "\x1b" not in render("a\x1b[31m\x07b\n", (1, 1, 2, "\x1b]0;title\x07"))


def test_long_lines_are_cut_around_the_mark() -> None:
    said = render("a" * 5000 + "b" + "c" * 5000 + "\n", (1, 5001, 5002, ""))
    source, mark = said.splitlines()[2:4]
    assert len(source) < 200
    assert source[mark.index("^")] == "b"


def test_lines_that_do_not_exist() -> None:
    assert render("one\n", (7, 1, 2, "x")) == "error[E0404]: message\n  --> a.cnn:7:1\n"


def test_expansions() -> None:
    calls = (Frame("outer(1)", "a.cnn", 9, 1), Frame("inner(2)", "b.cnn", 3, 5))
    found = Diagnostic("E0401", "error", "message", Span("b.cnn", 1, 1, 2, calls))
    assert spec.render_text([found], {"b.cnn": "relu\n"}).splitlines()[4:] == [
        "  = note: while expanding `inner(2)` at b.cnn:3:5",
        "  = note: while expanding `outer(1)` at a.cnn:9:1",
    ]


def test_json() -> None:
    (found,) = spec.check("missing.cnn")
    assert spec.to_json(found) == {
        "code": "E0505",
        "severity": "error",
        "file": "",
        "line": 0,
        "column": 0,
        "message": "`missing.cnn` was not found",
        "help": found.help,
    }
    spans = [d.span for d in spec.parse_text("cnncc 1\nrelu)\n", "a.cnn")[1]]
    assert [(s.file, s.line, s.column, s.end_column) for s in spans if s] == [("a.cnn", 2, 5, 6)]


def test_at_most_twenty_errors() -> None:
    text = "cnncc 1\ninput x: 8x8x3\n" + "nothing\n" * 30 + "output y\n"
    with pytest.raises(SpecError) as caught:
        spec.load(text)
    assert len(caught.value.diagnostics) == 20
    assert caught.value.rendered.endswith("... and 10 more errors\n")
    assert str(caught.value) == caught.value.rendered
