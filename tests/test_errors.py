"""Two families of errors, kept apart; each can be pickled and says where and how to repair."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import cnncc
from cnncc import errors
from cnncc.errors import CnnccError, Diagnostic, InternalError, Span

USERS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, CnnccError)]
OURS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, InternalError)]


def test_nobody_is_in_both_families():
    assert len(USERS) >= 7
    assert len(OURS) >= 3
    assert not set(USERS) & set(OURS)
    assert not issubclass(CnnccError, InternalError)
    assert not issubclass(InternalError, CnnccError)


@pytest.mark.parametrize("kind", OURS, ids=lambda e: e.__name__)
def test_our_own_errors_carry_a_message(kind):
    assert "so it is" in str(kind("so it is"))


def test_a_hint_is_a_part_of_the_message():
    error = errors.InputError("too small", hint="make it larger")
    assert error.message == "too small"
    assert "make it larger" in str(error)
    assert "make it larger" not in str(errors.InputError("too small"))


def test_spans_are_written_as_editors_read_them():
    assert str(Span("net.cnn", 3, 5, 9)) == "net.cnn:3:5"


def test_errors_survive_a_pipe_between_processes():
    error = errors.InputError("too small", hint="make it larger")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_spec_error_is_its_first_error_and_lists_the_rest():
    words = (
        ("warning", "W0101", "unused"),
        ("error", "E0402", "first"),
        ("error", "E0403", "next"),
    )
    made = tuple(
        Diagnostic(code, severity, text, Span("net.cnn", n, 1, 2))
        for n, (severity, code, text) in enumerate(words, 1)
    )
    error = errors.SpecError(made)
    assert error.diagnostics == made
    assert str(error) == "net.cnn:2:1: E0402: first"
    assert str(errors.SpecError(made, "all of it, with carets")) == "all of it, with carets"


def test_every_error_that_callers_can_name_is_raised_somewhere():
    """An error that nothing raises is a promise that nobody keeps."""
    source = "".join(
        p.read_text(encoding="utf-8") for p in Path(cnncc.__file__).parent.rglob("*.py")
    )
    for name in cnncc.__all__:
        if name.endswith("Error") and name != "CnnccError":
            assert f"{name}(" in source.replace(f"class {name}(", ""), f"nothing raises {name}"
