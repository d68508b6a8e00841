import pytest

from cnncc.bench import ablation
from cnncc.bench.onnx_peer import onnx_model
from cnncc.options import SWITCHES
from cnncc.spec import load

pytest.importorskip("onnx")
TEXT = """\
cnncc 1
weights random { seed = 2 }
input x: 16x16x16
conv(3x3, filters=16, pad=1) -> relu -> conv(1x1, filters=4)
output y
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.onnx").write_bytes(onnx_model(load(TEXT, file="t").graph))
    return tmp_path


def test_only_what_changes_the_program_is_timed(folder, monkeypatch):
    timed = []
    real = ablation.interleaved
    monkeypatch.setattr(
        ablation, "interleaved", lambda calls, seconds: timed.append(set(calls)) or real(calls)
    )
    found = ablation.costs(folder / "net.onnx", 0.0)
    assert list(found) == ["everything on", *SWITCHES]
    assert "winograd" in timed[0]
    assert "row-means" not in timed[0]
    assert found["row-means"] == 0.0


def test_a_table_in_a_page(folder, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- made: ablation -->\n<!-- end -->\n")
    words = [str(folder), "--only", "net,none", "--seconds", "0", "--write", str(page)]
    assert ablation.main(words) == 0
    text = page.read_text()
    assert "| net |" in text
    assert all(f"* `{switch}`: " in text for switch in SWITCHES)
