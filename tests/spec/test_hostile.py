"""Whatever the text: diagnostics, quickly; never another exception."""

from __future__ import annotations

import inspect
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import spec
from cnncc.errors import SpecError
from cnncc.spec import layers, lexer, project
from tests.spec.texts import examples, mutated

HEAD = "cnncc 1\nweights random\ninput x: 8x8x3\n"
DEEP = 10_000


def loops_around(block: str, inner: str) -> str:
    return f"block {block}() {{\n" + "repeat 1 {\n" * 20 + inner + "\n" + "}\n" * 21


CASES = {
    "round brackets": "let a = " + "(" * DEEP + "1" + ")" * DEEP,
    "open round brackets": "let a = " + "(" * DEEP,
    "square brackets": "let a = " + "[" * DEEP + "]" * DEEP,
    "open square brackets": "let a = " + "[" * DEEP,
    "calls": "relu(" * DEEP + ")" * DEEP,
    "joins": "add(" * DEEP + "x" + ", x)" * DEEP,
    "braces": "repeat 1 {\n" * DEEP + "relu\n" + "}\n" * DEEP,
    "open braces": "repeat 1 {\n" * DEEP,
    "closing braces": "}\n" * DEEP,
    "closing brackets": ")" * DEEP,
    "minus": "let a = " + "-" * DEEP + "1",
    "not": "let a = " + "not " * DEEP + "true",
    "choices": "let a = " + "1 if true else " * DEEP + "1",
    "else if": "if false { relu }" + " else if false { relu }" * 3_000,
    "sum": "let a = " + "1 + " * DEEP + "1",
    "and": "let a = " + "true and " * DEEP + "true",
    "arrows": "x " + "-> relu " * 8_000,
    "name": "conv" + "v" * 1_000_000,
    "label": "conv(1x1, filters=1) as c" + "v" * 1_000_000,
    "text": 'let a = "' + "v" * 1_000_000 + '"',
    "open text": 'let a = "' + "v" * 1_000_000,
    "number": "let a = " + "9" * 1_000_000,
    "fraction": "let a = 0." + "9" * 1_000_000,
    "exponent": "let a = 1e" + "9" * 1_000_000,
    "size": "let a = " + "x".join(["3"] * 100_000),
    "shape": "relu : " + "9" * 30 + "x3x3",
    "comment": "# " + "v" * 1_000_000,
    "strange characters": "\x00" * 100_000,
    "strange lines": "\x1b[31m\n" * 10_000,
    "quotes": '"' * 100_001,
    "long list": "let a = [" + "1, " * 20_000 + "1]",
    "too many words": "a " * 60_000,
    "statements": "relu\n" * 5_000,
    "huge number": "let a = 9007199254740991\n" + "let b = a * a",
    "powers": "let a0 = 1e300\n" + "".join(f"let a{n + 1} = a{n} * a{n}\n" for n in range(99)),
    "loops": "repeat 100000 { repeat 100000 { repeat 100000 { if false { relu } } } }",
    "many ranges": "for i in range(100000) { relu -> tanh }\nfor i in range(100000) {\n"
    "  let a = range(100000) == range(100000)\n}",
    "many stages": "block b() { relu" + " -> relu" * 2000 + " }\nrepeat 100000 { b }",
    "many lists": "for i in range(100000) {\n  let a = [" + "1, " * 10_000 + "]\n}",
    "many unknown names": "".join(f"name{n} = other{n}\n" for n in range(3000)),
    "many misfits": "relu\n" * 500 + "y = conv(9x9, filters=1)\nx -> conv(9x9, filters=1)\n" * 500,
    "many params": "".join(f"param p{n} = range(100000)\n" for n in range(40)),
    "long property": "model m { a = [" + "range(100000), " * 40 + "] }",
    "range": "for i in range(1000000000000) { relu }",
    "blocks": "block b0() { relu -> relu }\n"
    + "".join(f"block b{n}() {{ b{n - 1} -> b{n - 1} }}\n" for n in range(1, 31))
    + "b30",
    "deep loops in blocks": "block b0() { relu }\n"
    + "".join(loops_around(f"b{n}", f"b{n - 1}") for n in range(1, 20))
    + "b19",
    "deep blocks": "block b0() { relu }\n"
    + "".join(f"block b{n}() {{ b{n - 1} }}\n" for n in range(1, 3000))
    + "b2999",
    "block circle": "".join(f"block c{n}() {{ c{(n + 1) % 3000} }}\n" for n in range(3000)),
    "labels": "for i in range(1000) { conv(1x1, filters=3) as c{i}" + "{i}" * 60 + " }",
    "large map": "upsample(2000000) -> upsample(2000000)",
    "large weights": "conv(1x1, filters=2000000000)",
    "large window": "conv(2000000000x2000000000, filters=1, pad=2000000000)",
    "self use": 'use "<text>" as a',
    "null path": 'use "a\\0b" as a',
    "folders": 'use "' + "a/" * 100_000 + '" as a',
    "null file": 'output y { labels = file("a\0b") }',
}


