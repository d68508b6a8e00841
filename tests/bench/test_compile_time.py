import json

from cnncc.bench import compile_time
from tests.cli.conftest import DIGITS


def test_the_second_process_finds_the_first_ones_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCC_CACHE", "off")  # the measurement switches it on
    inner, outer = compile_time.compile_seconds(DIGITS, tmp_path / "cache")
    assert 0 < inner < outer
    kept = {p.name for p in (tmp_path / "cache").iterdir()}
    assert len(kept) >= 7
    compile_time.compile_seconds(DIGITS, tmp_path / "cache")
    assert {p.name for p in (tmp_path / "cache").iterdir()} == kept


def test_the_program_prints_and_answers(monkeypatch, capsys):
    monkeypatch.setattr(compile_time, "compile_seconds", lambda model, cache: (0.25, 0.5))
    monkeypatch.setattr(compile_time, "IMPORTS", {"import numpy": ["-c", "pass"]})
    compile_time.main([str(DIGITS), "--rounds", "1", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert [row["cache"] for row in made["compile"]] == ["empty", "filled"]
    assert made["compile"][0]["compile_s"] == 0.25
    assert made["imports"][0]["of_import_numpy"] == 1.0
    compile_time.main([str(DIGITS), "--rounds", "1"])
    assert "of_import_numpy" in capsys.readouterr().out


def test_a_table_of_models():
    rows = [{"model": "a.onnx", "cache": c, "compile_s": 1.5, "process_s": 2.0} for c in "ef"]
    assert compile_time.markdown([rows]).splitlines()[-1] == (
        "| a.onnx | 1.50 | 2.00 | 1.50 | 2.00 |"
    )
