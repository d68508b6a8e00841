"""An image of machine code in memory: copied, its pointers filled in, then protected."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

from cnncc.abi import Image
from cnncc.errors import ArtifactError

_POINTER = struct.Struct("<Q")
_READ, _EXECUTE = 1, 4


class Loaded:
    """An image in memory, which is freed with this object; keep it while an address is in use."""

    def __init__(self, image: Image) -> None:
        """Place an image.

        Raises:
            ArtifactError: the system gives no executable memory, or lacks a C function.
        """
        size = max(len(image.code), 1)
        flags, rights = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._memory = mmap.mmap(-1, size, flags, rights)
        except OSError as error:
            raise ArtifactError(
                f"the system refuses {size} bytes for machine code: {error.strerror or error}"
            ) from error
        self._view = ctypes.c_char.from_buffer(self._memory)
        self._base = ctypes.addressof(self._view)
        self._memory[: len(image.code)] = image.code
        for name, slot in image.imports.items():
            _POINTER.pack_into(self._memory, slot, _c_function(name))
        for slot in image.rebases:
            (offset,) = _POINTER.unpack_from(self._memory, slot)
            _POINTER.pack_into(self._memory, slot, self._base + offset)
        self._protect(0, image.constants, _READ | _EXECUTE)
        self._protect(image.constants, size - image.constants, _READ)
        self._exports = dict(image.exports)

    def __getitem__(self, name: str) -> int:
        """The address of an exported function."""
        return self._base + self._exports[name]

    def __contains__(self, name: str) -> bool:
        return name in self._exports

    def _protect(self, offset: int, size: int, rights: int) -> None:
        if size <= 0:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if libc.mprotect(self._base + offset, size, rights) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise ArtifactError(
                f"the system refuses memory for machine code: {reason}",
                hint="a security policy may forbid it (SELinux `execmem`, for example); "
                "export a shared library and link it with your program instead",
            )


def _c_function(name: str) -> int:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError:
        raise ArtifactError(
            f"the code calls the C function `{name}`, which this system does not have"
        ) from None
    return ctypes.cast(function, ctypes.c_void_p).value or 0
