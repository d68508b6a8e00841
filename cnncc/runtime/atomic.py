"""Writing a file so that it is there whole or not at all, and never through a link."""

from __future__ import annotations

import glob
import os
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cnncc.errors import ArtifactError

_STALE_SECONDS = 3600.0
Chunk = bytes | bytearray | memoryview
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC


def write_file(path: Path, chunks: Iterable[Chunk]) -> None:
    """Write `chunks` to a new file that then takes the place of `path`.

    A program that has the old file open or mapped keeps the old contents. Rights are those that the
    process gives to new files.

    Raises:
        ArtifactError: the place is a link or no file, or the system refuses (rights, a full disk).
    """
    if "\0" in str(path):
        raise ArtifactError("the name of a file cannot hold a zero byte")
    try:
        found = os.lstat(path).st_mode
    except OSError:
        found = stat.S_IFREG
    if not stat.S_ISREG(found):
        kind = "a link" if stat.S_ISLNK(found) else "no file"
        raise ArtifactError(f"{path} is {kind} and is left alone", hint="choose another name")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    _sweep(path)
    try:
        try:
            _write(temporary, chunks)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise ArtifactError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check that the folder exists, may be written to and has room",
        ) from error
    with suppress(OSError):  # some file systems cannot synchronise a folder
        _synchronise(path.parent)


def _sweep(path: Path) -> None:
    """Remove what writers of the same file left behind when they were killed, long ago."""
    oldest = time.time() - _STALE_SECONDS
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.new"):
        with suppress(OSError):
            if left.lstat().st_mtime < oldest:
                left.unlink()


def _write(path: Path, chunks: Iterable[Chunk]) -> None:
    handle = os.open(path, _FLAGS, 0o666)
    try:
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while view:
                view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _synchronise(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
