"""Collects what one run has to say: each place once, at most twenty errors.

The texts behind the codes are data in `catalogue.py`; `explain` finds them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.errors import Diagnostic, Frame, Label, Severity, Span
from cnncc.spec.catalogue import CATALOGUE

MAX_ERRORS = 20


class Reporter:
    """The diagnostics of one run; `file` and `calls` say where the reader stands at the moment."""

    def __init__(self, file: str) -> None:
        self.main = self.file = file
        self.calls: tuple[Frame, ...] = ()
        self.diagnostics: list[Diagnostic] = []
        self.dropped = 0
        self._seen: set[tuple[str, str, int, int]] = set()

    @property
    def failed(self) -> bool:
        """Whether there was an error."""
        return any(d.severity == "error" for d in self.diagnostics)

    @property
    def full(self) -> bool:
        """Whether further errors are only counted, so that help for them would be wasted work."""
        return sum(d.severity == "error" for d in self.diagnostics) >= MAX_ERRORS

    def sorted(self) -> tuple[Diagnostic, ...]:
        """All diagnostics in the order of their places, the main file's first."""

        def key(diagnostic: Diagnostic) -> tuple[bool, str, int, int]:
            span = diagnostic.span
            if span is None:
                return (False, "", 0, 0)
            return (span.file != self.main, span.file, span.line, span.column)

        return tuple(sorted(self.diagnostics, key=key))

    def span(self, at: tuple[int, int, int]) -> Span:
        """The place in the present file, with the calls being expanded."""
        line, column, end = at
        return Span(self.file, line, column, end, self.calls)

    def error(
        self,
        code: str,
        message: str,
        at: tuple[int, int, int] | Span | None,
        *,
        caption: str = "",
        labels: Sequence[Label] = (),
        notes: Sequence[str] = (),
        help: str = "",
    ) -> None:
        """Report an error, once for each place."""
        self._add("error", code, message, at, caption, labels, notes, help)

    def warn(
        self,
        code: str,
        message: str,
        at: tuple[int, int, int] | Span | None,
        *,
        caption: str = "",
        labels: Sequence[Label] = (),
        notes: Sequence[str] = (),
        help: str = "",
    ) -> None:
        """Report a warning, once for each place."""
        self._add("warning", code, message, at, caption, labels, notes, help)

    def _add(
        self,
        severity: Severity,
        code: str,
        message: str,
        at: tuple[int, int, int] | Span | None,
        caption: str,
        labels: Sequence[Label],
        notes: Sequence[str],
        help: str,
    ) -> None:
        span = at if isinstance(at, Span) or at is None else self.span(at)
        key = (code, span.file, span.line, span.column) if span else (code, message, 0, 0)
        if key in self._seen:
            return
        self._seen.add(key)
        if severity == "error" and self.full:
            self.dropped += 1
            return
        self.diagnostics.append(
            Diagnostic(code, severity, message, span, caption, tuple(labels), tuple(notes), help)
        )


def explain(code: str) -> str | None:
    """The long text of a code of the catalogue, such as `E0402`, or None."""
    entry = CATALOGUE.get(code.strip().upper())
    if entry is None:
        return None
    parts = [f"{entry.code}: {entry.title}", entry.text]
    if entry.wrong:
        parts.append("Wrong:\n\n" + _indent(entry.wrong))
    if entry.right:
        parts.append("Right:\n\n" + _indent(entry.right))
    return "\n\n".join(parts) + "\n"


def error_index() -> str:
    """The page `docs/errors.md`: every code with its explanation, as Markdown."""
    lines = [
        "# Error index",
        "",
        "Every message of `cnncc` about a `.cnn` file has a code. `cnncc explain E0402` prints the",
        "entry of this page. Codes are stable: a code is never given a new meaning.",
    ]
    for entry in CATALOGUE.values():
        lines += ["", f"## {entry.code}: {entry.title}", "", entry.text]
        for word, sample in (("Wrong", entry.wrong), ("Right", entry.right)):
            if sample:
                lines += ["", f"{word}:", "", "```cnn", sample, "```"]
    return "\n".join(lines) + "\n"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
