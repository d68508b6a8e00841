"""Diagnostics as text with source lines and carets, in the manner of rustc, and as JSON objects."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnncc.errors import Diagnostic, Span
from cnncc.spec.lexer import MAX_BYTES

_MAX_SHOWN = 140


class Sources:
    """Lines of files by name: those handed over, the others from the disk."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self._texts = dict(texts or {})
        self._lines: dict[str, list[str]] = {}

    def line(self, file: str, number: int) -> str | None:
        """A line without its end, or None if the file has no such line."""
        if file not in self._lines:
            self._lines[file] = self._read(file).split("\n")
        lines = self._lines[file]
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else None

    def _read(self, file: str) -> str:
        if file in self._texts:
            return self._texts[file]
        path = Path(file)
        try:
            if path.is_file() and path.stat().st_size <= MAX_BYTES:
                return path.read_bytes().decode("utf-8", "replace")
        except (OSError, ValueError):
            pass
        return ""


def render_text(
    diagnostics: Sequence[Diagnostic], texts: Mapping[str, str] | None = None, dropped: int = 0
) -> str:
    """All diagnostics as plain text; `texts` are the sources of files that are not on the disk."""
    sources = Sources(texts)
    parts = [_one(d, sources) for d in diagnostics]
    if dropped:
        parts.append(f"... and {dropped} more errors\n")
    return "\n".join(parts)


def to_json(diagnostic: Diagnostic) -> dict[str, object]:
    """The object of `--message-format json`; places count from 1, 0 if there is none."""
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "file": span.file if span else "",
        "line": span.line if span else 0,
        "column": span.column if span else 0,
        "message": diagnostic.message,
        "help": diagnostic.help,
    }


def _one(diagnostic: Diagnostic, sources: Sources) -> str:
    out = [f"{diagnostic.severity}[{diagnostic.code}]: {clean(diagnostic.message)}"]
    span = diagnostic.span
    width = 1
    if span is not None:
        place = f":{span.line}:{span.column}" if span.line else ""  # a file without lines
        out.append(f"  --> {clean(span.file)}{place}")
        marks = [(span, "^", diagnostic.caption)]
        marks += [(label.span, "-", label.text) for label in diagnostic.labels]
        shown = [m for m in marks if sources.line(m[0].file, m[0].line) is not None]
        width = max((len(str(m[0].line)) for m in shown), default=1)
        out += _excerpt(shown, span, width, sources)
    pad = " " * width
    notes = [f"note: {note}" for note in diagnostic.notes]
    if span is not None:
        notes += _expansions(span)
    if diagnostic.help:
        notes.append(f"help: {diagnostic.help}")
    out += [f"{pad} = {clean(note)}" for note in notes]
    return "\n".join(out) + "\n"


def _expansions(span: Span) -> list[str]:
    """A note for each block call that was being expanded, the innermost first."""
    notes = [
        f"note: while expanding `{frame.text}` at {frame.file}:{frame.line}:{frame.column}"
        for frame in reversed(span.calls)
    ]
    return notes if len(notes) <= 6 else [*notes[:3], f"note: ... {len(notes) - 4} more", notes[-1]]


def _excerpt(
    marks: Sequence[tuple[Span, str, str]], main: Span, width: int, sources: Sources
) -> list[str]:
    out: list[str] = []
    pad = " " * width
    places = sorted({(m[0].file != main.file, m[0].file, m[0].line) for m in marks})
    for _, file, number in places:
        if file != main.file:
            out.append(f"{pad} ::: {clean(file)}")
        line = sources.line(file, number) or ""
        here = [m for m in marks if (m[0].file, m[0].line) == (file, number)]
        start = _window_start(line, here[0][0])
        out.append(f"{number:>{width}} | {clean(line[start : start + _MAX_SHOWN])}".rstrip())
        out += [f"{pad} | {text}" for text in _underline(line, here, start)]
    return out


def _window_start(line: str, span: Span) -> int:
    """Where the shown piece of a very long line begins."""
    return 0 if len(line) <= _MAX_SHOWN else max(0, span.column - 1 - _MAX_SHOWN // 2)


def _underline(line: str, marks: Sequence[tuple[Span, str, str]], start: int) -> list[str]:
    """The carets of one line; the rightmost caption beside them, the others below."""

    def cells(column: int) -> int:
        return _cells(line[start : max(start, min(column - 1, start + _MAX_SHOWN))])

    row: list[str] = []
    anchors: list[tuple[int, str]] = []
    for span, sign, text in sorted(marks, key=lambda m: m[1] == "^"):
        left = cells(span.column)
        right = max(left + 1, cells(span.end_column))
        row += [" "] * (right - len(row))
        row[left:right] = sign * (right - left)
        if text:
            anchors.append((left, clean(text)))
    anchors.sort(reverse=True)
    last_mark = max((cells(span.column) for span, _, _ in marks), default=0)
    beside = anchors.pop(0)[1] if anchors and anchors[0][0] == last_mark else ""
    out = [("".join(row) + " " + beside).rstrip()]
    out += [" " * left + text for left, text in anchors]
    return out


def clean(text: str) -> str:
    """Text that cannot steer a terminal: tabs become blanks, other controls a dot."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\t\n" else "\u00b7" for c in text)


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)
