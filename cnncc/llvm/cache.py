"""The on-disk store of objects: private to the user, atomic, bounded, and never believed blindly.

An entry is machine code that will be executed, so the folder must belong to this user alone. Every
trouble (a full disk, a read-only home, a damaged entry) costs a compilation and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path

from cnncc.llvm.optimize import LLVM_VERSION
from cnncc.private_folder import (
    READ_FLAGS,
    UNFINISHED,
    default_folder,
    is_private,
    open_folder,
    write_whole,
)
from cnncc.targets import Target

DEFAULT_LIMIT = 512 << 20
_MAGIC = b"cnncc-o1"
_HEAD = struct.Struct("<8sQQ")
_DIGEST = 32
SUFFIX = ".cnnobj"
_STALE_SECONDS = 3600.0


@cache
def emitter_version() -> str:
    """A hash of this package's own sources, so that an edited emitter never finds old objects."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def full_key(text: str, target: Target, options: Mapping[str, str | int | bool]) -> bytes:
    """Everything that an object depends on, as one canonical byte string."""
    code = hashlib.sha256(text.encode()).hexdigest()
    record = [LLVM_VERSION, emitter_version(), _facts(target), dict(options), code]
    return json.dumps(record, sort_keys=True).encode()


def _facts(target: Target) -> tuple[object, ...]:
    """What code depends on; figures of the cost model only choose which code that is."""
    return tuple(getattr(target, f.name) for f in fields(target) if f.name != "machine")


class ObjectCache:
    """A folder of compiled objects.

    Attributes:
        reason: why nothing is cached; empty when the cache works.
    """

    def __init__(self, folder: Path | None = None, *, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._folder = folder if folder is not None else default_folder()
        self._room = 0  # bytes that may be written before the folder is measured again
        self.reason = open_folder(self._folder)

    def get(self, key: bytes) -> bytes | None:
        """The object that was stored under a full key, or None."""
        if self.reason or self._folder is None:
            return None
        path = self._path(key)
        try:
            with os.fdopen(os.open(path, READ_FLAGS), "rb") as file:
                found = os.fstat(file.fileno())
                payload = unpack(file.read(), key) if is_private(found) else None
        except OSError:
            return None
        with suppress(OSError):
            if payload is None:
                path.unlink()
            else:
                os.utime(path)
        return payload

    def put(self, key: bytes, payload: bytes) -> None:
        """Store an object; when that fails, `reason` says why and later calls do nothing."""
        if self.reason or self._folder is None:
            return
        try:
            data = pack(key, payload)
            write_whole(self._path(key), [data])
            self._room -= len(data)
            if self._room < 0:
                self._evict()
        except OSError as error:
            self.reason = f"cannot write to {self._folder}: {error.strerror or error}"

    def _path(self, key: bytes) -> Path:
        assert self._folder is not None
        return self._folder / (hashlib.sha256(key).hexdigest() + SUFFIX)

    def _evict(self) -> None:
        """Remove the entries used longest ago until the folder fits, and what crashes left."""
        assert self._folder is not None
        entries, total = [], 0
        for entry in os.scandir(self._folder):
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if entry.name.endswith(SUFFIX):
                    entries.append((found.st_mtime_ns, found.st_size, entry.path))
                    total += found.st_size
                elif (
                    entry.name.startswith(UNFINISHED)
                    and found.st_mtime < time.time() - _STALE_SECONDS
                ):
                    os.unlink(entry.path)
        for _, size, path in sorted(entries):
            if total <= self._limit:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size
        # Other processes may write too: a part of what is left, then look again.
        self._room = (self._limit - total) // 8


def pack(key: bytes, payload: bytes) -> bytes:
    """An entry's bytes: lengths, the full key, the object, and a digest of all that."""
    data = _HEAD.pack(_MAGIC, len(key), len(payload)) + key + payload
    return data + hashlib.sha256(data).digest()


def unpack(data: bytes, key: bytes) -> bytes | None:
    """The object of an entry; None when it is damaged or was stored under another key."""
    if len(data) < _HEAD.size + _DIGEST:
        return None
    magic, key_length, payload_length = _HEAD.unpack_from(data)
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if magic != _MAGIC or len(body) != _HEAD.size + key_length + payload_length:
        return None
    if hashlib.sha256(body).digest() != digest or body[_HEAD.size :][:key_length] != key:
        return None
    return body[_HEAD.size + key_length :]
