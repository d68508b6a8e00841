import pytest

from cnncc.bench.accuracy import Accuracy, main, measure, table
from cnncc.bench.onnx_peer import onnx_model
from cnncc.spec import load
from tests.bench.test_ablation import TEXT

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_errors_beside_onnxruntime(tmp_path, capsys):
    (tmp_path / "net.onnx").write_bytes(onnx_model(load(TEXT, file="t").graph))
    found = measure(tmp_path / "net.onnx", 2)
    assert found.same_bits
    assert len(found.ours) == len(found.theirs) == 2
    assert all(0 < error < 1e-6 for error in (*found.ours, *found.theirs))
    assert main([str(tmp_path), "--only", "net", "--inputs", "1"]) == 0
    assert "| net |" in capsys.readouterr().out


def test_every_output_is_judged(tmp_path):
    first, _, _ = TEXT.partition("conv(")
    text = f"""{first}h = conv(3x3, filters=16, pad=1) -> relu
output y = h -> conv(1x1, filters=4)
output z = h -> conv(1x1, filters=3)
"""
    (tmp_path / "net.onnx").write_bytes(onnx_model(load(text, file="t").graph))
    found = measure(tmp_path / "net.onnx", 3)
    assert found.same_bits
    assert len(found.ours) == len(found.theirs) == 6
    assert len(set(found.ours)) == 6


def test_the_ratio_is_a_geometric_mean():
    row = Accuracy("a", (2e-7, 8e-7), (1e-7, 1e-7), same_bits=False)
    assert row.ratio == pytest.approx(4.0)
    assert "| a | 8.0e-07 | 1.0e-07 | 4.00 | NO |" in table([row])
