"""What an expression of the language can be, and how values turn into what an argument wants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

from cnncc.ir.types import DType, TensorType

MAX_INT = 2**53


@dataclass(frozen=True, slots=True)
class Size:
    """`3x3`: whole numbers, height first."""

    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """`same`, `u8`: a word that only some arguments accept."""

    text: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """A result: the graph's node and its type."""

    node: int
    type: TensorType


class Unknown:
    """The value of something that failed and has been reported."""


UNKNOWN = Unknown()

Value: TypeAlias = (
    int | float | bool | str | Size | Word | Tensor | TensorType | Unknown | tuple[Any, ...]
)


class Kind(Enum):
    """What an argument wants. The value is how the documents call it."""

    COUNT = "whole number from 1"
    NATURAL = "whole number from 0"
    INT = "whole number"
    NUMBER = "number"
    TRUTH = "true or false"
    TEXT = "text"
    PAIR = "size `AxB`, or one whole number for both"
    EXTRA = "size or whole number, from 0"
    PADS = "whole number, size `AxB`, or `[top, left, bottom, right]`"
    WORD = "word"
    NUMBERS = "list of numbers"
    TEXTS = "list of texts"
    RENAMES = "list of pairs of texts"
    ANY = "value"

    @property
    def takes_words(self) -> bool:
        """Whether words such as `same` are among its values."""
        return self in (Kind.WORD, Kind.PADS)


class _Missing(Enum):
    REQUIRED = auto()


REQUIRED = _Missing.REQUIRED


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an operation or property of a statement.

    Attributes:
        name: its name.
        kind: what it wants.
        default: its value when it is not written; `REQUIRED`, or None for "see `doc`".
        doc: one line for the documents.
        words: the legal words.
    """

    name: str
    kind: Kind
    default: Any = REQUIRED
    doc: str = ""
    words: tuple[str, ...] = ()


class Unfit(Exception):
    """A value is not what an argument wants: a code of the catalogue, a message, a repair."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help


def show(value: Value | Any) -> str:
    """A value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Size):
        return "x".join(map(str, value.dims))
    if isinstance(value, Word):
        return value.text
    if isinstance(value, tuple):
        shown = [show(item) for item in value[:8]]
        return "[" + ", ".join(shown + ["..."] * (len(value) > 8)) + "]"
    if isinstance(value, Tensor):
        return shape_text(value.type)
    if isinstance(value, TensorType):
        return type_text(value)
    return str(value)


def literal(value: Value | Any) -> str:
    """A value as the language writes it, however long."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    return show(value)


