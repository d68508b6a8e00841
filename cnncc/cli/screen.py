"""What is written where: results to stdout, all else to stderr; colour, tables and progress."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click

PATIENCE = 1.0  # seconds before progress is shown
_WIDE = 200  # columns of a table that no terminal cuts
_MARKS = re.compile(r"^(error|warning)(\[\w+\])?:")


def printable(text: str) -> str:
    """Text whose control characters cannot steer a terminal; lines stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\u00b7" for c in text)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the key of its rows, its heading, how its cells look."""

    key: str
    title: str
    right: bool = False
    style: str = ""


class Screen:
    """Both streams of a run.

    Attributes:
        color: `auto`, `always` or `never`.
        verbosity: -1 quiet, 0 usual, 1 and 2 with log messages.
    """

    def __init__(self) -> None:
        self.color = "auto"
        self.verbosity = 0
        self._waiting = False

    def colored(self, stream: TextIO) -> bool:
        """Whether a stream gets colour: by option, else by NO_COLOR, else if it is a terminal."""
        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return stream.isatty()

    # -- results -----------------------------------------------------------------------------------

    def result(self, text: str = "", *, bold: bool = False) -> None:
        """A line of the answer."""
        shown = click.style(printable(text), bold=True) if bold else printable(text)
        click.echo(shown, color=self.colored(sys.stdout))

    def json(self, answer: Any) -> None:
        """The answer as one JSON value; what is no finite number becomes null."""
        text = json.dumps(
            _finite(answer), indent=2, ensure_ascii=False, default=str, allow_nan=False
        )
        click.echo(text)

    def table(
        self, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, totals: int = 0
    ) -> None:
        """Rows as an aligned table; the last `totals` of them stand below a line."""
        from rich.console import Console
        from rich.measure import Measurement
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            justify: Any = "right" if column.right else "left"
            whole = column.right or sys.stdout.isatty() is False
            shown.add_column(
                column.title, justify=justify, style=column.style, no_wrap=whole, overflow="fold"
            )
        body = list(rows)
        for number, row in enumerate(body):
            if totals and number == len(body) - totals:
                shown.add_section()
                shown.add_row(*[Text("-" * len(c.title)) for c in columns])
            shown.add_row(*[Text(printable(cell(row.get(c.key, "")))) for c in columns])
        colored = self.colored(sys.stdout)
        console = Console(
            file=sys.stdout,
            width=None if sys.stdout.isatty() else _WIDE,
            force_terminal=colored or None,
            no_color=not colored,
            color_system="standard" if colored else None,
            highlight=False,
        )
        options = console.options.update_width(_WIDE)
        least = Measurement.get(console, options, shown).minimum
        console.width = max(console.width, least)  # a terminal may wrap a line, nothing is cut
        with console.capture() as taken:
            console.print(shown)
        text = "\n".join(line.rstrip() for line in taken.get().splitlines())
        click.echo(text, color=colored)

    # -- the rest ----------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """A remark, unless quiet."""
        if self.verbosity >= 0:
            self.print_error(text)

    def print_error(self, text: str) -> None:
        """A line on stderr."""
        self._make_room()
        click.echo(printable(text), err=True, color=self.colored(sys.stderr))

    def error(self, text: str) -> None:
        """What went wrong."""
        head, _, rest = f"error: {printable(text)}".partition("\n")
        self._marked([head, *rest.splitlines()], sys.stderr)

    def diagnostics(self, rendered: str, *, as_result: bool = False) -> None:
        """Rendered diagnostics, their headings in colour."""
        self._marked(rendered.rstrip("\n").splitlines(), sys.stdout if as_result else sys.stderr)

    def _make_room(self) -> None:
        """Other words may stand on the line that `Waiting` draws again and again."""
        if self._waiting:
            sys.stderr.write("\r\x1b[K")

    def _marked(self, lines: Sequence[str], stream: TextIO) -> None:
        self._make_room()
        colors = {"error": "red", "warning": "yellow"}
        for line in lines:
            found = _MARKS.match(line)
            head = found[0][:-1] if found else ""
            color = colors[found[1]] if found else None
            shown = click.style(head, fg=color, bold=True) + line[len(head) :] if head else line
            click.echo(shown, file=stream, color=self.colored(stream))

    @contextmanager
    def waiting(self, what: str) -> Iterator[Waiting]:
        """Shows what is being done, and for how long, when it takes longer than a second."""
        shown = Waiting(what, enabled=self.verbosity == 0 and sys.stderr.isatty())
        self._waiting = shown.enabled
        try:
            yield shown
        finally:
            self._waiting = False
            shown.stop()

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """Shows how far something is, on a terminal and only when it takes longer than a second."""
        shown = Progress(what, total, enabled=self.verbosity >= 0 and sys.stderr.isatty())
        try:
            yield shown
        finally:
            shown.clear()


class Progress:
    """One line on stderr that says how far something is."""

    def __init__(self, what: str, total: int, *, enabled: bool) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._enabled = enabled
        self._since = time.monotonic()
        self._shown = False

    def step(self, label: str = "") -> None:
        """One more is done; `label` says which."""
        self._done += 1
        if not self._enabled or time.monotonic() - self._since < PATIENCE:
            return
        width = 20
        full = width * self._done // max(self._total, 1)
        bar = "\u2588" * full + "\u2591" * (width - full)
        line = f"{self._what} {bar} {self._done}/{self._total} {printable(label)}"
        sys.stderr.write("\r\x1b[K" + line[: _terminal_width() - 1])
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


class Waiting:
    """A line on stderr, drawn by a thread of its own, about work that has no known length.

    Attributes:
        step: what is being done at the moment; may be changed at any time.
        enabled: whether it draws at all.
    """

    def __init__(self, what: str, *, enabled: bool) -> None:
        self.step = ""
        self._what = what
        self.enabled = enabled
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True) if enabled else None
        if self._thread is not None:
            self._thread.start()

    def stop(self) -> None:
        """Remove the line; nothing is drawn afterwards."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        since = time.monotonic()
        if self._over.wait(PATIENCE):
            return
        while not self._over.wait(PATIENCE / 10):
            step = f": {printable(self.step)}" if self.step else ""
            line = f"{self._what}{step} ({time.monotonic() - since:.0f} s)"
            sys.stderr.write("\r\x1b[K" + line[: _terminal_width() - 1])
            sys.stderr.flush()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _finite(answer: Any) -> Any:
    """The same value in what JSON knows, which has neither NaN nor infinity."""
    if isinstance(answer, float):
        return answer if math.isfinite(answer) else None
    if isinstance(answer, Mapping):
        return {key: _finite(value) for key, value in answer.items()}
    return [_finite(item) for item in answer] if isinstance(answer, list | tuple) else answer


def cell(value: object) -> str:
    """A value as a table shows it: thousands apart, fractions short, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value))
    return str(value)


def size_text(count: int) -> str:
    """A number of bytes as people read it, such as `44.6 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


_current = Screen()


def screen() -> Screen:
    """The streams of the running command."""
    return _current


def _make_safe(name: str) -> None:
    """A closed stream swallows what is written; one of few characters spells out the others."""
    stream = getattr(sys, name)
    if stream is None:
        setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it stays open
    elif isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
        stream.reconfigure(errors="backslashreplace")


def begin() -> Screen:
    """Start a run with the usual settings."""
    global _current
    for name in ("stdout", "stderr"):
        _make_safe(name)
    _current = Screen()
    return _current


def duration(seconds: float) -> str:
    """A time as people read it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
