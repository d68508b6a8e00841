"""Objects in executable memory: linking, addresses, and unloading with the last reference."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import llvmlite.binding as llvm  # noqa: TID251 - this room is its place

from cnncc.errors import EmitError
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
    return llvm.create_lljit_compiler()


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
    builder = llvm.JITLibraryBuilder()
    for image in objects:
        builder.add_object_img(image)
    builder.add_current_process()
    for name in wanted:
        builder.export_symbol(name)
    with _linking:
        try:
            tracker = builder.link(_engine(), f"cnncc{next(_names)}")
        except RuntimeError as error:
            raise EmitError(f"the compiled objects do not link: {error}") from error
    return Library(tracker, wanted)
