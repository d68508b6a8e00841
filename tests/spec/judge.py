"""The lark grammar as an independent judge of what is a file of the language."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar

from lark import Lark, Token
from lark.exceptions import UnexpectedInput


class InsideBrackets:
    """Drops newlines inside `( )` and `[ ]`."""

    always_accept: ClassVar[tuple[str, ...]] = ("_NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            depth += {"LPAR": 1, "LSQB": 1, "RPAR": -1, "RSQB": -1}.get(token.type, 0)
            if token.type != "_NL" or depth <= 0:
                yield token


@cache
def grammar() -> Lark:
    text = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        text, parser="lalr", strict=True, postlex=InsideBrackets(), maybe_placeholders=False
    )


def accepts(text: str) -> bool:
    """Whether the grammar takes the text."""
    end = " \n" if text.endswith("\r") else "\n"
    try:
        grammar().parse(text.removeprefix("\ufeff") + end)
    except UnexpectedInput:
        return False
    return True
