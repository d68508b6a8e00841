import io

import numpy as np
import pytest

from cnncc.abi import Port
from cnncc.cli.run import best, class_lines
from cnncc.ir.types import DType
from tests.cli.conftest import DIGITS, answer

FOLDER = DIGITS.parent
SEVEN, TWO = FOLDER / "seven.png", FOLDER / "two.png"
PAIR = """\
cnncc 1
weights random
input a: 2x2x1
input b: 2x2x1
total = add(a, b)
output sum = total -> relu
output flat = total -> flatten
"""


def test_a_picture(run):
    lines = run("run", DIGITS, "-i", SEVEN, "--top", "2").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].split()[0] == "7"


def test_several_pictures(run):
    lines = run("run", DIGITS, "-i", SEVEN, "-i", TWO, "--top", "1", "--threads", "2").stdout
    assert [line.split()[0] for line in lines.splitlines()] == [str(SEVEN), "7", str(TWO), "2"]


def test_json(run):
    made = answer(run("run", DIGITS, "-i", SEVEN, "-i", TWO, "--json"), "cnncc.answers/1")
    first, second = made["samples"]
    assert (first["input"], second["input"]) == (str(SEVEN), str(TWO))
    assert [s["outputs"][0]["top"][0]["label"] for s in made["samples"]] == ["7", "2"]
    assert len(first["outputs"][0]["top"]) == 5


def test_a_file_with_the_answer(run, tmp_path):
    result = run("run", DIGITS, "-i", SEVEN, "-o", tmp_path / "y.npy")
    assert result.stdout == ""
    assert "wrote" in result.stderr
    scores = np.load(tmp_path / "y.npy")
    assert scores.shape == (1, 10)
    assert int(scores.argmax()) == 7


def test_stdin_and_stdout(run):
    result = run("run", DIGITS, "-i", "-", "-o", "-", stdin=TWO.read_bytes())
    assert int(np.load(io.BytesIO(result.stdout_bytes)).argmax()) == 2
    both = run("run", "-", "-i", "-", stdin=b"", code=2)
    assert "stdin can be read only once" in both.stderr


def test_targets_agree(run, tmp_path):
    for cpu in ("native", "nehalem"):
        run("run", DIGITS, "-i", SEVEN, "-o", tmp_path / f"{cpu}.npy", "--mcpu", cpu)
    made = [np.load(tmp_path / f"{cpu}.npy") for cpu in ("native", "nehalem")]
    np.testing.assert_allclose(*made, atol=1e-5)


def test_several_inputs_and_outputs(run, tmp_path):
    (tmp_path / "pair.cnn").write_text(PAIR)
    np.save(tmp_path / "a.npy", np.full((2, 2, 1), 3, np.float32))
    np.save(tmp_path / "b.npy", np.full((2, 2, 1), -4, np.float32))
    feeds = ("-i", f"a={tmp_path}/a.npy", "-i", f"b={tmp_path}/b.npy")
    shown = run("run", tmp_path / "pair.cnn", *feeds).stdout
    assert "sum:\n  f32[2, 2, 1]: from 0 to 0, mean 0" in shown
    assert "flat:\n  0" in shown
    read = answer(run("run", tmp_path / "pair.cnn", *feeds, "--json"), "cnncc.answers/1")
    assert read["samples"][0]["input"] == f"{tmp_path}/a.npy, {tmp_path}/b.npy"
    run("run", tmp_path / "pair.cnn", *feeds, "-o", f"flat={tmp_path}/y.npy")
    assert np.array_equal(np.load(tmp_path / "y.npy"), np.full((1, 4), -1, np.float32))
    assert "-i b=FILE" in run("run", tmp_path / "pair.cnn", *feeds[:2], code=2).stderr
    assert "say which" in run("run", tmp_path / "pair.cnn", "-i", "a.npy", code=2).stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-i", "none.png"], 1, "none.png: cannot be read: No such file or directory"),
        (["-i", DIGITS], 1, "can be read neither as a picture nor as .npy"),
        (["-i", SEVEN, "-o", "y.txt"], 2, "`y.txt` must end in .npy"),
        (["-i", SEVEN, "-o", "/nowhere/y.npy"], 1, "cannot write /nowhere/y.npy"),
        (
            ["-i", SEVEN, "--weights", "none.npz"],
            1,
            "error[E0505]: weight file `none.npz` was not found",
        ),
        (["-i", SEVEN, "--target", "z80"], 2, "no target is called `z80`"),
        (["-i", SEVEN, "--target", "aarch64"], 1, "this machine cannot run code made for"),
        (["-i", SEVEN, "-D", "width=2"], 1, "the file has no such param"),
        ([], 2, "input `digit` is missing: -i digit=FILE"),
    ],
)
def test_mistakes(run, words, code, message):
    result = run("run", DIGITS, *words, code=code)
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_weights(run, tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    path.write_bytes((FOLDER / "digits.safetensors").read_bytes()[:keep])
    assert "error[E0505]" in run("run", DIGITS, "-i", SEVEN, "--weights", path, code=1).stderr


def test_an_unusable_cache_costs_nothing_but_time(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert run("run", DIGITS, "-i", SEVEN, "--top", "1").stdout.split()[0] == "7"


PORT = Port("y", DType.F32, (4,), labels=("a", "b", "c", "d"), top=2)


def test_best():
    scores = np.array([0.1, np.nan, 0.7, 0.7], np.float32)
    assert [row["label"] for row in best(PORT, scores, None)] == ["c", "d"]
    assert [row["index"] for row in best(PORT, scores, 9)] == [2, 3, 0, 1]
    assert best(Port("y", DType.F32, (4,)), scores, 1)[0]["label"] == "2"


def test_lines_show_shares_or_numbers():
    shares = np.array([0.5, 0.25, 0.25, 0], np.float32)
    assert class_lines(PORT, shares, 1) == ["  a   50.00%  " + "█" * 12]
    assert class_lines(PORT, shares * 4, 1) == ["  a             2"]
