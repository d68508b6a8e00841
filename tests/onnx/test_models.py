"""Models of the world outside: their stored outputs, and what they shall see, read and hear."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cnncc.onnx.against import relative_l2
from tests.onnx.models import (
    FOLDER,
    SUBJECTS,
    Finding,
    Missing,
    Subject,
    golden,
)

pytestmark = pytest.mark.native


def _held(findings: Iterator[Finding]) -> None:
    """All of some findings are good, and there is at least one."""
    made = list(findings)
    assert made
    assert not [finding for finding in made if not finding.good]


def _there(subject: Subject) -> None:
    if not subject.path.is_file():
        pytest.skip(f"the models are not beside the repository: no {FOLDER.name}/{subject.name}")


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.name)
def test_stored_outputs(subject: Subject) -> None:
    _there(subject)
    _held(golden(subject))


@pytest.mark.parametrize(
    ("subject", "expect"),
    [(s, e) for s in SUBJECTS for e in s.expect],
    ids=[s.name for s in SUBJECTS for _ in s.expect],
)
def test_what_the_author_expects(
    subject: Subject, expect: Callable[[Subject], Iterator[Finding]]
) -> None:
    _there(subject)
    try:
        _held(expect(subject))
    except Missing as missing:
        pytest.skip(str(missing))


def test_the_judge_sees_a_wrong_output() -> None:
    right = np.arange(12, dtype=np.float32)
    assert relative_l2(right, right) == 0
    assert relative_l2(right + 0.01, right) > 1e-4
    assert relative_l2(np.full(12, np.nan, np.float32), right) == float("inf")
