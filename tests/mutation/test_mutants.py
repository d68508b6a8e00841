"""The list of mutants fits the sources, and the runner tells caught from survived."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.mutants import MUTANTS, ROOT, Mutant, applied, source, survives


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.file}: {m.why}")
def test_each_can_be_applied(mutant):
    """Where a line was rewritten the mutant must follow it."""
    text = applied(mutant, source(mutant).read_text(encoding="utf-8"))
    ast.parse(text)
    assert (ROOT / "tests" / mutant.tests).exists()


def test_there_are_enough_in_each_room():
    rooms = [m.file.split("/")[0] for m in MUTANTS]
    assert rooms.count("kernels") >= 25
    assert rooms.count("plan") >= 10
    assert rooms.count("passes") >= 8
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


def test_the_runner(tmp_path):
    (tmp_path / "cnncc").mkdir()
    (tmp_path / "tests").mkdir()
    file = tmp_path / "cnncc" / "a.py"
    file.write_text("ONE = 1\nTWO = 2\n")
    (tmp_path / "cnncc" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['native: x']\n")
    (tmp_path / "tests" / "test_a.py").write_text(
        "from cnncc.a import ONE\ndef test(): assert ONE == 1\n"
    )
    assert not survives(Mutant("a.py", "ONE = 1", "ONE = 2", "test_a.py", ""), tmp_path)
    assert survives(Mutant("a.py", "TWO = 2", "TWO = 3", "test_a.py", ""), tmp_path)
    assert file.read_text() == "ONE = 1\nTWO = 2\n"
    with pytest.raises(ValueError, match="occurs 0 times"):
        survives(Mutant("a.py", "THREE", "x", "test_a.py", ""), tmp_path)
