"""Objects in executable memory: linking, addresses, and unloading with the last reference."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import llvmlite.binding as llvm  # noqa: TID251 - this room is its place

from cnncc.errors import EmitError
from cnncc.llvm.elf import is_object, symbols
from cnncc.llvm.host import require
from cnncc.llvm.optimize import initialize
from cnncc.targets import Target

_names = itertools.count()
_linking = threading.RLock()


class Library:
    """Loaded code; its memory is freed with the object, so keep it as long as an address is used.

    Attributes:
        addresses: the address of each exported function.
    """

    def __init__(self, tracker: llvm.orcjit.ResourceTracker, exports: Sequence[str]) -> None:
        self._tracker = tracker
        self.addresses: Mapping[str, int] = {name: int(tracker[name]) for name in exports}

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]

    def function(self, name: str, *arguments: type) -> Callable[..., None]:
        """A function without a result, taking the given ctypes; it keeps its library alive."""
        made = ctypes.CFUNCTYPE(None, *arguments)(self.addresses[name])
        made.library = self  # type: ignore[attr-defined]
        return made


@cache
def _engine() -> llvm.LLJIT:
    initialize()
    return llvm.create_lljit_compiler(suppress_errors=True)


def load(objects: Iterable[bytes], exports: Iterable[str], target: Target) -> Library:
    """Link objects with each other and with the C library; thread-safe.

    Args:
        objects: relocatable objects that were made for `target`.
        exports: the functions whose addresses are wanted.
        target: what the code was made for; checked against this machine.

    Raises:
        TargetError: this machine lacks a feature that the code executes.
        EmitError: a symbol is missing or defined twice, or an object is damaged.
    """
    require(target)
    wanted = tuple(dict.fromkeys(exports))
    images = tuple(objects)
    builder = llvm.JITLibraryBuilder()
    for image in images:
        builder.add_object_img(image)
    builder.add_current_process()
    for name in wanted:
        builder.export_symbol(name)
    with _linking:
        try:
            tracker = builder.link(_engine(), f"cnncc{next(_names)}")
        except RuntimeError as error:
            lacks = ", ".join(sorted(_undefined(images))) or "nothing"
            message = f"the compiled objects do not link: {error} (undefined: {lacks})"
            raise EmitError(message) from error
    return Library(tracker, wanted)


def _undefined(images: Sequence[bytes]) -> set[str]:
    """The symbols that neither an object nor this process defines."""
    known = [symbol for image in images if is_object(image) for symbol in symbols(image)]
    defined = {symbol.name for symbol in known if symbol.section}
    unknown = {symbol.name for symbol in known} - defined
    return {name for name in unknown if llvm.address_of_symbol(name) is None}
