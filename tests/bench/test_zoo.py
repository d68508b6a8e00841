import json

import pytest

from cnncc.bench import zoo
from cnncc.bench.latency import OURS, Result
from cnncc.bench.timing import Timing


def row(name, threads, ours, **others):
    timings = {OURS: Timing((ours / 1e3,)), **{k: Timing((v / 1e3,)) for k, v in others.items()}}
    versions = dict.fromkeys(timings, "1")
    return zoo.entry(name, Result(threads, 1, 2_000_000, timings, 100.0, versions))


ROWS = [
    row("resnet18", 1, 2.0, ncnn=4.0, mnn=5.0, torch=1.0),
    row("lenet5", 1, 1.0, ncnn=1.0),
    row("resnet18", 2, 1.0, ncnn=3.0, mnn=2.5, torch=1.0),
]


def test_the_best_of_the_engines_that_count():
    assert zoo.best_peer(ROWS[0]) == ("ncnn", 2.0)
    assert zoo.best_peer(row("a", 1, 2.0)) is None


def test_tables():
    facts = {"cpu": "c", "cores": 2, "load": 0.0, "governor": None, "cnncc": "0", "llvm": "1"}
    text = zoo.table(ROWS, facts)
    lines = text.splitlines()
    assert "| lenet5 | 2 | 1 | - | 1 | - | 4% | ncnn | 1.00 |" in lines
    assert "| resnet18 | 2 | 1 | 2.5 | 3 | 1 | 2% | mnn | 2.50 |" in lines
    assert "Geometric mean over 2 networks" in text
    assert "**1.41 times**" in text
    assert "| resnet18 | 2.00 | 2.00 | 1.33 | 1.00 |" in lines
    assert "resnet18 (ncnn)" in zoo.chart(ROWS)


def test_what_was_measured_is_kept(tmp_path, monkeypatch):
    asked = []

    def measured(path, threads, *_):
        asked.append((path.stem, threads))
        return row(path.stem, threads, 1.0, ncnn=2.0)

    monkeypatch.setattr(zoo, "measured", measured)
    for name in ("b", "a"):
        (tmp_path / f"{name}.onnx").touch()
    page = tmp_path / "page.md"
    page.write_text("<!-- made: peers -->\n<!-- end -->\n")
    words = [str(tmp_path), "--json", str(tmp_path / "p.json"), "--threads", "1"]
    words += ["--write", str(page), "--picture", str(tmp_path / "p.svg")]
    assert zoo.main([*words, "--only", "a,none"]) == 0
    assert zoo.main([*words, "--only", "a,b"]) == 0
    assert asked == [("a", 1), ("b", 1)]
    assert len(json.loads((tmp_path / "p.json").read_text())["rows"]) == 2
    assert "| b |" in page.read_text()
    assert "(ncnn)" in (tmp_path / "p.svg").read_text()


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_the_order_of_networks(name):
    assert zoo._place({"network": name}) < zoo._place({"network": "another"})


def test_a_folder_without_networks(tmp_path, capsys):
    assert zoo.main([str(tmp_path), "--json", str(tmp_path / "new" / "p.json")]) == 1
    assert "has none of the networks" in capsys.readouterr().err
