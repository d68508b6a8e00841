"""General operators: any operator of the registry as a call, without a row for each.

`reduce(x, kind=mean, axes=[2, 3])` is the registry's operator of that name: results are its
operands, and what has a name is an attribute, as the operator's own dataclass declares it. A number
among the operands is a constant of rank 0. Where the language has an operation of the same name,
`op.` stands in front.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cnncc.ops  # noqa: F401 - registers the operators that are found here
from cnncc.ir.op import Op, registered
from cnncc.ir.types import DType, TensorType
from cnncc.spec.builtins import BUILTINS
from cnncc.spec.values import Unfit, describe, is_number

PREFIX = "op"
CONSTANT = "constant"
# Inputs have a statement of their own; fused and relaid values are made by passes only.
_UNWRITTEN = frozenset({"input", CONSTANT, "fused", "relayout"})
_DTYPES = {str(dtype): dtype for dtype in DType}
_MAX_INT = 2**64


class Missing:
    """The default of an attribute that must be written."""


MISSING = Missing()


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an operator.

    Attributes:
        name: its name.
        hint: its type in Python.
        default: its value when it is not written, or `MISSING`.
    """

    name: str
    hint: Any
    default: Any


def find(name: str) -> type[Op] | None:
    """The general operator of that name."""
    return None if name in _UNWRITTEN else registered().get(name)


def names() -> list[str]:
    """The names of all general operators."""
    return sorted(set(registered()) - _UNWRITTEN)


def title(op: str) -> str:
    """The name by which a general operator is called: with `op.` if an operation has its name."""
    return f"{PREFIX}.{op}" if op in BUILTINS or op == CONSTANT else op


def attributes(op: type[Op]) -> tuple[Attribute, ...]:
    """The attributes of an operator, in the order of its dataclass."""
    return _attributes(op.Attrs)


@cache
def _attributes(declared: type) -> tuple[Attribute, ...]:
    hints = typing.get_type_hints(declared)
    found = []
    for field in dataclasses.fields(declared):
        default = MISSING if field.default is dataclasses.MISSING else field.default
        found.append(Attribute(field.name, hints[field.name], default))
    return tuple(found)


def summary(op: type[Op]) -> str:
    """What an operator computes, in one line."""
    return _first_line(op.__doc__)


def attribute_docs(op: type[Op]) -> dict[str, str]:
    """What the attributes of an operator mean, from the documentation of their dataclass."""
    text = inspect.cleandoc(op.Attrs.__doc__ or "")
    _, _, listed = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    for line in listed.splitlines():
        name, colon, said = line.strip().partition(": ")
        if line.startswith("    ") and not line.startswith("     ") and colon:
            found[name] = said
        elif found:
            last = next(reversed(found))
            found[last] = f"{found[last]} {line.strip()}".strip()
    return found


