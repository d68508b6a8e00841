import errno

from tests.cli.conftest import DIGITS, TINY

UGLY = TINY.replace("conv(3x3, filters=4)", "conv( 3x3,filters = 4 )")


def test_files_are_rewritten(run, tmp_path):
    path = tmp_path / "ugly.cnn"
    path.write_text(UGLY)
    result = run("fmt", path)
    assert (result.stdout, result.stderr) == ("", f"formatted {path}\n")
    assert path.read_text() == TINY
    assert run("fmt", path).stderr == ""


def test_check_writes_nothing(run, tmp_path):
    path = tmp_path / "ugly.cnn"
    path.write_text(UGLY)
    assert run("fmt", "--check", path, DIGITS, code=1).stderr == f"would change {path}\n"
    assert path.read_text() == UGLY
    assert run("fmt", "--check", DIGITS).output == ""


def test_stdin_to_stdout(run):
    assert run("fmt", "-", stdin=UGLY).stdout == TINY


def test_names_are_pinned(run):
    assert "conv(3x3, filters=4) as conv1" in run("fmt", "--pin-names", "-", stdin=TINY).stdout


def test_a_file_with_syntax_errors_stays(run, tmp_path):
    path = tmp_path / "bad.cnn"
    path.write_text("cnncc 1\nconv(\n")
    assert "error[E0103]" in run("fmt", path, code=1).stderr
    assert path.read_text() == "cnncc 1\nconv(\n"


def test_missing_and_binary_files(run, tmp_path):
    assert "No such file" in run("fmt", tmp_path / "none.cnn", code=1).stderr
    (tmp_path / "b.cnn").write_bytes(b"\xff")
    assert "no UTF-8 text" in run("fmt", tmp_path / "b.cnn", code=1).stderr


def test_a_folder_without_rights(run, tmp_path, monkeypatch):
    def refuse(*words):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "ugly.cnn"
    path.write_text(UGLY)
    monkeypatch.setattr("cnncc.runtime.atomic._write", refuse)
    assert f"cannot write {path}: Permission denied" in run("fmt", path, code=1).stderr
    assert path.read_text() == UGLY


def test_a_link_is_left_alone(run, tmp_path):
    (tmp_path / "real.cnn").write_text(UGLY)
    (tmp_path / "link.cnn").symlink_to(tmp_path / "real.cnn")
    assert "is a link" in run("fmt", tmp_path / "link.cnn", code=1).stderr
    assert (tmp_path / "real.cnn").read_text() == UGLY
