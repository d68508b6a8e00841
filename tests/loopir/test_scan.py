"""The pieces of one line."""

from __future__ import annotations

import pytest

from cnncc.loopir.scan import Line, LoopTextError


def line(text: str) -> Line:
    return Line("x.loops", 7, text)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("-12", -12), ("9223372036854775807", 2**63 - 1)]
)
def test_integers(text: str, number: int) -> None:
    assert line(text).integer() == number


@pytest.mark.parametrize("text", ["1.5", "9223372036854775808", "x", "", "9" * 5000])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(LoopTextError, match="whole number"):
        line(text).integer()


@pytest.mark.parametrize("number", [0.1, -2.5, 1e-45, 3.4e38, float("inf"), -float("inf")])
def test_reals(number: float) -> None:
    assert line(repr(number)).real() == number


def test_names_and_ranges_do_not_swallow_each_other() -> None:
    words = line("  conv.3x3..n")
    assert words.depth == 1
    assert words.word("a name") == "conv.3x3"
    words.want("..")
    assert words.word("a name") == "n"
    words.end()


def test_errors_point_at_the_token() -> None:
    words = line("  for 12")
    words.want("for")
    with pytest.raises(LoopTextError) as caught:
        words.word("a name")
    assert str(caught.value) == "x.loops:7:7: expected a name"
    assert caught.value.span is not None
    assert caught.value.span.end_column == 9
