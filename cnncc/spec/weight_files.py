"""Weight files: headers first, data on request; damaged and hostile files give `Damaged` only."""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cnncc.spec.project import nearest

_MAX_NPY_HEADER = 10_000
_MAX_TENSORS = 100_000
_PICKLED = frozenset((".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"))
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_STORES = (".safetensors", ".npz")
_NUMPY_FLOATS = {"float64": "F64", "float32": "F32", "float16": "F16"}


class Damaged(Exception):
    """A weight file cannot be read; the message says why, `help` what to do."""

    def __init__(self, message: str, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.help = help


class Store(Protocol):
    """Arrays by name. `headers` gives the element type (as safetensors names it) and the shape."""

    headers: dict[str, tuple[str, tuple[int, ...]]]

    def read(self, name: str) -> NDArray[Any]:
        """The array of that name."""
        ...


def weights_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A safetensors file of arrays by name."""
    from safetensors.numpy import save

    return save({name: np.array(array, order="C", copy=None) for name, array in arrays.items()})


@contextmanager
def open_store(path: Path | None, arrays: Mapping[str, Any]) -> Iterator[Store]:
    """The arrays of a weight file, or, without a path, the given ones.

    Raises:
        Damaged: the file cannot be read.
    """
    if path is None:
        yield _Arrays(arrays)
        return
    if "\0" in str(path):
        raise Damaged("this is no path to a weight file")
    suffix = path.suffix.lower()
    if suffix in _PICKLED:
        raise Damaged(
            f"`{path.name}` is a pickled file, which can run programs when it is opened",
            "only .safetensors and .npz are read; in PyTorch: "
            'safetensors.torch.save_file(model.state_dict(), "net.safetensors")',
        )
    if suffix not in _STORES:
        raise Damaged(f"`{path.name}` is no weight file", "weights are .safetensors or .npz files")
    try:
        if not path.is_file():
            raise Damaged(f"weight file `{path.name}` was not found", nearest(path, _STORES))
        if suffix == ".npz":
            with _archive(path) as archive:
                yield _Npz(archive, path.name)
        else:
            yield _Safetensors(path)
    except (zipfile.BadZipFile, NotImplementedError, zipfile.LargeZipFile) as wrong:
        raise Damaged(f"`{path.name}` is damaged: {_plain(wrong)}") from None
    except OSError as wrong:
        raise Damaged(f"`{path.name}` cannot be read: {wrong.strerror or _plain(wrong)}") from None


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (ValueError, struct.error) as wrong:  # such as names that are no text
        raise Damaged(f"`{path.name}` is damaged: {_plain(wrong)}") from None


class _Arrays:
    """Arrays that the caller holds."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.headers: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._arrays: dict[str, NDArray[Any]] = {}
        if not isinstance(arrays, Mapping):
            raise Damaged(f"weights are a path or arrays by name, not a `{type(arrays).__name__}`")
        for name, value in arrays.items():
            if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
                raise Damaged(f"`{str(name)[:80]}` has masked values", "fill them: a.filled(0)")
            try:
                array = np.asarray(value)
            except (TypeError, ValueError) as wrong:
                raise Damaged(f"`{str(name)[:80]}` is no array: {_plain(wrong)}") from None
            dtype = _NUMPY_FLOATS.get(array.dtype.name, array.dtype.name)
            self.headers[str(name)] = (dtype, array.shape)
            self._arrays[str(name)] = array

    def read(self, name: str) -> NDArray[Any]:
        return self._arrays[name]


class _Safetensors:
    """A safetensors file, mapped; the library checks its header against its size."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self._path = path
        self._error = SafetensorError
        self.headers: dict[str, tuple[str, tuple[int, ...]]] = {}
        try:
            opener: Any = safe_open
            self._file = opener(str(path), framework="np")
            keys = list(self._file.keys())
            if len(keys) > _MAX_TENSORS:
                raise Damaged(f"`{path.name}` has {len(keys):,} tensors")
            for name in keys:
                view = self._file.get_slice(name)
                self.headers[name] = (str(view.get_dtype()), tuple(view.get_shape()))
        except (SafetensorError, ValueError, OverflowError) as wrong:
            raise Damaged(f"`{path.name}` is damaged: {_plain(wrong)}") from None

    def read(self, name: str) -> NDArray[Any]:
        try:
            if self.headers[name][0] == "BF16":
                return self._bfloat16(name)
            return np.asarray(self._file.get_tensor(name))
        except (self._error, ValueError, TypeError) as wrong:
            raise Damaged(f"`{name[:80]}` in `{self._path.name}`: {_plain(wrong)}") from None

    def _bfloat16(self, name: str) -> NDArray[Any]:
        """bfloat16 is the upper half of a float32; NumPy has no type for it."""
        with self._path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            begin, end = json.loads(file.read(length))[name]["data_offsets"]
            file.seek(8 + length + begin)
            raw = np.frombuffer(file.read(end - begin), "<u2")
        return (raw.astype(np.uint32) << 16).view(np.float32).reshape(self.headers[name][1])


class _Npz:
    """An npz archive: the header of each member is checked against the member's size."""

    def __init__(self, archive: zipfile.ZipFile, title: str) -> None:
        self._archive = archive
        self._title = title
        self.headers: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._members: dict[str, tuple[zipfile.ZipInfo, NpyHeader]] = {}
        members = archive.infolist()
        if len(members) > _MAX_TENSORS:
            raise Damaged(f"`{title}` has {len(members):,} members")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in self.headers:
                raise Damaged(f"`{title}` has two members `{member.filename[:80]}`")
            if name != member.filename:
                header = self._header(member)
                self._members[name] = member, header
                dtype = header.dtype.name
                self.headers[name] = _NUMPY_FLOATS.get(dtype, dtype), header.shape

    def _header(self, member: zipfile.ZipInfo) -> NpyHeader:
        with self._reading(member):
            if member.compress_type not in _COMPRESSIONS:
                raise ValueError("it is compressed in a way that NumPy does not write")
            with self._archive.open(member) as stream:
                header = npy_header(stream)
        promised = math.prod(header.shape) * header.dtype.itemsize
        if promised != member.file_size - header.start:
            raise Damaged(
                f"`{member.filename[:80]}` in `{self._title}` has {member.file_size} bytes, "
                f"its header promises {'x'.join(map(str, header.shape))} of {header.dtype}"
            )
        return header

    def read(self, name: str) -> NDArray[Any]:
        member, header = self._members[name]
        with self._reading(member), self._archive.open(member) as stream:
            data = stream.read()[header.start :]
            found: NDArray[Any] = np.frombuffer(data, header.dtype)
            return found.reshape(header.shape, order="F" if header.fortran else "C")

    @contextmanager
    def _reading(self, member: zipfile.ZipInfo) -> Iterator[None]:
        """Turns what a damaged member provokes into `Damaged`."""
        try:
            yield
        except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as wrong:
            raise Damaged(
                f"`{member.filename[:80]}` in `{self._title}` is damaged: {_plain(wrong)}",
                "weights are plain arrays of numbers, as numpy.savez writes them",
            ) from None


class NpyHeader(NamedTuple):
    """What the header of an npy file says, and where its numbers start."""

    dtype: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    start: int


_ITEMS = {
    "descr": r"'descr':\s*'([<>|=][a-zA-Z][0-9]{0,3})'",
    "fortran": r"'fortran_order':\s*(True|False)",
    "shape": r"'shape':\s*\(((?:[0-9]{1,12}\s*,\s*){0,16}(?:[0-9]{1,12})?)\)",
}


def npy_header(stream: IO[bytes]) -> NpyHeader:
    """Read the header of an npy file: its own few words only, nothing is evaluated.

    Raises:
        ValueError: it describes no plain array of numbers.
    """
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("it does not start as an npy file of version 1 or 2")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > _MAX_NPY_HEADER:
        raise ValueError(f"its header has {length} bytes")
    text = stream.read(length).decode("latin-1")
    found = {key: re.search(item, text) for key, item in _ITEMS.items()}
    descr, fortran, shape = (found[key] for key in _ITEMS)
    if descr is None or fortran is None or shape is None:
        raise ValueError("its header does not describe an array of numbers")
    if descr[1][1] not in "fiub":
        raise ValueError(f"its elements are `{descr[1]}`, no numbers")
    try:
        dtype = np.dtype(descr[1])
    except TypeError:
        raise ValueError(f"its elements are `{descr[1]}`") from None
    extents = tuple(int(part) for part in shape[1].replace(" ", "").split(",") if part)
    return NpyHeader(dtype, fortran[1] == "True", extents, 8 + width + length)


def _plain(wrong: Exception) -> str:
    """The first line of a library's message."""
    return (str(wrong).splitlines() or [type(wrong).__name__])[0][:200]
