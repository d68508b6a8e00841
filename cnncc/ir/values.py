"""Text of attribute and note values: plain data, dataclasses and enums, without a registry.

    value  := none | true | false | number | "string" | f32 ... | [v, ...] | list[v, ...]
            | {key=v, ...} | Name{field=v, ...} | Name.MEMBER
    key    := word | "string" | number

`[...]` is a tuple, `list[...]` a list. A dataclass whose class the reader does not know comes back
as a `Record`, an enum member as a `Symbol`; both print as what they were made from. Any other
object prints as `Opaque{type="..."}`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from cnncc.errors import ArtifactError
from cnncc.ir.types import DType, TensorType

MAX_DEPTH = 100
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<ref>%(?:#[0-9]+|[A-Za-z0-9_.]+|\"(?:[^\"\\]|\\.)*\"))"
    r"|(?P<number>-?(?:inf\b|nan\b|[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?))"
    rf"|(?P<word>{_WORD}(?:\.{_WORD})?)"
    r"|(?P<punct>[\[\]{}(),=:@]))"
)
_DTYPES = {str(d): d for d in DType}
_CONSTANTS = {"none": None, "true": True, "false": False}


@dataclass(frozen=True)
class Record:
    """A dataclass read from text whose class is not known here."""

    name: str
    fields: tuple[tuple[str, Any], ...]


class Symbol(str):
    """An enum member read from text, such as `Layout.NCHW`."""

    __slots__ = ()


def format_value(value: Any) -> str:
    """The text of a value, on one line."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, DType | Symbol):
        return str(value)
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, np.generic):
        return format_value(value.item())
    if isinstance(value, int):
        return repr(value)
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return json.dumps(value)
    return _format_container(value)


def _format_container(value: Any) -> str:
    if isinstance(value, tuple | list):
        prefix = "list" if isinstance(value, list) else ""
        return f"{prefix}[{', '.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        return _format_fields("", value.items())
    if isinstance(value, Record):
        return _format_fields(value.name, value.fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return _format_fields(type(value).__name__, fields)
    return _format_fields("Opaque", [("type", f"{type(value).__module__}.{type(value).__name__}")])


def _format_fields(name: str, fields: Any) -> str:
    inside = ", ".join(f"{format_key(key)}={format_value(value)}" for key, value in fields)
    return f"{name}{{{inside}}}"


def format_key(key: Any) -> str:
    """A key as a word where it is one, else as its value."""
    plain = isinstance(key, str) and re.fullmatch(_WORD, key) and key not in ("inf", "nan")
    return key if plain else format_value(key)


class Token(NamedTuple):
    """One token: its kind (`string ref number word punct end`) and its text."""

    kind: str
    text: str


class Ref(NamedTuple):
    """A node reference: a name, or `#n` for a node without one."""

    named: bool
    text: str

    def __str__(self) -> str:
        return f"%{self.text}"


class Reader:
    """Reads values and the pieces of node lines from one line of text.

    Args:
        text: the line.
        place: file and line for messages.
        records: dataclasses by name that come back as themselves.
    """

    def __init__(self, text: str, place: str, records: Mapping[str, type]) -> None:
        self.place = place
        self.records = records
        self._tokens: list[Token] = []
        self._at = 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"cannot read {text[position:].strip()[:20]!r}")
            kind = match.lastgroup or ""
            self._tokens.append(Token(kind, match[kind]))
            position = match.end()

    def error(self, message: str) -> ArtifactError:
        """An error at this line."""
        return ArtifactError(f"{self.place}: {message}")

    def peek(self) -> Token:
        """The next token, of kind `end` after the last one."""
        return self._tokens[self._at] if self._at < len(self._tokens) else Token("end", "")

    def next(self, kind: str = "", text: str = "") -> Token:
        """Take the next token, which must be of the kind or text given."""
        token = self.peek()
        if (kind and token.kind != kind) or (text and token.text != text):
            raise self.error(f"expected {text or kind}, found {token.text or 'the end'!r}")
        self._at += 1
        return token

    def take(self, text: str) -> bool:
        """Take the next token if it is this one."""
        if self.peek().text != text or self.peek().kind == "string":
            return False
        self._at += 1
        return True

    def string(self) -> str:
        """A quoted string."""
        return str(self._unquote(self.next("string").text))

    def reference(self) -> Ref:
        """A node reference."""
        text = self.next("ref").text[1:]
        if text.startswith("#"):
            return Ref(False, text)
        return Ref(True, str(self._unquote(text)) if text.startswith('"') else text)

    def tensor_type(self) -> TensorType:
        """An element type and a shape, such as `f32[1,3]`."""
        word = self.next("word").text
        if word not in _DTYPES:
            raise self.error(f"`{word}` is no element type")
        shape = self.value(1)
        if not isinstance(shape, tuple) or any(type(n) is not int for n in shape):
            raise self.error(f"{shape!r} is no shape")
        return TensorType(_DTYPES[word], shape)

    def value(self, depth: int = 0) -> Any:
        """A value of the grammar above."""
        if depth > MAX_DEPTH:
            raise self.error(f"values are nested deeper than {MAX_DEPTH}")
        token = self.next()
        if token.kind == "string":
            return self._unquote(token.text)
        if token.kind == "number":
            return self._number(token.text)
        if token.text == "[":
            return tuple(self._items(depth))
        if token.text == "{":
            return dict(self._fields(depth))
        if token.kind == "word":
            return self._named(token.text, depth)
        raise self.error(f"expected a value, found {token.text or 'the end'!r}")

    def _named(self, word: str, depth: int) -> Any:
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        if word in _DTYPES:
            return _DTYPES[word]
        if word == "list" and self.take("["):
            return self._items(depth)
        if self.take("{"):
            return self._record(word, self._fields(depth))
        if "." in word:
            return Symbol(word)
        raise self.error(f"`{word}` is no value")

    def _record(self, name: str, fields: list[tuple[Any, Any]]) -> Any:
        known = self.records.get(name)
        if known is None:
            return Record(name, tuple(fields))
        try:
            return known(**dict(fields))
        except TypeError as error:
            raise self.error(f"`{name}`: {error}") from None

    def _items(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self.take("]"):
            if items:
                self.next(text=",")
            items.append(self.value(depth + 1))
        return items

    def _fields(self, depth: int) -> list[tuple[Any, Any]]:
        fields: list[tuple[Any, Any]] = []
        while not self.take("}"):
            if fields:
                self.next(text=",")
            key = self.key()
            self.next(text="=")
            fields.append((key, self.value(depth + 1)))
        return fields

    def key(self) -> Any:
        """A key: a word, a string or a number."""
        if self.peek().kind == "word":
            return self.next().text
        return self.value()

    def _number(self, text: str) -> int | float:
        if re.fullmatch(r"-?[0-9]{1,4000}", text):
            return int(text)
        return math.nan if text.endswith("nan") else float(text)

    def _unquote(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise self.error(f"{text[:20]} is not a sound string") from None
