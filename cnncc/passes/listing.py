"""Lists of passes as text, for the command line: `infer-types,fuse{max_epilogue=4,pools=false}`.

A pass's options are the fields of its dataclass, so they parse and print by themselves.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from cnncc.errors import InputError
from cnncc.ir.rewrite import Pass
from cnncc.passes import PASSES

_ITEM = re.compile(r"\s*([a-z][a-z0-9-]*)\s*(?:\{([^{}]*)\})?\s*(,|$)")


def parse_passes(
    text: str,
    kinds: Sequence[type[Any]] = PASSES,
    given: Mapping[str, object] | None = None,
) -> tuple[Pass, ...]:
    """The passes that a list names.

    Args:
        text: names with options in braces, joined by commas.
        kinds: the passes that may be named.
        given: values for fields that no text can say, such as the target; a pass that has a field
            of that name gets it.

    Raises:
        InputError: the text is no list, or a pass, option or value is unknown; says what is known.
    """
    known = {kind.name: kind for kind in kinds}
    found: list[Pass] = []
    position = 0
    while position < len(text) or not found:
        match = _ITEM.match(text, position)
        if match is None or (match[3] == "," and match.end() == len(text)):
            raise InputError(
                f"pass list: cannot read {text[position:]!r}",
                hint="write names joined by commas, such as infer-types,fuse{max_epilogue=4}",
            )
        name, options, _ = match.groups()
        if name not in known:
            raise InputError(f"no pass is called `{name}`", hint=_nearest(name, known))
        found.append(_make(known[name], options or "", given or {}))
        position = match.end()
    return tuple(found)


def format_passes(passes: Sequence[Pass]) -> str:
    """The list as text; options that have their default are left out."""
    return ",".join(map(_format, passes))


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(known))}"


def _make(kind: type[Any], options: str, given: Mapping[str, object]) -> Pass:
    hints = typing.get_type_hints(kind)
    names = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    values: dict[str, object] = {key: value for key, value in given.items() if key in names}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        field = key.replace("-", "_")
        if field not in names:
            raise InputError(
                f"pass `{kind.name}` has no option `{key}`", hint=_nearest(field, names)
            )
        if not equals:
            raise InputError(f"pass `{kind.name}`: option `{key}` has no value", hint=f"{key}=...")
        values[field] = _value(f"pass `{kind.name}`, option `{key}`", names[field], value)
    made: Pass = kind(**values)
    return made


def _value(word: str, kind: Any, value: str) -> object:
    if kind is bool:
        if value not in ("true", "false"):
            raise InputError(f"{word}: expected true or false, got {value!r}")
        return value == "true"
    if kind is str:
        return value
    if kind not in (int, float):
        raise InputError(f"{word} cannot be written in a pass list")
    try:
        return kind(value)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise InputError(f"{word}: expected {noun}, got {value!r}") from None


def _format(made: Any) -> str:
    options = [
        f"{field.name}={str(value).lower() if isinstance(value, bool) else value}"
        for field in dataclasses.fields(made)
        if isinstance(value := getattr(made, field.name), bool | int | float | str)
        and value != field.default
    ]
    return f"{made.name}{{{','.join(options)}}}" if options else str(made.name)
