"""Tensors in other files: what is read is in the model's folder, and what the shape needs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from cnncc.errors import OnnxError
from cnncc.onnx.external import Folder
from cnncc.onnx.problems import Problems

DATA = bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner" / "sub").mkdir(parents=True)
    (tmp_path / "inner" / "w.bin").write_bytes(DATA)
    (tmp_path / "inner" / "sub" / "v.bin").write_bytes(DATA[::-1])
    return tmp_path / "inner"


def read(folder, size=16, *, trust_links=False, most_bytes=2**20, **entries):
    problems = Problems("m")
    with Folder(folder, problems, trust_links=trust_links, most_bytes=most_bytes) as outside:
        found = outside.read(list(entries.items()), size, "w")
    problems.check()
    return found.tobytes()


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ({"location": "w.bin"}, DATA[:16]),
        ({"location": "./w.bin"}, DATA[:16]),
        ({"location": "sub/v.bin"}, DATA[::-1][:16]),
        ({"location": "w.bin", "offset": "32"}, DATA[32:48]),
        ({"location": "w.bin", "offset": "1008", "length": "16"}, DATA[1008:]),
        ({"location": "w.bin", "checksum": hashlib.sha1(DATA).hexdigest()}, DATA[:16]),
    ],
)
def test_what_is_read(folder, entries, wanted):
    assert read(folder, **entries) == wanted


def test_nothing_is_read_for_empty_tensors(folder):
    assert read(folder, 0, location="w.bin", offset="1024") == b""


def test_folder_and_model_may_be_links_themselves(folder, tmp_path):
    (tmp_path / "elsewhere").symlink_to(folder)
    assert read(tmp_path / "elsewhere", location="w.bin") == DATA[:16]


def test_a_file_is_opened_once_and_closed(folder):
    before = len(os.listdir("/proc/self/fd"))
    problems = Problems("m")
    with Folder(folder, problems, trust_links=False, most_bytes=0) as outside:
        for offset in range(100):
            outside.read([("location", "w.bin"), ("offset", str(offset))], 4, "w")
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before
    problems.check()


def test_thousands_of_files_do_not_use_up_the_descriptors(folder):
    before = len(os.listdir("/proc/self/fd"))
    problems = Problems("m")
    with Folder(folder, problems, trust_links=False, most_bytes=0) as outside:
        for n in range(500):
            (folder / f"{n}.bin").write_bytes(bytes(4))
            assert outside.read([("location", f"{n}.bin")], 4, "w") is not None
            assert len(os.listdir("/proc/self/fd")) <= before + 64
    problems.check()


@pytest.mark.parametrize(
    "location",
    ["../x", "/etc/passwd", "nothing", "sub", "w.bin/x", "link", "sublink/v.bin", "hard"],
)
def test_nothing_stays_open_after_a_refusal(folder, location):
    (folder / "link").symlink_to("w.bin")
    (folder / "sublink").symlink_to("sub")
    os.link(folder / "w.bin", folder / "hard")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OnnxError):
        read(folder, location=location)
    assert len(os.listdir("/proc/self/fd")) == before


def test_trusted_links_are_followed_but_paths_still_end_inside(folder, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blob").write_bytes(DATA[::-1])
    (folder / "link").symlink_to(tmp_path / "store" / "blob")
    (folder / "far").symlink_to(tmp_path / "store")
    os.link(tmp_path / "store" / "blob", folder / "hard")
    for location in ("link", "far/blob", "hard"):
        assert read(folder, trust_links=True, location=location) == DATA[::-1][:16]
        with pytest.raises(OnnxError, match="trust_links=True"):
            read(folder, location=location)
    with pytest.raises(OnnxError, match="leads out"):
        read(folder, trust_links=True, location="../store/blob")


def test_a_link_that_replaces_a_folder_between_check_and_use_is_not_followed(folder, tmp_path):
    """The folder that was opened is the one that is read from, whatever its name leads to now."""
    problems = Problems("m")
    with Folder(folder, problems, trust_links=False, most_bytes=0) as outside:
        first = outside.read([("location", "w.bin")], 16, "w")
        (folder / "w.bin").unlink()
        (tmp_path / "secret").write_bytes(bytes(1024))
        (folder / "w.bin").symlink_to(tmp_path / "secret")
        again = outside.read([("location", "w.bin")], 16, "w")
    np.testing.assert_array_equal(first, again)


def test_a_file_that_shrinks(folder):
    problems = Problems("m")
    with Folder(folder, problems, trust_links=False, most_bytes=0) as outside:
        assert outside.read([("location", "w.bin")], 16, "w") is not None
        os.truncate(folder / "w.bin", 8)
        assert outside.read([("location", "w.bin")], 16, "w") is None
    with pytest.raises(OnnxError, match="became shorter"):
        problems.check()


def test_a_checksum_of_a_large_file_is_not_computed(folder):
    with pytest.raises(OnnxError, match="too large for a checksum"):
        read(folder, most_bytes=100, location="w.bin", checksum="0" * 40)


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(OnnxError, match="folder cannot be opened"):
        read(Path(tmp_path / "gone"), location="w.bin")
