import dataclasses

import numpy as np
import pytest

import cnncc.verification
from cnncc.ir.tolerance import Mismatch
from tests.cli.conftest import DIGITS, answer


@pytest.mark.parametrize("threads", [1, 2])
def test_a_good_network(run, threads):
    result = run("verify", DIGITS, "--json", "--threads", threads)
    made = answer(result, "cnncc.verification/1")
    assert made["ok"] is True
    assert made["first_bad"] is None
    assert {row["verdict"] for row in made["layers"]} == {"ok"}
    assert made["layers"][1]["ops"] == ["conv2d", "relu", "max_pool2d"]
    assert all(row["max_error"] <= row["allowed"] for row in made["layers"])
    assert result.stderr == "all 7 layers agree with the oracle\n"


def test_on_a_picture(run):
    assert "conv1" in run("verify", DIGITS, "-i", DIGITS.parent / "two.png", "-q").stdout


def test_the_first_bad_layer_is_named(run, monkeypatch):
    real = cnncc.verification.check_layers

    def broken(*words):
        wrong = Mismatch("value", (0, 3), 1.0, 2.0, 1e-6, 5, 10)
        for check in real(*words):
            bad = check.path in ("conv2", "fc1")
            yield dataclasses.replace(check, mismatch=wrong if bad else None)

    monkeypatch.setattr("cnncc.verification.check_layers", broken)
    result = run("verify", DIGITS, code=1)
    assert "2 of 7 layers are wrong, the first is `conv2`" in result.stderr
    assert "digits.cnn:19:1): value differs at [0,3]: 1.0 instead of 2.0" in result.stderr
    assert (
        answer(run("verify", DIGITS, "--json", code=1), "cnncc.verification/1")["first_bad"]
        == "conv2"
    )


def test_inputs_of_another_type(run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((28, 28, 1), np.float32))
    shown = run("verify", DIGITS, "-i", tmp_path / "x.npy", code=1).stderr
    assert "expected u8, got float32" in shown
