import json

import pytest

from cnncc import spec
from cnncc.bench import kernels, peak
from cnncc.bench.kernels import CASES, Case
from cnncc.targets import find

TINY = Case("tiny", "9x9x16", "conv(3x3, filters=32, pad=1)")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.title)
def test_cases_are_networks(case):
    graph = spec.load(case.text, file="case", want_arrays=False).graph
    assert [node.op for _, node in graph.nodes()].count("conv2d") == 1


def test_the_list_holds_the_layers_of_resnets():
    assert "3x3 s2 64->128 @56" in [case.title for case in CASES]
    assert "conv(7x7, filters=64, stride=2, pad=3)" in [case.layer for case in CASES]
    assert "3x3 s1 128->128 g32 @56" in [case.title for case in CASES]


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3"])
def test_a_row(name, monkeypatch):
    monkeypatch.setattr(peak, "peak_gflops", lambda target: 100.0)
    (row,) = kernels.measure(find(name), (TINY,), seconds=0.0)
    macs = 9 * 9 * 32 * 16 * 9
    assert row["gflops"] == pytest.approx(2 * macs / row["us"] / 1e3, rel=0.2)
    assert row["share_of_peak"] == pytest.approx(row["gflops"] / 100, abs=0.01)
    if row["choice"].startswith("conv_direct"):  # transforms do, with sixteen registers
        assert row["spills"] <= 2
    assert "tile" in row["choice"]


def test_the_program_prints_and_answers(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "CASES", (TINY,))
    monkeypatch.setattr(kernels.measure, "__defaults__", ((TINY,), 0.0))
    kernels.main(["x86-64", "--seconds", "0", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made["schema"] == "cnncc.bench-kernels/1"
    assert [row["kernel"] for row in made["targets"]["x86-64"]] == ["tiny"]
    kernels.main(["x86-64", "--seconds", "0"])
    assert "x86-64 (x86-64): peak " in capsys.readouterr().out
