"""One line of `.loops` text, read from left to right, with errors that tell the place."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cnncc.errors import CnnccError, Span
from cnncc.loopir.text import INDENT

T = TypeVar("T")
_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][\w$]*(?:\.[\w$]+)*)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<sign>->|\.\.|[()\[\],:=!~?+-]))",
    re.ASCII,
)


class LoopTextError(CnnccError):
    """A `.loops` text that cannot be read; `span` tells the line."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


class Line:
    """One line, read from left to right."""

    def __init__(self, file: str, number: int, text: str) -> None:
        self._file, self._number, self._text = file, number, text
        self.depth, rest = divmod(len(text) - len(text.lstrip(" ")), len(INDENT))
        self._at = 0
        self._tokens = self._split()
        if rest or text.lstrip(" ") != text.lstrip():
            raise self.error(f"bodies are indented by {len(INDENT)} spaces")

    def _split(self) -> list[_Token]:
        tokens, position = [], 0
        text = self._text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                place = position + len(text[position:]) - len(text[position:].lstrip())
                raise self._fault(f"unexpected {text[place]!r}", place, place + 1)
            kind = match.lastgroup or ""
            tokens.append(_Token(kind, match.group(kind), match.start(kind)))
            position = match.end()
        return tokens

    def _fault(self, message: str, start: int, end: int) -> LoopTextError:
        span = Span(self._file, self._number, start + 1, end + 1)
        return LoopTextError(message, span=span)

    def error(self, message: str) -> LoopTextError:
        """A mistake at the last token that was taken."""
        if not self._tokens:
            return self._fault(message, 0, len(self._text))
        token = self._tokens[max(0, min(self._at, len(self._tokens)) - 1)]
        return self._fault(message, token.column, token.column + len(token.text))

    @property
    def rest(self) -> str:
        """What comes next, or an empty text at the end."""
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def second(self) -> str:
        """What comes after the next token."""
        return self._tokens[self._at + 1].text if self._at + 1 < len(self._tokens) else ""

    def take(self, text: str) -> bool:
        """Step over `text`, if it comes next."""
        found = self.rest == text
        self._at += found
        return found

    def want(self, text: str) -> None:
        """Step over `text`, which must come next."""
        if not self.take(text):
            self._at += 1
            raise self.error(f"expected `{text}`")

    def end(self) -> None:
        """The line must end here."""
        if self.rest:
            self._at += 1
            raise self.error("expected the end of the line")

    def word(self, what: str) -> str:
        """A name."""
        return self._kind("name", what)

    def _kind(self, kind: str, what: str) -> str:
        self._at += 1
        if self._at > len(self._tokens) or self._tokens[self._at - 1].kind != kind:
            raise self.error(f"expected {what}")
        return self._tokens[self._at - 1].text

    def at_number(self) -> bool:
        """Whether a number, perhaps with a sign, comes next."""
        return self.rest == "-" or self.rest[:1].isdigit()

    def integer(self, limit: int = 1 << 63) -> int:
        """A whole number below `limit`, and not below `-limit`, with an optional sign."""
        negative = self.take("-")
        digits = self._kind("number", "a whole number")
        if not digits.isdigit() or len(digits) > len(str(limit)):
            raise self.error("expected a whole number of 64 bits")
        number = -int(digits) if negative else int(digits)
        if not -limit <= number < limit:
            raise self.error("expected a whole number of 64 bits")
        return number

    def real(self) -> float:
        """A number, `inf` or `nan`, with an optional sign."""
        negative = self.take("-")
        if self.rest in ("inf", "nan"):
            number = float(self.word("a number"))
        else:
            number = float(self._kind("number", "a number"))
        return -number if negative else number

    def several(self, item: Callable[[], T], close: str) -> list[T]:
        """Items with commas between them, up to `close`."""
        items: list[T] = []
        while not self.take(close):
            if items:
                self.want(",")
            items.append(item())
        return items
