import pytest

from cnncc.bench.marked import replace_marked
from cnncc.errors import ArtifactError

PAGE = "# a\n\n<!-- made: one -->\nold\n<!-- end -->\n\n<!-- made: two -->\nkept\n<!-- end -->\n"


def test_only_the_marked_part_changes(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    replace_marked(path, "one", "new\n")
    assert path.read_text() == PAGE.replace("\nold\n", "\n\nnew\n\n")


def test_a_page_without_the_mark(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    with pytest.raises(ArtifactError, match="no marks for `three`"):
        replace_marked(path, "three", "new")
    with pytest.raises(ArtifactError, match="cannot be read"):
        replace_marked(tmp_path / "none.md", "one", "new")
