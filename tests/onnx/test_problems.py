"""Text from files in messages, and many problems in one error."""

from __future__ import annotations

import pytest

from cnncc.errors import OnnxError
from cnncc.onnx.problems import Problems, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1/Conv:0", "`conv1/Conv:0`"),
        ("größe 大", "`größe 大`"),
        ("a\nb\x00\x1b[2J", r"`a\x0ab\x00\x1b[2J`"),
        ("\u202eabc\u200b", r"`\u{202e}abc\u{200b}`"),
        ("`", r"`\x60`"),
        (b"ab\xff", r"`ab\xff`"),
        ("v" * 80, "`" + "v" * 80 + "`"),
        ("v" * 81, "`" + "v" * 60 + "...` (81 characters)"),
        ("", "``"),
    ],
)
def test_text_is_shortened_and_escaped(text, shown):
    assert quoted(text) == shown


def test_one_problem_is_one_line():
    problems = Problems("m.onnx")
    assert not problems
    problems.check()
    problems.add("node 1", "it is wrong", "make it right")
    assert problems
    with pytest.raises(OnnxError) as caught:
        problems.check()
    assert str(caught.value) == "m.onnx: node 1: it is wrong\n  help: make it right"
    assert caught.value.place == "m.onnx"


def test_several_problems_are_listed_with_each_hint_once():
    problems = Problems("m.onnx")
    for n in range(3):
        problems.add("", f"wrong {n}", "make it right")
    error = problems.stop("end", "lost", "give up")
    assert error.problems == ("wrong 0", "wrong 1", "wrong 2", "end: lost")
    assert str(error) == (
        "m.onnx:\n  wrong 0\n  wrong 1\n  wrong 2\n  end: lost\n  help: make it right; give up"
    )


def test_twenty_are_enough():
    problems = Problems("m.onnx")
    for n in range(19):
        problems.add("", f"wrong {n}")
    with pytest.raises(OnnxError) as caught:
        problems.add("", "wrong 19")
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "there may be more"
