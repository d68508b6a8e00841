"""The formatter: one look for all files, nothing said differently, no comment lost.

It works on tokens, so that what it prints reads as the same tokens: two blanks a brace, at most 100
columns, one blank line at most. A statement that fits is put on one line; a longer one keeps the
breaks that its author chose before `->` and after commas, and gets more where a line is too long.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from cnncc.spec.lexer import Comment, Lexed, Token
from cnncc.spec.spacing import blank_between, spaced_equals

WIDTH = 100
_INDENT = "  "
_CONTINUE = 4
_MAX_GAP = 40
_PROPS = ("model", "input", "output", "weights")


@dataclass(slots=True)
class Line:
    """A logical line: its tokens, the comments between them by token index, the one behind."""

    tokens: list[Token]
    inside: dict[int, list[Comment]] = field(default_factory=dict)
    behind: Comment | None = None

    @property
    def first_row(self) -> int:
        """The source line on which it begins."""
        return self.tokens[0].at.line

    @property
    def last_row(self) -> int:
        """The source line on which it ends."""
        return self.tokens[-1].at.line


def format_tokens(lexed: Lexed, text: str) -> str:
    """The canonical text of a file that has no syntax errors."""
    pieces = _pieces(lexed)
    out: list[str] = []
    depth = 0
    row = 0
    opened = True
    for piece in pieces:
        closing = isinstance(piece, Line) and piece.tokens[0].kind == "}"
        first = piece.first_row if isinstance(piece, Line) else piece.line
        if first > row + 1 and not opened and not closing:
            out.append("")
        if isinstance(piece, Comment):
            out.append(_INDENT * depth + piece.text)
            row, opened = piece.line, False
            continue
        for part in _expanded(piece, depth - closing):
            depth -= part.tokens[0].kind == "}"
            out.extend(_Layout(part, len(_INDENT) * depth, text).rows())
            opens = part.tokens[-1].kind == "{"
            depth += opens
            opened = opens
        row = piece.last_row
    return "\n".join(out) + "\n"


# -- logical lines ---------------------------------------------------------------------------------


def _pieces(lexed: Lexed) -> list[Line | Comment]:
    """Logical lines and the comments that stand between them, in order."""
    lines: list[Line] = []
    current: list[Token] = []
    for token in lexed.tokens:
        if token.kind in ("NEWLINE", "END"):
            if current:
                lines.append(Line(current))
            current = []
        else:
            current.append(token)
    pieces: list[Line | Comment] = []
    index = 0
    starts: list[int] = []
    counted = -1
    for comment in lexed.comments:
        while index < len(lines) and lines[index].tokens[-1].start < comment.start:
            pieces.append(lines[index])
            index += 1
        previous = pieces[-1] if pieces else None
        if isinstance(previous, Line) and comment.line == previous.last_row and not comment.alone:
            previous.behind = comment
        elif index < len(lines) and lines[index].tokens[0].start < comment.start:
            if counted != index:
                starts, counted = [t.start for t in lines[index].tokens], index
            before = bisect_left(starts, comment.start)
            lines[index].inside.setdefault(before - 1, []).append(comment)
        else:
            pieces.append(comment)
    return pieces + lines[index:]


def _expanded(line: Line, depth: int) -> list[Line]:
    """The line, or, if it is too long and has braces, one line for each thing between them."""
    tokens = line.tokens
    if _fits(line, depth) or not any(t.kind == "{" for t in tokens[:-1]):
        return [line]
    as_props = tokens[0].text in _PROPS
    parts: list[Line] = [Line([])]
    level = 0
    drop = -1
    for index, token in enumerate(tokens):
        if index == drop:
            continue
        if token.kind == "}" and parts[-1].tokens:
            parts.append(Line([]))
        parts[-1].tokens.append(token)
        if index in line.inside:
            parts[-1].inside[len(parts[-1].tokens) - 1] = line.inside[index]
        level += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.kind, 0)
        ends = token.kind == "{" and index + 1 < len(tokens)
        if as_props and token.kind == "," and level == 0:
            parts[-1].tokens.pop()
            ends = True
        if ends and parts[-1].tokens:
            parts.append(Line([]))
    parts = [part for part in parts if part.tokens]
    parts[-1].behind = line.behind
    return parts


def _fits(line: Line, depth: int) -> bool:
    if line.inside:
        return False
    room = WIDTH - len(_INDENT) * max(depth, 0)
    length = 0
    equals = spaced_equals(line.tokens)
    for index, token in enumerate(line.tokens):
        length += len(token.text) + blank_between(line.tokens, index, equals)
        if length > room:
            return False
    return True


# -- one logical line ------------------------------------------------------------------------------


class _Layout:
    """Lays the tokens of one logical line on rows."""

    def __init__(self, line: Line, indent: int, text: str) -> None:
        self.line = line
        self.indent = indent
        self.text = text
        self.equals = spaced_equals(line.tokens)
        self.one_row = _fits(line, indent // len(_INDENT))
        self.out: list[str] = []
        self.row = " " * indent
        self.start = 0  # index of the first token of the present row
        self.stack: list[int] = []  # columns behind the open brackets
        self.marks: list[tuple[int, int, list[int]]] = []  # breaks: token, rank, stack there

    def rows(self) -> list[str]:
        """All rows."""
        for index, token in enumerate(self.line.tokens):
            if index and self._must_break(index):
                self._break(index)
            self._put(index, token)
        if self.line.behind is not None:
            self._append_comment(self.line.behind)
        self._flush()
        return self.out

    def _must_break(self, index: int) -> bool:
        """Whether the author broke here, in a statement that does not fit on one row."""
        if self.one_row or index - 1 in self.line.inside:
            return False
        tokens = self.line.tokens
        legal = tokens[index].kind == "->" or (tokens[index - 1].kind == "," and bool(self.stack))
        return legal and tokens[index].at.line > tokens[index - 1].at.line

    def _put(self, index: int, token: Token) -> None:
        tokens = self.line.tokens
        at_start = index == self.start
        gap = 0 if at_start else blank_between(tokens, index, self.equals)
        rank = self._rank(index)
        if rank and not at_start:
            self.marks.append((index, rank, list(self.stack)))
        if len(self.row) + gap + len(token.text) > WIDTH and self.marks and not self.one_row:
            self._break_back(index)
            at_start = index == self.start
            gap = 0 if at_start else blank_between(tokens, index, self.equals)
        self.row += " " * gap + token.text
        if token.kind in ("(", "["):
            self.stack.append(len(self.row))
        elif token.kind in (")", "]") and self.stack:
            self.stack.pop()
        for comment in self.line.inside.get(index, ()):
            self._inner_comment(comment, index + 1)

    def _rank(self, index: int) -> int:
        """How good a break before a token is: 1 is best, 0 is none."""
        tokens = self.line.tokens
        if tokens[index].kind == "->":
            return 1 + 100 * len(self.stack)
        if tokens[index - 1].kind == "," and self.stack:
            return 2 + 100 * (len(self.stack) - 1)
        return 0

    def _break_back(self, index: int) -> None:
        """Break at the best mark of the row, and lay the tokens from there again."""
        best = min(rank for _, rank, _ in self.marks)
        at, _, stack = [mark for mark in self.marks if mark[1] == best][-1]
        tokens = self.line.tokens
        prefix = self._row_of(self.start, at)
        self.row, self.stack = prefix, stack
        self._break(at)
        for again in range(at, index):
            self._put(again, tokens[again])

    def _row_of(self, start: int, end: int) -> str:
        """The present row, cut before token `end`."""
        tokens = self.line.tokens
        length = sum(
            len(tokens[i].text) + (blank_between(tokens, i, self.equals) if i > start else 0)
            for i in range(start, end)
        )
        return self.row[: self._lead() + length]

    def _lead(self) -> int:
        return len(self.row) - len(self.row.lstrip(" "))

    def _break(self, index: int) -> None:
        self._flush()
        self.row = " " * self._column()
        self.start = index
        self.marks = []

    def _column(self) -> int:
        """Where a continuation row begins."""
        if self.stack and self.stack[-1] <= WIDTH * 2 // 3:
            return self.stack[-1]
        return self.indent + _CONTINUE

    def _flush(self) -> None:
        if self.row.strip():
            self.out.append(self.row.rstrip())
        self.row = ""

    def _inner_comment(self, comment: Comment, following: int) -> None:
        if comment.alone:
            self._break(following)
            self.row += comment.text
        else:
            self._append_comment(comment)
        self._break(following)

    def _append_comment(self, comment: Comment) -> None:
        """A comment behind code stays in its column, if that is behind the code and near it."""
        column = comment.start - (self.text.rfind("\n", 0, comment.start) + 1)
        gap = column - len(self.row)
        self.row += " " * (gap if 2 <= gap <= _MAX_GAP else 2) + comment.text


# -- labels ----------------------------------------------------------------------------------------


def with_labels(text: str, lexed: Lexed, labels: dict[tuple[int, int], str]) -> str:
    """`text` with ` as label` behind the calls that begin at the given (line, column)."""
    inserts: list[tuple[int, str]] = []
    tokens = lexed.tokens
    for index, token in enumerate(tokens):
        label = labels.get((token.at.line, token.at.column))
        if label is not None and token.kind == "NAME":
            inserts.append((_call_end(tokens, index), f" as {label}"))
    out: list[str] = []
    position = 0
    for offset, insert in sorted(inserts):
        out += [text[position:offset], insert]
        position = offset
    return "".join(out) + text[position:]


def _call_end(tokens: Sequence[Token], index: int) -> int:
    """The offset behind the call that begins at a token."""
    if tokens[index + 1].kind == ".":
        index += 2
    depth = 0
    while tokens[index + 1].kind == "(" or depth:
        index += 1
        depth += {"(": 1, ")": -1}.get(tokens[index].kind, 0)
        if depth == 0:
            break
    return tokens[index].start + len(tokens[index].text)
