"""The worked examples of docs/adding.md are executed as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
SECTIONS = {
    part.splitlines()[0].split(":")[0].removeprefix("## "): part
    for part in re.split(r"(?m)^(?=## )", PAGE)
    if part.startswith("## ")
}


def test_the_page_has_its_four_examples() -> None:
    assert list(SECTIONS) == ["An operator", "A pass", "A kernel", "A target"]


@pytest.mark.native
@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_works(section: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert "assert " in blocks[1]
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CNNCC_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
