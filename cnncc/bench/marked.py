"""Parts of a text between marks, made anew by a command."""

from __future__ import annotations

from pathlib import Path

from cnncc.errors import ArtifactError


def replace_marked(path: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- made: NAME -->` and the next `<!-- end -->` of a Markdown file.

    Raises:
        ArtifactError: the file cannot be read or written, or has no such marks.
    """
    first, last = f"<!-- made: {name} -->", "<!-- end -->"
    try:
        whole = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    head, opened, rest = whole.partition(first)
    _, closed, tail = rest.partition(last)
    if not (opened and closed):
        raise ArtifactError(f"{path} has no marks for `{name}`", hint=f"add {first} and {last}")
    path.write_text(f"{head}{first}\n\n{text.strip()}\n\n{last}{tail}", encoding="utf-8")
