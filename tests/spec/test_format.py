"""The formatter's laws, on the examples and on random files; and its look, on a few."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import spec
from cnncc.errors import SpecError
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.lexer import lex
from tests.spec.texts import examples, written


def comments(text: str) -> Counter[str]:
    return Counter(comment.text for comment in lex(text, Reporter("")).comments)


def check_laws(text: str) -> str:
    made = spec.format_text(text)
    assert spec.parse_text(made) == spec.parse_text(text)
    assert comments(made) == comments(text)
    assert spec.format_text(made) == made
    return made


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_files(seed: int) -> None:
    check_laws(written(seed))


def test_examples() -> None:
    for text in examples():
        check_laws(text)


def test_spaces() -> None:
    text = "cnncc 1\nparam  a=1/255 in[1 , 2]\n"
    text += "x=conv( 3x3,filters = a*2 , stride=1 if a>0 else 2)->bn\n"
    assert spec.format_text(text) == (
        "cnncc 1\nparam a = 1/255 in [1, 2]\n"
        "x = conv(3x3, filters=a * 2, stride = 1 if a > 0 else 2) -> bn\n"
    )


def test_signs_and_shapes() -> None:
    text = "cnncc 1\ninput x : [4 ]\nblock b( t:tensor,n = - 1 ){relu:[4]}\n".replace(":[4]", "")
    made = spec.format_text(text + "clip(low = -1 - - 2, high = + 3):[4]\n")
    assert made == (
        "cnncc 1\ninput x: [4]\nblock b(t: tensor, n=-1) { relu }\n"
        "clip(low=-1 - -2, high=+3) : [4]\n"
    )


def test_long_flows_break_before_arrows() -> None:
    step = "conv(3x3, filters=16, stride=2, pad=1)"
    made = check_laws(f"cnncc 1\n{' -> '.join([step] * 4)}\n")
    assert made == f"cnncc 1\n{step} -> {step}\n    -> {step} -> {step}\n"


def test_long_lists_break_after_commas() -> None:
    rows = ", ".join(f"[{n}, {n}00, {n}0000]" for n in range(10, 18))
    made = check_laws(f"cnncc 1\nfor a, b, c in [{rows}] {{\n  relu\n}}\n")
    assert max(map(len, made.splitlines())) <= 100
    assert "\n" + " " * 16 + "[" in made


def test_long_braces_open() -> None:
    mean = "mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]"
    made = check_laws(
        f"cnncc 1\ninput x: 224x224x3 {{ dtype = u8, scale = 1/255, {mean} }}  # why\n"
    )
    assert made == (
        "cnncc 1\ninput x: 224x224x3 {\n  dtype = u8\n  scale = 1/255\n"
        "  mean = [0.485, 0.456, 0.406]\n  std = [0.229, 0.224, 0.225]\n}  # why\n"
    )


def test_else_keeps_its_braces_together() -> None:
    step = "conv(3x3, filters=16, stride=2, pad=1)"
    made = check_laws(f"cnncc 1\nif a {{ {step} }} else if b {{ {step} }} else {{ relu }}\n")
    assert made == (
        f"cnncc 1\nif a {{\n  {step}\n}} else if b {{\n  {step}\n}} else {{\n  relu\n}}\n"
    )


def test_comments_stay_where_they_are() -> None:
    text = (
        "cnncc 1\n\n\n# one\n\nrelu      # two\nconv(3x3,  # three\n  # four\n  filters=3)\n"
        "# five\n  -> bn\n"
    )
    assert check_laws(text) == (
        "cnncc 1\n\n# one\n\nrelu      # two\nconv(3x3,  # three\n     # four\n     filters=3)\n"
        "    # five\n    -> bn\n"
    )


def test_syntax_errors_are_not_formatted() -> None:
    with pytest.raises(SpecError, match="E0102"):
        spec.format_text("cnncc 1\nconv(3x3 filters=3)\n")


PINNABLE = """cnncc 1
weights random
input x: 8x8x3
block pair(f) {
  conv(3x3,
       filters=f) -> relu
  bn
}
pair(4) -> conv(1x1, filters=2)
repeat 2 { conv(1x1, filters=2) }
output y
"""


def test_pinned_names() -> None:
    made = spec.format_text(PINNABLE, pin_names=True)
    assert made == (
        "cnncc 1\nweights random\ninput x: 8x8x3\nblock pair(f) {\n"
        "  conv(3x3, filters=f) as conv1 -> relu\n  bn as bn1\n}\n"
        "pair(4) as pair1 -> conv(1x1, filters=2) as conv1\n"
        "repeat 2 { conv(1x1, filters=2) }\noutput y\n"
    )
    before, after = (set(spec.load(text).graph.constants) for text in (PINNABLE, made))
    assert before == after


def test_pinning_needs_no_weight_file() -> None:
    text = PINNABLE.replace("weights random", 'weights "nowhere.npz"')
    assert "as pair1" in spec.format_text(text, pin_names=True)
