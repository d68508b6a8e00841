"""The demo: what it shows, in how many columns, and when it fails."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "digits" / "demo.py"
pytestmark = pytest.mark.native


def shown(**environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    made = subprocess.run(
        [sys.executable, str(DEMO)],
        env={**inherited, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def plain() -> str:
    return shown()


def test_everything_is_there(plain: str) -> None:
    spec = (DEMO.parent / "digits.cnn").read_text()
    assert all(line in plain for line in spec.splitlines())
    assert "conv + relu + maxpool -> 13x13x16" in plain
    assert len(re.findall(r"^ {7}\d +\d+\.\d%.* \d +\d+\.\d%.* \d +\d+\.\d%", plain, re.M)) == 12
    assert "from the cache" in plain
    assert re.search(r"latency +\d+\.\d us an image \(median, 1 thread\)", plain)
    found = re.search(r"accuracy +(\d+\.\d+)%: [\d,]+ of 2,000 digits", plain)
    assert found is not None
    assert float(found[1]) >= 98.5


def test_eighty_columns(plain: str) -> None:
    assert max(map(len, plain.splitlines())) <= 80
    assert "\x1b" not in plain


def test_eighty_columns_in_colour() -> None:
    colored = shown(FORCE_COLOR="1")
    bare = re.sub(r"\x1b\[[\d;]*m", "", colored)
    assert bare != colored
    assert max(map(len, bare.splitlines())) <= 80
    assert "\x1b" not in shown(FORCE_COLOR="1", NO_COLOR="1")


def test_streams_without_block_characters() -> None:
    assert shown(PYTHONIOENCODING="ascii", FORCE_COLOR="1").isascii()


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_fails_below_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CNNCC_CACHE_DIR", "")  # restored afterwards: the demo sets its own
    demo = load()
    monkeypatch.setattr(demo, "WANTED", 0.9999)
    assert demo.main() == 1
    assert "the accuracy is below 100.0%" in capsys.readouterr().out


def test_one_of_each_and_the_wrong_ones_are_picked() -> None:
    labels = np.array([*range(10)] * 2)
    answers = np.eye(10)[labels]
    answers[3], answers[17] = answers[4], answers[0]
    assert load().picked(answers, labels) == [0, 1, 2, 13, *range(4, 10), 3, 17]
