from xml.etree import ElementTree

import pytest

from cnncc.bench.chart import bars, write_bars
from cnncc.errors import ArtifactError


def test_a_bar_for_each_engine():
    drawn = ElementTree.fromstring(bars("a < b", [("cnncc, 1 thread", 2.0), ("other", 4.0)]))
    widths = [float(rect.get("width")) for rect in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths == [pytest.approx(widths[1] / 2), widths[1]]
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["a < b", "cnncc, 1 thread", "2 ms", "other", "4 ms"]


def test_nothing_to_draw():
    ElementTree.fromstring(bars("empty", []))


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_bars(tmp_path / "none" / "c.svg", "t", [])
