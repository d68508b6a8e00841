"""C identifiers and comments for names that may hold anything."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from cnncc.errors import InputError

_MAX_CHARS = 48
_OTHER = re.compile(r"[^A-Za-z0-9_]+")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
# Separators that people put into names; replacing them loses nothing that matters.
_USUAL = re.compile(r"[A-Za-z0-9_ .\-]+\Z")


def prefix_of(model: str) -> str:
    """What a model's C names begin with: `LeNet-5` becomes `LeNet_5`.

    A name that cannot be kept recognisable ends in a part of its digest, so that two such names
    differ.
    """
    plain = _OTHER.sub("_", model).strip("_")
    if not plain or not plain[0].isalpha():
        plain = f"net_{plain}".rstrip("_")
    if _USUAL.match(model) and len(plain) <= _MAX_CHARS:
        return plain
    digest = hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[:_MAX_CHARS].rstrip('_')}_{digest}"


def checked_prefix(prefix: str) -> str:
    """The prefix itself, when it can begin a C name.

    Raises:
        InputError: it cannot.
    """
    if not _IDENTIFIER.match(prefix) or len(prefix) > 2 * _MAX_CHARS:
        raise InputError(
            f"`{printable(prefix)}` cannot begin a C name",
            hint="use letters, digits and underscores, and a letter first",
        )
    return prefix


def identifiers(names: Iterable[str]) -> list[str]:
    """The part that stands for each name in C names; different for each, also in capitals."""
    taken: set[str] = set()
    found = []
    for number, name in enumerate(names):
        plain = _OTHER.sub("_", name).strip("_")[:_MAX_CHARS] or f"port{number}"
        chosen, count = plain, 1
        while chosen.upper() in taken:
            count += 1
            chosen = f"{plain}_{count}"
        taken.add(chosen.upper())
        found.append(chosen)
    return found


def printable(text: str, limit: int = 60) -> str:
    """A text for C comments: printable ASCII that can end no comment and is no trigraph."""
    shown = "".join(c if " " <= c <= "~" and c not in '*/\\?"' else "_" for c in text)
    return shown if len(shown) <= limit else f"{shown[:limit]}..."


def c_string(text: str) -> str:
    """A C string literal of the text's UTF-8; everything unusual is an octal escape."""
    escaped = "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b" .,-_()" else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "replace")
    )
    return f'"{escaped}"'
