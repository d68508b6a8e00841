import os
import resource
import signal

import pytest

from cnncc.errors import ArtifactError
from cnncc.runtime.atomic import write_file


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with open(path, "rb") as opened:
        write_file(path, [b"new ", memoryview(b"contents")])
        assert opened.read() == b"old"
    assert path.read_bytes() == b"new contents"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_new_files_have_the_usual_rights(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a", [b"x"])
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_links_are_left_alone(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"safe")
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(ArtifactError, match="is a link"):
        write_file(tmp_path / "link", [b"x"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match="is no file"):
        write_file(tmp_path / "folder", [b"x"])
    assert victim.read_bytes() == b"safe"


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(ArtifactError, match="zero byte"):
        write_file(tmp_path / "a\0b", [b"x"])


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="No such file or directory"):
        write_file(tmp_path / "none" / "a", [b"x"])


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ArtifactError, match=r"cannot write .*File too large"):
            write_file(path, [bytes(100_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_killed_writers_left_is_removed_when_it_is_old(tmp_path):
    names = [".a.0123456789abcdef.new", ".a.fedcba9876543210.new", ".b.0123456789abcdef.new"]
    for name in (*names, ".a.notes.new"):
        (tmp_path / name).write_bytes(b"half")
    for name in (names[0], names[2], ".a.notes.new"):
        os.utime(tmp_path / name, (1, 1))
    write_file(tmp_path / "a", [b"x"])
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], ".a.notes.new", "a"])


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def chunks():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", chunks())
    assert os.listdir(tmp_path) == []
