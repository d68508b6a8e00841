"""Names for the text of a network: legal, unique, and as near to the given ones as may be."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cnncc.spec.builtins import BUILTINS
from cnncc.spec.evaluate import MAX_LABEL
from cnncc.spec.functions import FUNCTIONS
from cnncc.spec.lexer import RESERVED

_LABEL = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_label(text: str) -> bool:
    """Whether a text can stand behind `as`."""
    return bool(_LABEL.fullmatch(text)) and len(text) <= MAX_LABEL


def is_free_name(text: str) -> bool:
    """Whether a text can be the name of an input, output, result or block."""
    legal = _NAME.fullmatch(text) and len(text) <= MAX_LABEL
    return bool(legal) and text not in RESERVED | BUILTINS.keys() | FUNCTIONS.keys()


def as_label(text: str, otherwise: str) -> str:
    """The label nearest to a text; `otherwise` where nothing of it is left."""
    words = [re.sub(r"[^A-Za-z0-9_]+", "_", word).strip("_") for word in re.split(r"[./:]+", text)]
    return ".".join(word for word in words if word)[: MAX_LABEL - 8].rstrip(".") or otherwise


def as_name(text: str, otherwise: str) -> str:
    """The name nearest to a text; `otherwise` where nothing of it is left."""
    if is_free_name(text):
        return text
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[: MAX_LABEL - 8]
    if name[:1].isdigit():
        name = f"{otherwise}_{name}"
    return name if is_free_name(name) else otherwise


class Names:
    """Names that are in use."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)

    def unique(self, wanted: str) -> str:
        """`wanted`, with a number behind it if it is in use; it is in use now."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}" if wanted[-1:].isdigit() else f"{wanted}{count}"
        self.taken.add(name)
        return name
