import pytest

from tests.cli.conftest import DIGITS, answer


def test_figures(run):
    result = run("bench", DIGITS, "--seconds", "0.02", "--threads", "1,2", "--batch", "2", "--json")
    made = answer(result, "cnncc.bench/2")
    assert {"cpu", "cores", "load", "llvm", "cnncc"} <= set(made["machine"])
    assert [(r["engine"], r["threads"], r["batch"]) for r in made["results"]] == [
        ("cnncc", 1, 2),
        ("cnncc", 2, 2),
    ]
    for row in made["results"]:
        times = row["milliseconds"]
        assert 0 < times["min"] <= times["p50"] <= times["p90"] <= times["p99"]
        assert times["calls"] >= 5
        gflops = 2 * 706752 * 2 / times["min"] / 1e6
        assert row["gflops"] == pytest.approx(gflops, rel=0.01, abs=0.01)
        peak = row["peak_gflops_per_thread"] * row["threads"]
        assert row["share_of_peak"] == pytest.approx(row["gflops"] / peak, abs=1e-3)


def test_a_table(run):
    shown = run("bench", DIGITS, "--seconds", "0.02").stdout
    assert "LLVM" in shown.splitlines()[0]
    assert "GFLOP/s" in shown
    assert shown.splitlines()[-1].startswith("cnncc")


def test_against_another_engine(run):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    words = ("--seconds", "0.02", "--against", "onnxruntime")
    made = answer(run("bench", DIGITS, *words, "--json"), "cnncc.bench/2")["results"]
    assert [row["engine"] for row in made] == ["cnncc", "onnxruntime"]
    assert made[1]["relative_difference"] < 1e-4
    ratio = made[1]["milliseconds"]["min"] / made[0]["milliseconds"]["min"]
    assert made[1]["times_slower"]["min"] == pytest.approx(ratio, rel=0.01)
    assert "1 thread, batch 1: " in run("bench", DIGITS, *words).stdout
