from __future__ import annotations

import json

import pytest

from cnncc.bench.layers import Profile
from cnncc.bench.predictions import by_kernel, judged, main, summary
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


@pytest.mark.native
def test_a_folder_of_models(tmp_path, capsys):
    (tmp_path / "one.cnn").write_text(TEXT)
    (tmp_path / "two.cnn").write_text("no network")
    main([str(tmp_path), "--seconds", "0", "--json"])
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert [row["network"] for row in answer["networks"]] == ["one"]
    assert "two.cnn" in err
    main([str(tmp_path / "one.cnn"), "--seconds", "0"])
    assert "predictions are within" in capsys.readouterr().out
