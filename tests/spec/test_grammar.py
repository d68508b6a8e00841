"""The parser takes exactly what the grammar takes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import spec
from tests.spec.judge import accepts
from tests.spec.texts import examples, mutated, written

SEEDS = st.integers(0, 2**32)


def parses(text: str) -> bool:
    return spec.parse_text(text)[1] == ()


def test_examples() -> None:
    texts = examples()
    assert texts
    assert all(accepts(text) and parses(text) for text in texts)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SEEDS)
def test_random_files(seed: int) -> None:
    text = written(seed)
    assert accepts(text), text
    assert parses(text), text


@settings(max_examples=400, deadline=None, derandomize=True)
@given(SEEDS)
def test_mutated_files(seed: int) -> None:
    text = mutated(seed)
    assert parses(text) == accepts(text), text


def test_reserved_words_are_no_names() -> None:
    for word in ("input", "in", "if", "as", "true"):
        text = f"cnncc 1\nlet {word} = 1\n"
        assert not parses(text)
        assert not accepts(text)


def test_words_of_one_place_are_names_elsewhere() -> None:
    text = "cnncc 1\nrandom = tensor -> cnncc(int=float, text=bool)\n"
    assert parses(text)
    assert accepts(text)
