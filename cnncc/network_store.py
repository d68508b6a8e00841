"""Whole networks that were compiled before, on disk: opened without the compiler and without LLVM.

An entry is a saved network under a key of everything that its making depended on: the bytes of the
model's file, what was asked for, the processor, the sources of cnncc and the versions of the
libraries that compute. Whatever is not surely the same is compiled anew: models that may lead to
other files, and arrays given from Python, have no key at all. Every trouble costs a compilation and
nothing else, as with the store of kernels (`llvm/cache.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import FileIO
from pathlib import Path
from threading import Thread

import numpy as np

from cnncc.abi import PAGE, aligned
from cnncc.errors import ArtifactError, TargetError
from cnncc.private_folder import READ_FLAGS, default_folder, is_private, open_folder, write_whole
from cnncc.runtime.network import Network

SUFFIX = ".cnncnet"
LIMIT = 2 << 30
_PIECE = 256 << 10
_ELSEWHERE = b"location"  # of a tensor in another file
_MAGIC = b"cnncc-n1"
_HEAD = struct.Struct("<8sQ")  # magic, length of the key
_LIBRARIES = ("numpy", "llvmlite", "networkx", "onnx", "protobuf")
_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_PASSING = ("mhz", "bogomips", "processor", "apicid", "core id", "physical id")
_SWITCHES = ("CNNCC_DUMP", "CNNCC_VERIFY")  # who sets one wants the compiler to run


def key_of(path: Path, wanted: Mapping[str, object]) -> bytes | None:
    """The full key of compiling a model file; None where an old result might be a wrong one.

    Args:
        path: the model.
        wanted: everything else that was asked for, as plain data.
    """
    if path.suffix.lower() != ".onnx" or any(os.environ.get(name) for name in _SWITCHES):
        return None
    digest = _digest(path)
    if digest is None:
        return None
    record = [path.name, digest, dict(wanted), *surroundings()]
    try:
        return json.dumps(record, sort_keys=True).encode()
    except (TypeError, ValueError):  # a target or sizes of one's own
        return None


def _digest(path: Path) -> str | None:
    """The digest of a file of reasonable size that names no other; else the compiler has a look.

    In pieces that stay in the cache: a whole model in fresh memory takes longer than its digest.
    """
    try:
        with os.fdopen(
            os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0
        ) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > LIMIT:
                return None
            return _digest_of(file)
    except (OSError, ValueError):
        return None


def _digest_of(file: FileIO) -> str | None:
    digest = hashlib.sha256()
    piece, kept = bytearray(len(_ELSEWHERE) - 1 + _PIECE), len(_ELSEWHERE) - 1
    view = memoryview(piece)
    while count := file.readinto(view[kept:]):
        digest.update(view[kept : kept + count])
        if piece.find(_ELSEWHERE, 0, kept + count) >= 0:
            return None
        view[:kept] = bytes(view[count : kept + count])  # the word may lie across two pieces
    return digest.hexdigest()


@cache
def surroundings() -> tuple[str, ...]:
    """What compiled code depends on beside the model: this version of everything, and the CPU."""
    return (sources(Path(__file__).parent), sys.version, *_versions(), processor())


def sources(folder: Path) -> str:
    """A digest of all code below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def _versions() -> Iterator[str]:
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is missing"


def processor(cpuinfo: Path = _CPUINFO, caches: Path = _CACHES) -> str:
    """The kernel's description of the first CPU, without what changes while it runs."""
    with suppress(OSError):
        first = cpuinfo.read_text(encoding="ascii", errors="replace").split("\n\n")[0]
        lines = [x for x in first.lower().splitlines() if not any(word in x for word in _PASSING)]
        sizes = [size.read_text() for size in sorted(caches.glob("index*/size"))]
        return "\n".join([platform.machine(), *lines, *sizes])
    return platform.machine()


_writing: list[Thread] = []


def finish_writing() -> None:
    """Wait for entries that are being written."""
    while _writing:
        _writing.pop().join()


class NetworkStore:
    """The folder of compiled networks.

    Attributes:
        reason: why nothing is stored; empty when the store works.
    """

    def __init__(self, folder: Path | None = None, *, limit: int = LIMIT) -> None:
        self._folder = folder if folder is not None else default_folder()
        self._limit = limit
        self.reason = open_folder(self._folder)

    def get(self, key: bytes, threads: int | None) -> Network | None:
        """The network that was stored under a key, or None; a damaged entry is removed."""
        finish_writing()
        if self.reason or self._folder is None:
            return None
        path = self._path(key)
        data = _read(path)
        if data is None:
            return None
        start = _start(data, key)
        with suppress(OSError):
            if start is not None:
                try:
                    found = Network.from_memory(data[start:], threads)
                except (ArtifactError, TargetError):
                    start = None
                else:
                    os.utime(path)
                    return found
            path.unlink()
        return None

    def put(self, key: bytes, network: Network) -> None:
        """Store a network; when that fails, `reason` says why and later calls do nothing."""
        if self.reason or self._folder is None:
            return
        head = _HEAD.pack(_MAGIC, len(key)) + key
        chunks = [head, bytes(-len(head) % PAGE), *network.to_chunks()]
        size = sum(len(chunk) for chunk in chunks)
        if size > self._limit // 2:
            return
        try:
            self._make_room(size)
            write_whole(self._path(key), chunks)
        except OSError as error:
            self.reason = f"cannot write to {self._folder}: {error.strerror or error}"

    def put_beside(self, key: bytes, network: Network) -> None:
        """`put` beside the caller's own work; `get` and the end of the program wait for it."""
        thread = Thread(target=self.put, args=(key, network), name="cnncc store")
        try:
            thread.start()
        except RuntimeError:  # the program is ending
            self.put(key, network)
        else:
            _writing.append(thread)

    def _path(self, key: bytes) -> Path:
        assert self._folder is not None
        return self._folder / (hashlib.sha256(key).hexdigest() + SUFFIX)

    def _make_room(self, size: int) -> None:
        """Remove the entries used longest ago until so many bytes fit."""
        assert self._folder is not None
        entries = []
        for entry in os.scandir(self._folder):
            if entry.name.endswith(SUFFIX):
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    entries.append((found.st_mtime_ns, found.st_size, entry.path))
        total = size + sum(count for _, count, _ in entries)
        for _, count, path in sorted(entries):
            if total <= self._limit:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= count


def _read(path: Path) -> memoryview | None:
    """A private file's bytes in memory of our own, where weights are quicker than in a mapping."""
    try:
        with os.fdopen(os.open(path, READ_FLAGS), "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if not is_private(found):
                return None
            memory = aligned(found.st_size, np.dtype(np.uint8)).data
            filled = 0
            while filled < len(memory):
                count = file.readinto(memory[filled:])
                if not count:
                    return None
                filled += count
            return memory
    except OSError:
        return None


def _start(data: memoryview, key: bytes) -> int | None:
    """Where the saved network begins; None when the entry was stored under another key."""
    if len(data) < _HEAD.size:
        return None
    magic, length = _HEAD.unpack_from(data)
    end = _HEAD.size + len(key)
    if magic != _MAGIC or length != len(key) or data[_HEAD.size : end] != key:
        return None
    return end + -end % PAGE
