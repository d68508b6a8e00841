"""Running the command line in this process, with a cache of kernels that all its tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cnncc.cli.app import app

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.cnn"
TINY = """\
cnncc 1
model tiny
weights random { seed = 3 }
input x: 6x5x2
conv(3x3, filters=4) -> relu
output y
"""

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels") / "cache"


@pytest.fixture
def run(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("CNNCC_DUMP", "CNNCC_DEBUG", "CNNCC_VERIFY", "CNNCC_CACHE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(kernels))

    def call(*words: object, code: int = 0, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.cnn"
    path.write_text(TINY)
    return path


def answer(result: Result, schema: str) -> Any:
    """The JSON on stdout, which must name its schema and stand alone there."""
    made = json.loads(result.stdout)
    assert made["schema"] == schema
    return made
