"""A machine without the `onnx` package."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import DIGITS

ROOT = Path(__file__).parents[2]
# As if it were not installed: nothing of that name is found.
WITHOUT = """
import sys
sys.modules["onnx"] = None
"""


def python(code, *words):
    command = [sys.executable, "-c", WITHOUT + code, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "words", [["check", "m.onnx"], ["run", "m.onnx", "-i", "x.npy"], ["ops", "--onnx"]]
)
def test_verbs_say_what_to_install(words):
    done = python("from cnncc.cli import main; main(sys.argv[1:])", *words)
    told = done.stdout + done.stderr
    assert done.returncode == 1, told
    assert "reading ONNX files needs the package `onnx`" in told
    assert "pip install 'cnncc[onnx]'" in told


def test_all_else_works():
    code = """
import cnncc, numpy as np
net = cnncc.compile(sys.argv[1], threads=1)
print(net(np.zeros((28, 28, 1), np.uint8)).shape)
"""
    assert python(code, DIGITS).stdout == "(10,)\n"


def test_saved_networks_need_no_onnx(tmp_path):
    import onnx

    import cnncc
    from tests.onnx.building import model, node

    path = tmp_path / "m.onnx"
    onnx.save(model([node("Relu", "x", "y")], {"x": [2, 3]}, ["y"]), path)
    cnncc.compile(path).save(tmp_path / "m.cnnc")
    code = """
sys.modules["llvmlite"] = None
import cnncc, numpy as np
print(cnncc.load(sys.argv[1])(np.full((2, 3), -1, np.float32)).sum())
print([name for name in sys.modules if name.split(".")[:2] == ["cnncc", "onnx"]])
"""
    assert python(code, tmp_path / "m.cnnc").stdout == "0.0\n[]\n"
