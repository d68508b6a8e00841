"""The same promises on machine code, for every vector width that this machine has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnncc.llvm.host import missing
from cnncc.targets import find

ROOT = Path(__file__).parents[2]


@pytest.mark.native
@pytest.mark.parametrize("name", ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_random_cases(name):
    lacking = missing(find(name))
    if lacking:
        pytest.skip(f"this machine lacks {', '.join(lacking)}")
    command = [sys.executable, "-m", "tests.kernels.native", "--target", name, "--cases", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    last = "\n".join(done.stdout.splitlines()[-2:])
    assert done.returncode == 0, f"after: {last}\n{done.stderr[-3000:]}"
    assert int(done.stdout.split()[-2]) > 250
