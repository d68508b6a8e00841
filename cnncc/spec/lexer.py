"""Text to tokens, in one pass over the text and one over the brackets.

Newlines end statements except inside `( )` and `[ ]` and before a leading `->`. A bracket that is
never closed would swallow the rest of the file; the second pass finds it, guesses the line on which
its statement ended, and puts one `BAD` token there, so that the lines after it are still read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from cnncc.spec.diagnostics import Reporter

MAX_BYTES = 16 * 1024 * 1024
MAX_TOKENS = 200_000

RESERVED = frozenset(
    [
        "as",
        "in",
        "if",
        "else",
        "for",
        "repeat",
        "block",
        "let",
        "and",
        "or",
        "not",
        "true",
        "false",
        "model",
        "use",
        "param",
        "input",
        "output",
        "weights",
    ]
)


class Place(NamedTuple):
    """Columns `[column, end)` on a line, counted from 1."""

    line: int
    column: int
    end: int


class Token(NamedTuple):
    """A piece of text.

    `kind` is NAME, WORD (reserved), NUMBER, SIZE, STRING, LABEL, NEWLINE, BAD, END or, for
    punctuation, the characters themselves.
    """

    kind: str
    text: str
    start: int
    at: Place


class Comment(NamedTuple):
    """A `# ...` up to the end of its line; `alone` when nothing stands before it on the line."""

    text: str
    start: int
    line: int
    alone: bool


class Lexed(NamedTuple):
    """All tokens (the last is END) and all comments of a text."""

    tokens: list[Token]
    comments: list[Comment]


_MASTER = re.compile(
    r"""
    (?P<BLANK>[ \t]+)
  | (?P<NEWLINE>\r?\n)
  | (?P<COMMENT>\#[^\n]*)
  | (?P<STRING>"(?:[^"\\\n]|\\.)*")
  | (?P<SIZE>[0-9]+(?:x[0-9]+)+)
  | (?P<NUMBER>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
  | (?P<NAME>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<PUNCT>->|==|!=|<=|>=|//|[-+*/<>=:,.()\[\]{}])
    """,
    re.VERBOSE,
)
_LABEL = re.compile(r"(?:[A-Za-z0-9_]|\{[^{}\n]*\})+(?:\.(?:[A-Za-z0-9_]|\{[^{}\n]*\})+)*")
_QUOTED = re.compile(r"'[^'\n]*'")
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_CONTINUES = frozenset(("(", "[", ",", "->", "=", "+", "-", "*", "/", "//", ":", "."))


def lex(text: str, report: Reporter) -> Lexed:
    """Split `text`; what cannot be read is reported and left out."""
    scanned = _scan(text, report)
    return Lexed(_join_lines(scanned.tokens, report), scanned.comments)


def _scan(text: str, report: Reporter) -> Lexed:
    tokens: list[Token] = []
    comments: list[Comment] = []
    starts = [0] + [m.end() for m in re.finditer("\n", text)]
    pos = 1 if text.startswith("\ufeff") else 0
    line_of = 0
    fresh = True  # nothing but blanks so far on this line
    brackets = 0
    after_as = False  # whether a label comes next
    while pos < len(text):
        while line_of + 1 < len(starts) and starts[line_of + 1] <= pos:
            line_of += 1
        column = pos - starts[line_of] + 1
        label = _LABEL.match(text, pos) if after_as else None
        match = label or _MASTER.match(text, pos)
        if match is None:
            at = Place(line_of + 1, column, column + 1)
            tokens.append(Token("BAD", "", pos, at))
            pos = _skip_strange(text, pos, at, report)
            fresh = False
            continue
        kind = "LABEL" if label else str(match.lastgroup)
        piece = match.group()
        if kind == "COMMENT":
            comments.append(Comment(piece.rstrip(), pos, line_of + 1, fresh))
        elif kind != "BLANK":
            if kind == "PUNCT":
                kind = piece
            elif kind == "NAME" and piece in RESERVED:
                kind = "WORD"
            place = Place(line_of + 1, column, column + max(1, len(piece.rstrip("\r\n"))))
            tokens.append(Token(kind, piece, pos, place))
            fresh = kind == "NEWLINE"
            brackets += (kind in "([") - (kind in ")]")
            after_as = piece == "as" if kind != "NEWLINE" else after_as and brackets > 0
        pos = match.end()
        if len(tokens) > MAX_TOKENS:
            report.error(
                "E0108",
                f"the file has more than {MAX_TOKENS:,} words and signs",
                tokens[-1].at,
                help="a network is described by its structure; weights belong in a `weights` file",
            )
            tokens.clear()
            break
    last = bisect_right(starts, len(text))
    end = Place(last, len(text) - starts[last - 1] + 1, len(text) - starts[last - 1] + 2)
    tokens.append(Token("NEWLINE", "", len(text), end))
    tokens.append(Token("END", "", len(text), end))
    return Lexed(tokens, comments)


def _skip_strange(text: str, pos: int, at: Place, report: Reporter) -> int:
    """Report the character at `pos`, and return where to read on."""
    if text[pos] == '"':
        end = text.find("\n", pos)
        end = len(text) if end < 0 else end
        report.error(
            "E0109",
            'this text has no closing `"`',
            at._replace(end=at.column + min(end - pos, 80)),
            help='texts end on the line on which they begin: "names.txt"',
        )
        return end
    shown = text[pos] if text[pos].isprintable() else f"U+{ord(text[pos]):04X}"
    hints = {
        "'": 'texts are written in double quotes: "names.txt"',
        ";": "a line ends a statement; remove the `;`",
        "%": "write round(0.25 * x), there is no `%`",
        "!": "write `not x`, or `x != y`",
        "&": "write `and`",
        "|": "write `or`",
        "×": "write 3x3 with the letter x",
        "→": "write `->`",
        "\u00a0": "this is no ordinary blank; write one",
    } | dict.fromkeys(
        "\u2018\u2019\u201c\u201d", 'texts are written in straight quotes: "names.txt"'
    )
    other = (
        "names are made of ASCII letters, digits and `_`" if text[pos].isalpha() else "remove it"
    )
    report.error(
        "E0109",
        f"the character `{shown}` has no meaning here",
        at,
        help=hints.get(text[pos], other),
    )
    quoted = _QUOTED.match(text, pos)
    if quoted is not None:
        return quoted.end()
    while pos < len(text) and text[pos] != "\n" and _MASTER.match(text, pos) is None:
        pos += 1
        if text[pos : pos + 1] == '"':
            break
    return pos


def _join_lines(tokens: list[Token], report: Reporter) -> list[Token]:
    """Drop the newlines that end nothing, and replace statements with an unclosed bracket."""
    unclosed = _unclosed(tokens)
    out: list[Token] = []
    depth = 0
    skip_to = -1
    for index, token in enumerate(tokens):
        if index < skip_to:
            continue
        if index in unclosed:
            skip_to = _statement_end(tokens, index)
            _report_unclosed(tokens, index, skip_to, report)
            out.append(Token("BAD", "", token.start, token.at))
            out.extend(t for t in tokens[index + 1 : skip_to] if t.kind in "{}")
            if tokens[skip_to - 1].kind == "NEWLINE":
                out.append(tokens[skip_to - 1])
            depth = 0
            continue
        if token.kind in ("(", "["):
            depth += 1
        elif token.kind in (")", "]"):
            depth = max(0, depth - 1)
        if token.kind == "NEWLINE":
            if depth or (out and out[-1].kind == "NEWLINE"):
                continue
        elif token.kind == "->" and out and out[-1].kind == "NEWLINE":
            out.pop()
        out.append(token)
    return out


def _unclosed(tokens: list[Token]) -> set[int]:
    """Indices of opening brackets that no closing one answers."""
    stack: list[int] = []
    lost: set[int] = set()
    for index, token in enumerate(tokens):
        if token.kind in _CLOSER:
            stack.append(index)
        elif token.kind in (")", "]", "}"):
            while stack and token.kind == "}" and tokens[stack[-1]].kind != "{":
                lost.add(stack.pop())
            if stack and _CLOSER[tokens[stack[-1]].kind] == token.kind:
                stack.pop()
            elif len(stack) > 1 and _CLOSER[tokens[stack[-2]].kind] == token.kind != "}":
                lost.add(stack.pop())
                stack.pop()
    lost.update(stack)
    return lost


def _statement_end(tokens: list[Token], opened: int) -> int:
    """Index of the first token of the line that seems to start the next statement."""
    if tokens[opened].kind == "{":
        return opened + 1
    for index in range(opened + 1, len(tokens) - 1):
        if tokens[index].kind == "}":
            return index
        if tokens[index].kind != "NEWLINE" or tokens[index - 1].kind in _CONTINUES:
            continue
        first = tokens[index + 1]
        if first.kind in ("NAME", "WORD", "}", "END"):
            return index + 1
    return len(tokens) - 1


def _report_unclosed(tokens: list[Token], opened: int, end: int, report: Reporter) -> None:
    token = tokens[opened]
    following = tokens[end]
    for other in tokens[opened : max(end, opened + 200)]:
        if other.kind == "BAD" and other.at.line == token.at.line:
            return  # the closing bracket was in the part that could not be read
    where = (
        "the file ends before it is closed"
        if following.kind == "END"
        else f"the next statement seems to start on line {following.at.line}"
    )
    if following.at.line == token.at.line:
        where = f"its statement ends before the `{following.text}`"
    if token.kind == "{":
        where = f"every `{{` needs its `}}`; this one opens on line {token.at.line}"
    report.error(
        "E0103",
        f"`{token.kind}` is never closed",
        token.at,
        help=f"{where}: add `{_CLOSER[token.kind]}`",
    )
