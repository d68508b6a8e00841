import pytest

from cnncc.export.archive import archive
from cnncc.llvm.optimize import emit_object
from cnncc.targets import find
from tests.export.programs import compiler, run

TEXT = "define i32 @one() {\n  ret i32 1\n}\ndefine i32 @two() {\n  ret i32 2\n}\n"
HIDDEN = "define internal i32 @secret() {\n  ret i32 3\n}\n"


@pytest.mark.parametrize("name", ["a.o", "fifteen_char.o"])
def test_binutils_agree(tmp_path, name):
    image = emit_object(TEXT + HIDDEN, find("x86-64"))
    (tmp_path / "lib.a").write_bytes(b"".join(archive(name, image)))
    assert run([compiler("ar"), "t", "lib.a"], tmp_path).split() == [name]
    index = run([compiler("nm"), "-s", "lib.a"], tmp_path).split("\n\n")[0]
    assert f"one in {name}" in index
    assert f"two in {name}" in index
    assert "secret" not in index


def test_members_start_at_even_places():
    for text in (TEXT, TEXT.replace("@two", "@twos")):
        image = emit_object(text, find("x86-64"))
        data = b"".join(archive("a.o", image))
        assert len(data) % 2 == 0
        assert data.index(image) % 2 == 0
        assert data[data.index(b"a.o/") :][58:60] == b"`\n"
