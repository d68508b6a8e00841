import pytest

from tests.cli.conftest import DIGITS, answer


def test_stages_with_their_predictions(run):
    made = answer(
        run("bench", DIGITS, "--per-layer", "--seconds", "0.02", "--json"), "cnncc.bench-layers/1"
    )
    assert made["stage_seconds"] == pytest.approx(sum(e["seconds"] for e in made["layers"]))
    assert made["predicted_seconds"] == pytest.approx(sum(e["predicted"] for e in made["layers"]))
    assert made["call_seconds"] > 0
    for e in made["layers"]:
        compute = e["multiply"] + e["steps"]
        assert (e["bound_by"] == "memory") == (e["memory"] > compute)
        assert e["share"] == pytest.approx(max(compute, e["memory"]) / e["seconds"])
        assert e["is_far"] == (e["share"] < 0.7)


def test_a_table_of_stages(run):
    shown = run("bench", DIGITS, "--per-layer", "--seconds", "0.02").stdout.splitlines()
    assert shown[1] == "1 thread, minima"
    assert any(line.startswith("conv1") and "conv_pool" in line for line in shown)
    assert any(line.startswith("all stages") for line in shown)
    assert "of their bound" in shown[-1]
