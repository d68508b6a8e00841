"""Where the formatter puts a blank between two tokens of a line."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.spec.lexer import Token

_OPERANDS = frozenset(("NAME", "NUMBER", "SIZE", "STRING", "LABEL", ")", "]"))
_SIGNS = ("+", "-")


def blank_between(tokens: Sequence[Token], index: int, equals: Sequence[bool]) -> int:
    """1 if a blank stands before token `index`, else 0; `equals` is from `spaced_equals`."""
    if index == 0:
        return 0
    before, token = tokens[index - 1], tokens[index]
    pair = (before.kind, token.kind)
    if before.kind in ("(", "[", ".") or token.kind in (")", "]", ",", "."):
        return 0
    if pair == ("{", "}"):
        return 0
    if token.kind in ("(", "[") and before.kind == "NAME":
        return 0
    if token.kind == "=":
        return int(equals[index])
    if before.kind == "=":
        return int(equals[index - 1])
    if token.kind == ":":
        return int(_is_annotation(tokens, index))
    if before.kind in _SIGNS and _is_sign(tokens, index - 1):
        return 0
    if token.kind == "/" or before.kind == "/":
        middle = index if token.kind == "/" else index - 1
        around = (tokens[middle - 1].kind, tokens[min(middle + 1, len(tokens) - 1)].kind)
        return int(around != ("NUMBER", "NUMBER"))
    return 1


def spaced_equals(tokens: Sequence[Token]) -> list[bool]:
    """For each `=`, whether blanks stand around it: in statements, and before `a if b else c`."""
    found = [True] * len(tokens)
    depth = 0
    owners: list[tuple[int, int]] = []  # the `=` of the arguments being read, with their depth
    for index, token in enumerate(tokens):
        if token.kind in ("(", "["):
            depth += 1
        elif token.kind in (")", "]"):
            depth -= 1
        while owners and (owners[-1][1] > depth or (owners[-1][1] == depth and token.kind == ",")):
            owners.pop()
        if token.kind == "=" and depth:
            found[index] = False
            owners.append((index, depth))
        spaced = token.kind == "WORD" and token.text in ("if", "and", "or", "not")
        if spaced and owners and owners[-1][1] == depth:
            found[owners[-1][0]] = True
    return found


def _is_sign(tokens: Sequence[Token], index: int) -> bool:
    """Whether a `+` or `-` belongs to the number behind it."""
    if index == 0:
        return True
    before = tokens[index - 1]
    return before.kind not in _OPERANDS and not (
        before.kind == "WORD" and before.text in ("true", "false", "in")
    )


def _is_annotation(tokens: Sequence[Token], index: int) -> bool:
    """Whether a `:` states a result's shape; else it follows a name that is being declared."""
    depth = sum({"(": 1, "[": 1, ")": -1, "]": -1}.get(t.kind, 0) for t in tokens[:index])
    return depth == 0 and tokens[0].text != "input"
