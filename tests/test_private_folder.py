"""The folder of what was compiled: where it is, and which folders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncc.private_folder import default_folder, is_private, open_folder, write_whole


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CNNCC_CACHE", "CNNCC_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "cnncc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == tmp_path / ".cache" / "cnncc"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "cnncc"
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own"
    monkeypatch.setenv("CNNCC_CACHE", "off")
    assert default_folder() is None
    assert "CNNCC_CACHE" in open_folder(None)


def test_a_folder_is_made_for_the_user_alone(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    assert open_folder(made) == ""
    assert made.stat().st_mode & 0o777 == 0o700
    assert open_folder(made) == ""


def test_other_folders_are_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert "others may write" in open_folder(shared)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert "link" in open_folder(link)
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert open_folder(file)


def test_files_that_others_may_write_are_not_private(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    file.chmod(0o600)
    assert is_private(file.stat())
    file.chmod(0o620)
    assert not is_private(file.stat())


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    write_whole(file, [b"ab", memoryview(b"cd")])
    assert file.read_bytes() == b"abcd"
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(folder, [b"ab"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
