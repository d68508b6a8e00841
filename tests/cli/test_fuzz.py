"""A short run of the fuzzer, and proof that it can fail."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cnncc.cli import check, feeds
from tests.cli import fuzz

pytestmark = pytest.mark.native


@pytest.fixture(autouse=True)
def _kernels(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(kernels))
    monkeypatch.delenv("CNNCC_DEBUG", raising=False)


@pytest.mark.parametrize(("kind", "count"), [("texts", 120), ("weights", 30), ("feeds", 30)])
def test_a_short_run(kind: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"--texts": 0, "--weights": 0, "--feeds": 0, f"--{kind}": count}
    words = [str(word) for pair in counts.items() for word in pair]
    code = fuzz.main(words)
    told = capsys.readouterr().out
    assert code == 0, told
    assert "code 1" in told


def test_an_internal_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object, **more: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(feeds, "parse_npy", broken)
    monkeypatch.setattr(feeds, "_picture", broken)
    verdicts = [verdict for _, verdict in fuzz.run(["feed:1", "feed:2"])]
    assert all(verdict.startswith("wrong: code 3") for verdict in verdicts)


def test_a_crash_is_found_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_check", lambda *words: os.abort())
    verdicts = dict(fuzz.run(["weights:1", "feed:5"]))
    assert verdicts["weights:1"] == "wrong: the process ended with -6"
    assert verdicts["feed:5"].startswith("code ")


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_cases_depend_on_their_seed_alone(kind: str, tmp_path: Path) -> None:
    made = []
    for seed in (3, 3, 4):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        fuzz.KINDS[kind](np.random.default_rng(seed), folder)
        made.append([(p.name, p.read_bytes()) for p in sorted(folder.iterdir())])
    assert made[0] == made[1] != made[2]