def quote(text: str) -> str:
    """A text between quotes, with escapes where they are needed."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("\t", "\\t").replace("\r", "\\r") + '"'


def describe(value: Value) -> str:
    """A value in the middle of a sentence."""
    names = {bool: "", int: "", float: "", str: "the text ", Size: "the size ", tuple: "the list "}
    if isinstance(value, Tensor):
        return f"a {shape_text(value.type)} tensor"
    if isinstance(value, Word):
        return f"the word `{value.text}`"
    if isinstance(value, TensorType):
        return f"the type {type_text(value)}"
    return f"{names.get(type(value), '')}{show(value)}"


def shape_text(found: TensorType) -> str:
    """A shape as users write it: `56x56x64`, `[1000]` for a vector, else the whole type."""
    if not is_sample(found):
        return type_text(found)
    if found.is_feature_map:
        _, c, h, w = found.shape
        return f"{h}x{w}x{c}"
    return f"[{found.shape[-1]}]"


def type_text(found: TensorType) -> str:
    """A type as the language writes it: `f32[1, 48, 192]`."""
    return f"{found.dtype}[{', '.join(map(str, found.shape))}]"


def is_sample(found: TensorType) -> bool:
    """Whether a value is one feature map [1,C,H,W] or vector [1,K] of f32."""
    return found.dtype is DType.F32 and len(found.shape) in (2, 4) and found.shape[0] == 1


def convert(value: Value, arg: Argument) -> Any:
    """`value` as `arg` wants it: sizes become pairs, whole numbers become fractions where needed.

    Raises:
        Unfit: it is something else; the codes are E0304, E0305 and E0309.
    """
    name = arg.name
    if isinstance(value, Word):
        if not arg.kind.takes_words or value.text not in arg.words:
            raise Unfit("E0305" if arg.words else "E0304", _wrong(value, arg))
        return value.text
    kind = arg.kind
    if kind in (Kind.COUNT, Kind.NATURAL, Kind.INT):
        return whole(value, name, {Kind.COUNT: 1, Kind.NATURAL: 0}.get(kind, -MAX_INT))
    if kind is Kind.NUMBER:
        return number(value, name)
    if kind in (Kind.PAIR, Kind.EXTRA):
        least = 1 if kind is Kind.PAIR else 0
        if isinstance(value, Size) and len(value.dims) == 2:
            return tuple(whole(n, name, least) for n in value.dims)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (whole(value, name, least),) * 2
    if kind is Kind.PADS:
        return _pads(value, arg)
    if kind is Kind.TRUTH and isinstance(value, bool):
        return value
    if kind is Kind.TEXT and isinstance(value, str):
        return value
    if kind is Kind.NUMBERS and isinstance(value, tuple):
        return tuple(number(item, name) for item in value)
    if kind is Kind.NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        return (float(value),)
    if kind is Kind.TEXTS and isinstance(value, tuple) and all(isinstance(v, str) for v in value):
        return value
    if kind is Kind.RENAMES and isinstance(value, tuple) and all(map(_is_pair, value)):
        return value
    if kind is Kind.ANY and not isinstance(value, Tensor):
        return value
    raise Unfit("E0305" if kind is Kind.WORD else "E0304", _wrong(value, arg))


def whole(value: Value, name: str, least: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        help = ""
        if isinstance(value, float):
            help = f"write round({show(value)}), floor(...), or make_divisible(..., 8)"
            if value.is_integer():
                help = "`/` gives a fraction, `//` a whole number; or write round(...)"
        raise Unfit("E0304", f"`{name}` must be a whole number, got {describe(value)}", help)
    if value < least:
        raise Unfit("E0309", f"`{name}` must be at least {least}, got {value}")
    if value >= 2**31:
        raise Unfit("E0309", f"`{name}` must be less than 2^31, got {value}")
    return value


def number(value: Value, name: str) -> float:
    """A finite number as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("E0304", f"`{name}` must be a number, got {describe(value)}")
    if not math.isfinite(value):
        raise Unfit("E0309", f"`{name}` must be finite, got {value}")
    return float(value)


def _pads(value: Value, arg: Argument) -> tuple[int, int, int, int]:
    if isinstance(value, tuple):
        if len(value) != 4:
            raise Unfit("E0304", f"`{arg.name}` takes four numbers, got {len(value)}", _PAD_HELP)
        top, left, bottom, right = (whole(item, arg.name, 0) for item in value)
        return top, left, bottom, right
    if isinstance(value, Size) and len(value.dims) == 2:
        h, w = value.dims
    elif isinstance(value, int | float) and not isinstance(value, bool):
        h = w = whole(value, arg.name, 0)
    else:
        quoted = isinstance(value, str) and value.lower() in arg.words
        help = f"without quotes: {arg.name}={str(value).lower()}" if quoted else _PAD_HELP
        raise Unfit("E0304", _wrong(value, arg), help)
    return h, w, h, w


_PAD_HELP = "pad=1, pad=1x2 (height, width), or pad=[top, left, bottom, right]"


def _is_pair(item: Value) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(v, str) for v in item)


def _wrong(value: Value, arg: Argument) -> str:
    if arg.words and isinstance(value, Word):
        more = ", or a number" if arg.kind is Kind.PADS else ""
        return f"`{arg.name}={value.text}` is not one of {', '.join(arg.words)}{more}"
    if arg.words and arg.kind is Kind.WORD:
        return f"`{arg.name}` must be one of {', '.join(arg.words)}, got {describe(value)}"
    words = f", or {', '.join(arg.words)}" if arg.words else ""
    return f"`{arg.name}` must be a {arg.kind.value}{words}, got {describe(value)}"


def is_number(value: Value) -> bool:
    """Whether a value is a whole number or a fraction."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def listed(items: Sequence[object], limit: int = 8) -> str:
    """`1, 2, 4, ...`."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown + (", ..." if len(items) > limit else "")
