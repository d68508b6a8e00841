"""Tensors in other files: only beside the model, never through links, never past a file's end.

Four CVEs in four years came from here: `../`, links in place of a folder, links in place of the
file, hard links. So a path is opened name by name, from an open folder, refusing links; what is
read is the file that was checked, not one of the same name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cnncc.onnx.problems import Problems, quoted

_KEYS = ("location", "offset", "length", "checksum")
_LONGEST = 4096
_DEEPEST = 32
_MOST_OPEN = 64
_STEP = 2**24
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_BESIDE = "the model keeps weights in a file of their own; put that beside it"
_TRUST = "if you trust where the model comes from, read it with trust_links=True"


class Refusal(Exception):
    """Why a tensor's file is not read."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Folder:
    """The folder of a model, for tensors that lie in files there.

    Args:
        path: the folder; None when the model came as bytes and none was named.
        problems: where to note what is wrong.
        trust_links: whether symbolic and hard links are followed, as stores that deduplicate files
            need it; a link can lead to any file of the user.
        most_bytes: the largest file whose checksum is computed.
    """

    def __init__(
        self, path: Path | None, problems: Problems, *, trust_links: bool, most_bytes: int
    ) -> None:
        self._path = path
        self._problems = problems
        self._trust_links = trust_links
        self._most_bytes = most_bytes
        self._open: dict[tuple[str, ...], tuple[int, int]] = {}
        self._sums: dict[tuple[str, ...], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def read(
        self, entries: Iterable[tuple[str, str]], size: int, where: str
    ) -> NDArray[np.uint8] | None:
        """The bytes of a tensor, or None after noting why not.

        Args:
            entries: keys and values that say where it lies.
            size: bytes that its shape and element type make.
            where: the tensor, for messages.
        """
        try:
            return self._read(list(entries), size)
        except Refusal as refusal:
            self._problems.add(where, refusal.reason, refusal.hint)
            return None

    def _read(self, entries: list[tuple[str, str]], size: int) -> NDArray[np.uint8]:
        given = _keys(entries)
        names = _names(given.get("location", ""))
        offset = _number(given, "offset", 0)
        length = _number(given, "length", size)
        if length != size:
            raise Refusal(f"its length in the other file is {length} bytes, its shape makes {size}")
        descriptor, present = self._descriptor(names)
        if offset + size > present:
            shown = quoted(given["location"])
            raise Refusal(f"bytes {offset} to {offset + size} of {shown}, which has {present}")
        if "checksum" in given:
            self._verify(names, descriptor, present, given["checksum"])
        return _bytes(descriptor, offset, size, quoted(given["location"]))

    def _descriptor(self, names: tuple[str, ...]) -> tuple[int, int]:
        """An open file and its size."""
        found = self._open.get(names)
        if found is None:
            if len(self._open) >= _MOST_OPEN:
                self._close()
            found = self._opened(names)
            self._open[names] = found
        return found

    def _opened(self, names: tuple[str, ...]) -> tuple[int, int]:
        if self._path is None:
            raise Refusal(
                f"it lies in another file, {quoted('/'.join(names))}",
                "a model given as bytes has no folder: name it with external_dir",
            )
        nofollow = 0 if self._trust_links else os.O_NOFOLLOW
        folder = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        # Opening a pipe must not wait for its writer.
        file = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | nofollow
        try:
            current = os.open(self._path, folder)
        except OSError as error:
            raise Refusal(f"the model's folder cannot be opened: {error.strerror}") from error
        try:
            for name in names[:-1]:
                inner = _enter(name, folder | nofollow, current)
                os.close(current)
                current = inner
            descriptor = _enter(names[-1], file, current)
        finally:
            os.close(current)
        return descriptor, self._checked(descriptor, names[-1])

    def _checked(self, descriptor: int, name: str) -> int:
        """The size of an open file that may be read; else it is closed."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Refusal(f"{quoted(name)} is no regular file")
        if status.st_nlink != 1 and not self._trust_links:
            os.close(descriptor)
            raise Refusal(f"{quoted(name)} has {status.st_nlink} names (hard links)", _TRUST)
        return status.st_size

    def _verify(self, names: tuple[str, ...], descriptor: int, size: int, wanted: str) -> None:
        if size > self._most_bytes:
            raise Refusal(f"{quoted('/'.join(names))} has {size} bytes: too large for a checksum")
        if names not in self._sums:
            digest = hashlib.sha1(usedforsecurity=False)
            for offset in range(0, size, _STEP):
                step = min(_STEP, size - offset)
                digest.update(_bytes(descriptor, offset, step, quoted(names[-1])).data)
            self._sums[names] = digest.hexdigest()
        if self._sums[names] != wanted.lower():
            raise Refusal(
                f"{quoted('/'.join(names))} does not have the checksum that the model names",
                "the file is damaged or of another model: fetch both again",
            )

    def _close(self) -> None:
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()


def _keys(entries: list[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key, value in entries:
        if key not in _KEYS:
            raise Refusal(f"its place has a key {quoted(key)}; {', '.join(_KEYS)} are taken")
        if key in given:
            raise Refusal(f"its place says {key} twice")
        if isinstance(value, bytes):
            raise Refusal(f"its {key} is not UTF-8")
        given[key] = value
    return given


def _names(location: str) -> tuple[str, ...]:
    """The names of folders and file on the way, from the model's folder."""
    shown = quoted(location)
    if len(location.encode()) > _LONGEST:
        raise Refusal(f"its place {shown} is too long")
    if any(ord(c) < 0x20 or c in "\\\x7f" for c in location):
        raise Refusal(f"its place {shown} has characters that no path needs")
    if location.startswith("/"):
        raise Refusal(f"its place {shown} is absolute; only files beside the model are read")
    names = tuple(name for name in location.split("/") if name != ".")
    if ".." in names:
        raise Refusal(f"its place {shown} leads out of the model's folder")
    if "" in names or not names:
        raise Refusal(f"its place {shown} names no file")
    if len(names) > _DEEPEST:
        raise Refusal(f"its place {shown} has more than {_DEEPEST} folders")
    return names


def _number(given: dict[str, str], key: str, default: int) -> int:
    text = given.get(key)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise Refusal(f"its {key} {quoted(text)} is no number of bytes")
    return int(text)


def _enter(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        links = (errno.ELOOP, errno.ENOTDIR)
        if error.errno in links and _is_link(name, folder):
            raise Refusal(f"{quoted(name)} is a link, which may lead anywhere", _TRUST) from error
        lost = error.errno == errno.ENOENT
        why = f"{quoted(name)} cannot be opened: {error.strerror}"
        raise Refusal(why, _BESIDE if lost else "") from error


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _bytes(descriptor: int, offset: int, size: int, shown: str) -> NDArray[Any]:
    """Part of an open file."""
    made = np.empty(size, np.uint8)
    view = made.data
    done = 0
    while done < size:
        try:
            count = os.preadv(descriptor, [view[done : done + _STEP]], offset + done)
        except OSError as error:
            raise Refusal(f"{shown} cannot be read: {error.strerror}") from error
        if count == 0:
            raise Refusal(f"{shown} became shorter while it was read")
        done += count
    return made
