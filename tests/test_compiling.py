"""`cnncc.compile`: the compiler runs once for a model, and again as soon as anything differs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnncc
from cnncc import driver
from cnncc.errors import InputError
from cnncc.runtime.network import Network

onnx = pytest.importorskip("onnx")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A convolution whose filters are all 1."""
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("CNNCC_CACHE", "CNNCC_DUMP", "CNNCC_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "model.onnx"
    write(path, 1.0)
    return path


def write(path: Path, weight: float) -> None:
    from onnx import TensorProto, helper, numpy_helper

    w = numpy_helper.from_array(np.full((2, 3, 3, 3), weight, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 5, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 3, 4])],
        [w],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def count_compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []
    whole = driver.compile_network

    def counted(path: object, **more: object) -> Network:
        seen.append(path)
        return whole(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(driver, "compile_network", counted)
    return seen


def test_the_second_time_nothing_is_compiled(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = count_compilations(monkeypatch)
    first, second = cnncc.compile(model), cnncc.compile(str(model), threads=2)
    assert len(seen) == 1
    assert second.threads == 2
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(first(x), second(x))
    assert first.to_bytes() == second.to_bytes()


def test_nothing_stale_is_served(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = count_compilations(monkeypatch)
    x = np.ones((1, 3, 5, 6), np.float32)
    assert cnncc.compile(model)(x).max() == 27.0
    times = os.stat(model)
    write(model, 2.0)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))  # same time, same size
    assert cnncc.compile(model)(x).max() == 54.0
    cnncc.compile(model, winograd=False)
    cnncc.compile(model, without={"conv-pool"})
    cnncc.compile(model, target="x86-64-v2" if "x86" in os.uname().machine else "aarch64")
    cnncc.compile(model, shapes={"x": (1, 3, 5, 6)})
    assert len(seen) == 6
    with pytest.raises(InputError):
        cnncc.compile(model, threads=0)
    monkeypatch.setenv("CNNCC_CACHE", "off")
    cnncc.compile(model)
    assert len(seen) == 7


def test_a_stored_network_needs_no_compiler(model: Path) -> None:
    script = (
        "import sys, cnncc\n"
        f"net = cnncc.compile({str(model)!r})\n"
        "print(net.macs, 'llvmlite' in sys.modules, 'networkx' in sys.modules)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said[0] == [said[1][0], "True", "True"]
    assert said[1][1:] == ["False", "False"]
