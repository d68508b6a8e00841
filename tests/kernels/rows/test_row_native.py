"""Every operator in every row-major kernel that takes it: interpreted, and as machine code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnncc.llvm.host import missing
from cnncc.loopir import interp
from cnncc.targets import find
from tests.kernels.harness import TARGETS
from tests.kernels.rows.row_native import OPERATORS, run_case

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", OPERATORS)
def test_interpreted(name):
    taken = 0
    for seed, target in enumerate(TARGETS * 2):
        values = ("float", "special")[seed % 2]
        taken += run_case(name, values, 100 + seed, target, interp.run)
    assert taken > 0


@pytest.mark.native
@pytest.mark.parametrize("name", ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_random_cases(name):
    lacking = missing(find(name))
    if lacking:
        pytest.skip(f"this machine lacks {', '.join(lacking)}")
    command = [
        sys.executable,
        "-m",
        "tests.kernels.rows.row_native",
        "--target",
        name,
        "--cases",
        "4",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    last = "\n".join(done.stdout.splitlines()[-2:])
    assert done.returncode == 0, f"after: {last}\n{done.stderr[-3000:]}"
    assert int(done.stdout.split()[-2]) >= 4 * len(OPERATORS)