def _first_line(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n")[0].rstrip(".")


def takes(hint: Any) -> str:
    """What an attribute of a type takes, in words."""
    if hint is type(None):
        return "none"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(takes(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        inner = [choice for choice in typing.get_args(hint) if choice is not Ellipsis]
        items = takes(inner[0]) if inner else "value"
        return f"list of {items}s" if items in ("whole number", "number", "word") else "list"
    words = {bool: "true or false", int: "whole number", float: "number", str: "word"}
    return words.get(hint, "element type" if hint is DType else "value")


def fit(value: Any, attribute: Attribute) -> Any:
    """A value as an attribute wants it: lists become tuples, whole numbers fractions.

    Raises:
        Unfit: it is something else.
    """
    try:
        return _fit(value, attribute.hint)
    except TypeError:
        shown = "none" if value is None else describe(value)
        raise Unfit(
            "E0304", f"`{attribute.name}` must be a {takes(attribute.hint)}, got {shown}"
        ) from None


def _fit(value: Any, hint: Any) -> Any:
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _fit_one_of(value, choices)
    if origin is tuple and isinstance(value, tuple):
        if choices and choices[-1] is Ellipsis:
            return tuple(_fit(item, choices[0]) for item in value)
        if len(choices) == len(value):
            return tuple(map(_fit, value, choices))
    if hint is type(None) and value is None:
        return None
    if hint is DType and isinstance(value, str) and value in _DTYPES:
        return _DTYPES[value]
    if hint is float and is_number(value):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    raise TypeError


def _fit_one_of(value: Any, choices: Sequence[Any]) -> Any:
    """The first choice that takes the value as it is, else the first that takes it at all."""
    for exact in (True, False):
        for choice in choices:
            try:
                found = _fit(value, choice)
            except TypeError:
                continue
            if not exact or type(found) is type(value):
                return found
    raise TypeError


# -- constants -------------------------------------------------------------------------------------


def filled(value: Any, found: TensorType) -> NDArray[Any]:
    """The array of a constant that is written as one number, or as a list in row-major order.

    Raises:
        Unfit: the numbers are too many, too few, or do not fit the element type.
    """
    items = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and len(items) != found.elems:
        raise Unfit("E0304", f"`value` has {len(items)} numbers, the constant {found.elems}")
    for item in items:
        _check_element(item, found.dtype)
    with np.errstate(over="ignore"):
        array = np.array(items, found.dtype.numpy)
    if isinstance(value, tuple):
        return array.reshape(found.shape)
    return np.full(found.shape, array[0])


def _check_element(item: Any, dtype: DType) -> None:
    if dtype is DType.BOOL:
        if not isinstance(item, bool):
            raise Unfit("E0304", f"`value` must be true or false, got {describe(item)}")
    elif dtype.is_float:
        if not is_number(item):
            raise Unfit("E0304", f"`value` must be a number, got {describe(item)}")
    else:
        limits = np.iinfo(dtype.numpy.name)
        if isinstance(item, bool) or not isinstance(item, int):
            raise Unfit("E0304", f"`value` must be a whole number, got {describe(item)}")
        if not limits.min <= item <= limits.max:
            raise Unfit("E0309", f"{item} is no {dtype}")


def scalar_type(types: Sequence[TensorType | None]) -> TensorType | None:
    """The type of the numbers among operands: that of the first one that is not of truth values."""
    known = [found.dtype for found in types if found is not None]
    counted = [dtype for dtype in known if dtype is not DType.BOOL] or known
    return TensorType(counted[0], ()) if counted else None


# -- text ------------------------------------------------------------------------------------------


def text_of(value: Any, taken: Any = ()) -> str:
    """An attribute's value as text; words that are in `taken` stand in quotes.

    Raises:
        TypeError: it is nothing that the language can write.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, DType):
        return str(value)
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, str):
        return _word_text(value, taken)
    if isinstance(value, tuple):
        return "[" + ", ".join(text_of(item, taken) for item in value) + "]"
    raise TypeError(type(value).__name__)


def number_text(value: float) -> str:
    """A fraction, `inf`, `-inf` or `nan`."""
    if math.isnan(value):
        return "nan"
    return repr(float(value))


def array_text(array: NDArray[Any]) -> str:
    """The `value=` of a constant: one number if all are the same, else a list."""
    items = [element_text(item) for item in array.reshape(-1)]
    if len(set(items)) == 1:
        return items[0]
    return "[" + ", ".join(items) + "]"


def element_text(item: Any) -> str:
    """The shortest text of an element that reads back as the same number."""
    if isinstance(item, np.bool_):
        return "true" if item else "false"
    if isinstance(item, np.floating):
        text = str(item)
        return text if "." in text or "e" in text or text in _SPECIAL else f"{text}.0"
    return str(int(item))


_SPECIAL = ("inf", "-inf", "nan")


def _word_text(value: str, taken: Any) -> str:
    from cnncc.spec.lexer import RESERVED
    from cnncc.spec.values import quote

    plain = value.isidentifier() and value.isascii() and value not in RESERVED
    plain = plain and value not in taken and value not in ("inf", "nan", "none")
    return value if plain else quote(value)
