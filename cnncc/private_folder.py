"""The folder of what was compiled: it will be executed, so it must belong to the user alone."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # pipes do not block
UNFINISHED = ".new-"  # how names of files begin that are being written


def default_folder() -> Path | None:
    """Where the environment wants the cache; None when it is switched off.

    `CNNCC_CACHE=off` switches it off, `CNNCC_CACHE_DIR` names the folder; otherwise it lies in the
    user's cache folder.
    """
    if os.environ.get("CNNCC_CACHE", "").lower() in ("off", "0", "no", "false"):
        return None
    if chosen := os.environ.get("CNNCC_CACHE_DIR"):
        return Path(chosen)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(shared) if os.path.isabs(shared) else Path(os.path.expanduser("~/.cache"))
    return base / "cnncc"


def open_folder(folder: Path | None) -> str:
    """Make or inspect the folder; gives what is wrong with it, an empty string when nothing is."""
    if folder is None:
        return "switched off by CNNCC_CACHE"
    if os.geteuid() != os.getuid():
        return "the process runs with another user's rights"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        return f"cannot open {folder}: {error.strerror or error}"
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        return f"{folder} is a link or no folder"
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if found.st_mode & 0o022:
        return f"others may write to {folder}"
    return ""


def is_private(found: os.stat_result) -> bool:
    """Whether nobody else can have written a file."""
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def write_whole(path: Path, chunks: Sequence[bytes | bytearray | memoryview]) -> None:
    """Write a file whole or not at all.

    It is not synchronised: digests find what a crash left.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    try:
        try:
            for chunk in chunks:
                view = memoryview(chunk).cast("B")
                while view:
                    view = view[os.write(handle, view) :]
        finally:
            os.close(handle)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
