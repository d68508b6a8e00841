"""The page on embedding: its program builds with a real network, and gives our bits."""

import re
from pathlib import Path

import numpy as np
import pytest

from cnncc import driver
from cnncc.export import export
from cnncc.llvm.cache import ObjectCache
from tests.export.programs import compiler, run, values

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64"])
def test_the_program_of_the_page(tmp_path, target):
    from cnncc.llvm.host import missing

    gcc = compiler("gcc")
    found = driver.compile_model(ROOT / "examples" / "digits" / "digits.cnn", target=target)
    plan = found.plan
    if missing(plan.target):
        pytest.skip(f"this machine cannot run {target}")
    weights = plan.weights
    kinds = ("lib", "obj", "header", "main")
    export(tmp_path, "digits", plan.program, plan.target, plan.interface, weights, kinds=kinds)
    (program,) = re.findall(r"```c\n(#include.*?)```", PAGE, re.DOTALL)
    (fields,) = re.findall(r"```c\n(digits_io.*?)```", PAGE, re.DOTALL)
    (tmp_path / "program.c").write_text(program)
    strict = [gcc, "-std=c99", "-pedantic", "-Wall", "-Werror"]
    net = driver.build(found, threads=2, cache=ObjectCache(tmp_path / "cache"))
    run([*strict, "program.c", "libdigits.a", "-o", "program"], tmp_path)
    black = np.zeros((28, 28, 1), np.uint8)
    assert values(run(["./program"], tmp_path)).tobytes() == net(black).tobytes()
    assert fields.count("io.") == 6

    run([*strict, "main.c", "digits.o", "-o", "main"], tmp_path)
    rng = np.random.default_rng(8)
    for number in range(3):
        image = rng.integers(0, 256, (28, 28, 1), dtype=np.uint8)
        (tmp_path / "image").write_bytes(image.tobytes())
        printed = values(run(["./main", "image", str(number + 1)], tmp_path))
        assert printed.tobytes() == net(image).tobytes()


def test_every_status_is_explained():
    from cnncc.llvm.c_api import STATUS

    rows = dict(re.findall(r"^\| `(?:E_)?(\w+)` \((-?\d)\) \|", PAGE, re.MULTILINE))
    assert {name: int(code) for name, code in rows.items()} == STATUS
