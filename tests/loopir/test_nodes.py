"""Every node kind has a sample; each sample prints, parses, verifies and runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
import pytest

from cnncc.loopir.interp import run
from cnncc.loopir.nodes import Stmt, sub_bodies
from cnncc.loopir.parse import parse_program
from cnncc.loopir.text import print_program
from cnncc.loopir.verify import verify

from .samples import SAMPLES, Sample, X

CASES = [
    pytest.param(kind, sample, id=f"{kind.__name__}{number}")
    for kind, samples in SAMPLES.items()
    for number, sample in enumerate(samples)
]


def walk(body: Sequence[Stmt]) -> Iterator[Stmt]:
    for stmt in body:
        yield stmt
        for inner in sub_bodies(stmt):
            yield from walk(inner)


def result(sample: Sample) -> np.ndarray:
    dst = np.zeros(4, np.float32)
    run(sample.program, [X.copy(), dst], threads=2)
    return dst


def test_each_kind_has_a_sample() -> None:
    assert set(SAMPLES) == set(get_args(Stmt))


@pytest.mark.parametrize(("kind", "sample"), CASES)
def test_the_sample_holds_its_kind(kind: type, sample: Sample) -> None:
    assert any(isinstance(s, kind) for f in sample.program.funcs for s in walk(f.body))


@pytest.mark.parametrize(("kind", "sample"), CASES)
def test_runs(kind: type, sample: Sample) -> None:
    np.testing.assert_array_equal(result(sample), sample.expected)


@pytest.mark.parametrize(("kind", "sample"), CASES)
def test_text_survives_the_round_trip(kind: type, sample: Sample) -> None:
    text = print_program(sample.program)
    again = parse_program(text)
    assert print_program(again) == text
    np.testing.assert_array_equal(
        result(dataclasses.replace(sample, program=again)), sample.expected
    )


@pytest.mark.parametrize(("kind", "sample"), CASES)
def test_verifies(kind: type, sample: Sample) -> None:
    assert verify(sample.program, ranges={"thread": (0, 1)}) == []
