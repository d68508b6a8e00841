import json

import pytest

from cnncc.bench import functions, peak
from cnncc.bench.functions import NAMES
from cnncc.targets import find

CANCELLING = ("hard_swish", "gelu", "softplus")  # towards zero their bounds are absolute


@pytest.fixture(autouse=True)
def fixed_peak(monkeypatch):
    monkeypatch.setattr(peak, "peak_gflops", lambda target: 100.0)


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3"])
def test_functions_keep_their_operators_bounds(name):
    rows = functions.measure(find(name), seconds=0.0)
    assert [row["function"] for row in rows] == list(NAMES)
    for row in rows:
        assert row["of_bound"] <= 1
        assert (row["worst_ulp"] <= 4) == (row["function"] not in CANCELLING)
        assert row["instructions"] > 4
        assert row["cycles"] > 0


def test_the_program_prints_and_answers(monkeypatch, capsys):
    monkeypatch.setattr(functions.measure, "__defaults__", (("relu", "exp"), 0.0))
    functions.main(["x86-64", "--seconds", "0", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made["schema"] == "cnncc.bench-functions/1"
    relu, exp = made["targets"]["x86-64"]
    assert relu["worst_ulp"] == 0
    assert 0 < exp["worst_ulp"] < 1.2
    functions.main(["x86-64", "--seconds", "0"])
    assert "x86-64 (x86-64, 4 lanes)" in capsys.readouterr().out
