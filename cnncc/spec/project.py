"""Files around a spec: its text, used files, label lists. Nothing outside is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from cnncc.spec import suggest
from cnncc.spec.lexer import MAX_BYTES
from cnncc.spec.values import Unfit

RELATIVE = "paths are relative to the file"
_MAX_PATH = 1000
_ROOT_MARKS = (".git", "cnncc.toml")


class Project:
    """The folder that a main file may read from.

    The root is the nearest folder above the file with `.git` or `cnncc.toml`, else its own folder.
    `texts` keeps what was read, for messages that show source lines.
    """

    def __init__(self, file: str, texts: dict[str, str] | None = None) -> None:
        self.main = Path(file).absolute()
        self.root = _root(self.main.parent)
        self.texts = {} if texts is None else texts
        self._lists: dict[Path, tuple[str, ...]] = {}

    def resolve(self, path: str, user: str) -> Path:
        """The file that `path` in the file `user` means.

        Raises:
            Unfit: it is outside of the project.
        """
        if "\0" in path or not 0 < len(path) <= _MAX_PATH:
            raise Unfit("E0208", "this is no path")
        found = (Path(user).absolute().parent / path).resolve()
        if not found.is_relative_to(self.root):
            raise Unfit(
                "E0208",
                f"`{path[:200]}` is outside of the project",
                f"the project is the folder {self.root.name}/; copy the file into it",
            )
        return found

    def read(self, path: Path, code: str) -> str:
        """The text of a file.

        Raises:
            Unfit: with `code`, if it is missing, no text, or too large.
        """
        try:
            if path.is_dir():
                raise Unfit(code, f"`{path.name or path}` is a folder", "name a file in it")
            if not path.is_file():
                raise Unfit(code, f"`{path.name}` was not found", self._nearest(path))
            if path.stat().st_size > MAX_BYTES:
                raise Unfit("E0108", f"`{path.name}` is larger than 16 MiB")
            return path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise Unfit(
                "E0108",
                f"`{path.name}` is no UTF-8 text (byte {wrong.start})",
                "save the file as UTF-8",
            ) from None
        except OSError as wrong:
            raise Unfit(code, f"`{path.name}` cannot be read: {wrong.strerror}") from None

    def _nearest(self, path: Path) -> str:
        """`nearest`, but the main file's path was not written in a file."""
        help = nearest(path)
        return "" if help == RELATIVE and path.absolute() == self.main else help

    def lines(self, path: str, user: str) -> tuple[str, ...]:
        """The lines of a text file that are not empty, as `file("names.txt")` gives them."""
        try:
            found = self.resolve(path, user)
        except Unfit as wrong:
            raise Unfit("E0505", wrong.message, wrong.help) from None
        if found not in self._lists:
            text = self.read(found, "E0505")
            self._lists[found] = tuple(x.strip() for x in text.splitlines() if x.strip())
        return self._lists[found]


def nearest(path: Path, suffixes: Sequence[str] = ()) -> str:
    """A help that names the file (of these kinds) which is spelt most like `path`."""
    try:
        found = (
            entry for entry in path.parent.iterdir() if not suffixes or entry.suffix in suffixes
        )
        names = [entry.name for entry in islice(found, 1000)]
    except OSError:
        return f"the folder `{path.parent.name}` was not found"
    near = suggest.closest(path.name, names, 1)
    return f"did you mean `{near[0]}`?" if near else RELATIVE


def _root(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if any(os.path.exists(candidate / mark) for mark in _ROOT_MARKS):
            return candidate.resolve()
    return folder.resolve()
