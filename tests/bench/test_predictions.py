from __future__ import annotations

import json

import pytest

from cnncc.bench import machine
from cnncc.bench.layers import Profile
from cnncc.bench.predictions import by_kernel, judged, main, page, summary
from tests.bench.test_latency import TEXT
from tests.bench.test_layers import layer


def test_stages_shorter_than_the_clock_can_tell_do_not_count():
    assert judged([layer(seconds=1e-6), layer(seconds=1e-3)]) == [layer(seconds=1e-3)]
    made = summary("net", Profile((layer(seconds=1e-6), layer(predicted=1.2)), 1.0))
    assert (made["stages"], made["median_error"]) == (2, pytest.approx(0.2))
    assert summary("tiny", Profile((layer(seconds=1e-6),), 1.0))["median_error"] is None


def test_kernels_by_their_share_of_the_time():
    rows = by_kernel([layer(predicted=0.9, kernel="a"), layer(3.0, 6.0, kernel="b")])
    assert [row["kernel"] for row in rows] == ["b", "a"]
    assert (rows[0]["bias"], rows[1]["bias"]) == (1.0, pytest.approx(-0.1))


def test_a_page_has_networks_and_the_longest_kernels():
    layers = [layer(predicted=0.9, kernel="a"), layer(3.0, 6.0, kernel="b")]
    rows = [
        summary("net", Profile(tuple(layers), 1.0)),
        summary("none", Profile(tuple(layers), 1.0)),
    ]
    rows[1]["median_error"] = None
    text = page(machine.facts(), rows, layers, 1)
    assert "2 networks, 2 stages: half of the predictions are within 55%." in text
    assert "| net | 2 | 4000.0 | 6900.0 | 55% |" in text
    assert "| none | 2 | 4000.0 | 6900.0 |  |" in text
    assert "| b | 1 | 3000.0 | 100% | +100% |" in text
    assert "| a |" not in text


@pytest.mark.native
def test_a_folder_of_models(tmp_path, capsys):
    (tmp_path / "one.cnn").write_text(TEXT)
    (tmp_path / "two.cnn").write_text("no network")
    main([str(tmp_path), "--seconds", "0", "--json"])
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert [row["network"] for row in answer["networks"]] == ["one"]
    assert "two.cnn" in err
    text = tmp_path / "page.md"
    text.write_text("<!-- made: predictions -->\n<!-- end -->\n")
    main([str(tmp_path), "--seconds", "0", "--write", str(text)])
    assert "| one | " in text.read_text()
    capsys.readouterr()
    main([str(tmp_path / "one.cnn"), "--seconds", "0"])
    assert "predictions are within" in capsys.readouterr().out