@pytest.mark.parametrize("name", CASES)
def test_extremes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MAX_NODES", 2_000)
    monkeypatch.setattr(lexer, "MAX_TOKENS", 50_000)
    start = time.perf_counter()
    only_spec_errors(HEAD + CASES[name] + "\noutput y\n")
    only_spec_errors(CASES[name])
    assert time.perf_counter() - start < 60  # seconds at most; quadratic work takes minutes


def test_file_of_17_mib(tmp_path: Path) -> None:
    path = tmp_path / "large.cnn"
    path.write_bytes(b"cnncc 1\n" + b"relu\n" * (17 * 1024 * 1024 // 5))
    assert [d.code for d in spec.check(path)] == ["E0108"]
    with pytest.raises(SpecError, match="E0108"):
        spec.load(path.read_text())


def test_little_stack_is_enough() -> None:
    """The deepest legal nesting fits into half of Python's stack."""
    inner = "(" * 45 + "1" + ")" * 45
    blocks = "block b0() { relu }\n" + "".join(
        f"block b{n}() {{ b{n - 1} }}\n" for n in range(1, 31)
    )
    joins = "add(" * 40 + "x" + ", x)" * 40
    before = sys.getrecursionlimit()
    depth = len(inspect.stack(0))
    sys.setrecursionlimit(depth + 500)
    try:
        made = spec.load(f"{HEAD}let a = {inner}\n{blocks}b30 -> relu\n{joins}\noutput y\n")
    finally:
        sys.setrecursionlimit(before)
    assert made.graph.outputs


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_mutated_files(seed: int) -> None:
    only_spec_errors(mutated(seed))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_mutated_bytes(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(chance.choice(examples()).encode())
    for _ in range(chance.randrange(1, 20)):
        if not data:
            break
        index = chance.randrange(len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[index] = chance.randrange(256)
        elif kind == 1:
            del data[index : index + chance.randrange(1, 40)]
        else:
            data[index:index] = data[chance.randrange(len(data)) :][: chance.randrange(1, 40)]
    only_spec_errors(data.decode("utf-8", "replace"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    only_spec_errors(text)
    only_spec_errors(HEAD + text + "\noutput y\n")


def only_spec_errors(text: str) -> None:
    for act in (lambda: spec.load(text, file="<text>", want_arrays=False), lambda: fmt(text)):
        error = outcome(act)
        if error is not None:
            assert error.diagnostics
            assert 0 < len(error.rendered) < 100_000
            assert "\x1b" not in error.rendered


def fmt(text: str) -> str:
    return spec.format_text(text)


def outcome(act: Callable[[], object]) -> SpecError | None:
    try:
        act()
    except SpecError as error:
        return error
    return None


@pytest.mark.parametrize("name", ["missing.cnn", "a\0b.cnn", "", "/", "x" * 5000])
def test_names_that_are_no_files(name: str) -> None:
    found = spec.check(name)
    assert [d.severity for d in found] == ["error"]


def test_folders_above_that_nobody_may_look_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search for the project's root ends in an error there, as a name too long does."""
    monkeypatch.setattr(project, "_ROOT_MARKS", ("x" * 300,))
    (tmp_path / "a.cnn").write_text(HEAD + "relu\noutput y\n")
    assert spec.check(tmp_path / "a.cnn") == ()


def test_unreadable_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.cnn"
    path.write_bytes(bytes(range(256)))
    assert [d.code for d in spec.check(path)] == ["E0108"]
