from __future__ import annotations

import pytest

from cnncc.bench import layer_tables
from cnncc.bench.layer_tables import far_table, kernel_table, section
from cnncc.bench.layers import Profile
from cnncc.bench.onnx_peer import onnx_model
from cnncc.spec import load
from tests.bench.test_ablation import TEXT
from tests.bench.test_layers import layer


def test_kernels_with_the_shares_of_their_stages():
    stages = (layer(1e-3, multiply=5e-4), layer(1e-3, multiply=9e-4), layer(3e-3, kernel="b"))
    rows = kernel_table(Profile(stages, 1.0))[2:]
    assert rows[0].startswith("| b | 1 | 3000 | 60.0% | 0%")
    assert rows[1] == "| k | 2 | 2000 | 40.0% | 70% | 70% | 50% |"


def test_stages_alike_share_a_line():
    alike = [layer(1e-4, multiply=4e-5, memory=4e-5), layer(1.1e-4, multiply=4e-5, memory=4e-5)]
    other = layer(1e-4, 5e-5, multiply=4e-5, kernel="z")
    rows = far_table([*alike, other])[2:]
    assert len(rows) == 2
    assert rows[0].startswith("| path and 1 like it | k | 1x1 | 100.0 to 110.0 | 40.0 | 36% to 40%")
    assert "bytes move while nothing is computed" in rows[0]
    assert rows[1].endswith("| not explained |")


def test_a_network_without_far_stages_has_one_table():
    text = section("net", Profile((layer(1e-3, multiply=9e-4),), 1.0))
    assert "Their bounds add up to 0.90 ms, 90%. 0 stages" in text
    assert text.count("|---|") == 1


@pytest.mark.native
def test_a_page_is_made(tmp_path, capsys):
    pytest.importorskip("onnx")
    (tmp_path / "net.onnx").write_bytes(onnx_model(load(TEXT, file="t").graph))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- made: layers -->\nold\n<!-- end -->\nafter\n")
    common = [str(tmp_path), "--only", "net,none", "--seconds", "0"]
    assert layer_tables.main([*common, "--write", str(page)]) == 0
    text = page.read_text()
    assert "### net" in text
    assert "old" not in text
    assert text.endswith("after\n")
    assert layer_tables.main(common) == 0
    assert "| kernel | stages |" in capsys.readouterr().out
