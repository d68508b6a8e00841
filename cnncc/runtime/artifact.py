"""The file of a saved network: machine code, weights, interface and explanations, checked on load.

Layout: a fixed head, a description in JSON, the code, the weights; the last two start at multiples
of `PAGE`, so that weights are used where the file is mapped. The digests find accidents, not
attacks: a saved network is code, as trusted as any program.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.abi import PAGE, PAGES, Image, Interface, Port
from cnncc.errors import ArtifactError, InternalError
from cnncc.ir.types import DType
from cnncc.runtime.atomic import Chunk

FORMAT = 2  # counts changes of this layout and of how the code is called
_MAGIC = b"\x93cnncc\r\n"
_HEAD = struct.Struct("<8sII32s")  # magic, format, length and digest of the description
_REPAIR = "compile the model again and save it anew"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a network is made of.

    Attributes:
        image: the linked code.
        interface: ports and sizes.
        weights: the packed weights as bytes.
        layers: a row for each layer: what `summary` shows.
        decisions: a row for each decision of the compiler: what `explain` shows.
    """

    image: Image
    interface: Interface
    weights: npt.NDArray[np.uint8]
    layers: tuple[Row, ...]
    decisions: tuple[Row, ...]


def pack(contents: Contents) -> list[Chunk]:
    """The bytes of a saved network, in pieces."""
    code, weights = contents.image.code, contents.weights.data
    description = {
        "interface": _interface_row(contents.interface),
        "image": _image_row(contents.image),
        "layers": contents.layers,
        "decisions": contents.decisions,
        "code": [len(code), hashlib.sha256(code).hexdigest()],
        "weights": [len(weights), hashlib.sha256(weights).hexdigest()],
    }
    try:
        text = json.dumps(description, separators=(",", ":"), ensure_ascii=True).encode()
    except (TypeError, ValueError) as error:
        raise InternalError(f"a network's tables must be plain data: {error}") from error
    head = _HEAD.pack(_MAGIC, FORMAT, len(text), hashlib.sha256(text).digest())
    first = _HEAD.size + len(text)
    return [head, text, bytes(-first % PAGE), code, bytes(-len(code) % PAGE), weights]


def map_file(path: Path) -> memoryview:
    """The bytes of a file, read when they are used.

    Raises:
        ArtifactError: the file cannot be read, or is empty.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ArtifactError(f"cannot read {path}: it is no file", hint=_REPAIR)
            if found.st_size == 0:
                raise ArtifactError(f"{path} is empty", hint=_REPAIR)
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ArtifactError(f"cannot read {path}: {why}") from error


def _open_at_once(path: str, flags: int) -> int:
    """Opening a pipe would wait for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def unpack(data: memoryview, place: str, *, check_weights: bool = True) -> Contents:
    """The network in the bytes of a saved one; its weights stay where they are.

    Args:
        data: the bytes.
        place: where they came from, for messages.
        check_weights: whether to compare the weights with their digest, which reads them all.

    Raises:
        ArtifactError: damaged, or made by another version of cnncc.
    """
    description, first = _description(data, place)
    try:
        code, then = _part(data, first, description["code"], check=True)
        raw, end = _part(data, then, description["weights"], check=check_weights)
        if end - (-len(raw) % PAGE) != len(data):
            raise ValueError("the file has another length")
        weights = np.frombuffer(raw, np.uint8)
        interface = _interface(description["interface"])
        rows = tuple(description["layers"]), tuple(description["decisions"])
        return Contents(_image(bytes(code), description["image"]), interface, weights, *rows)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise _damaged(place, str(error)) from error


def _description(data: memoryview, place: str) -> tuple[dict[str, Any], int]:
    """The description, and where the code starts."""
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise ArtifactError(f"{place} is no saved network", hint=_REPAIR)
    if len(data) < _HEAD.size:
        raise _damaged(place, "it ends too early")
    _, version, length, digest = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise ArtifactError(
            f"{place} was saved in format {version}; this version of cnncc reads {FORMAT}",
            hint=_REPAIR,
        )
    text = bytes(data[_HEAD.size : _HEAD.size + length])
    if hashlib.sha256(text).digest() != digest:
        raise _damaged(place, "its description does not match its digest")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(place, str(error)) from error
    if not isinstance(description, dict):
        raise _damaged(place, "its description is no table")
    end = _HEAD.size + length
    return description, end + -end % PAGE


def _part(
    data: memoryview, start: int, row: Sequence[Any], *, check: bool
) -> tuple[memoryview, int]:
    """A part of the file and where the next one starts."""
    size, digest = row
    part = data[start : start + size]
    if len(part) != size:
        raise ValueError("it ends too early")
    if check and hashlib.sha256(part).hexdigest() != digest:
        raise ValueError("its contents do not match their digest")
    return part, start + size + -size % PAGE


def _damaged(place: str, why: str) -> ArtifactError:
    return ArtifactError(f"{place} is damaged: {why}", hint=_REPAIR)


def _image_row(record: Image) -> dict[str, Any]:
    return {
        "constants": record.constants,
        "exports": dict(record.exports),
        "imports": dict(record.imports),
        "rebases": list(record.rebases),
        "machine": record.machine,
    }


def _image(code: bytes, row: Mapping[str, Any]) -> Image:
    image = Image(
        code=code,
        constants=int(row["constants"]),
        exports={str(name): int(at) for name, at in row["exports"].items()},
        imports={str(name): int(at) for name, at in row["imports"].items()},
        rebases=tuple(int(at) for at in row["rebases"]),
        machine=str(row["machine"]),
    )
    slots = (*image.imports.values(), *image.rebases)
    inside = all(0 <= at < len(code) for at in image.exports.values())
    aligned = image.constants % PAGES.get(image.machine, PAGE) == 0
    if not (inside and aligned) or not all(0 <= at <= len(code) - 8 for at in slots):
        raise ValueError("an address lies outside of the code")
    return image


def _interface_row(interface: Interface) -> dict[str, Any]:
    row = asdict(interface)
    for port in (*row["inputs"], *row["outputs"]):
        port["dtype"] = str(port["dtype"])
    return row


def _interface(row: Mapping[str, Any]) -> Interface:
    fields = dict(row)
    for ports in ("inputs", "outputs"):
        fields[ports] = tuple(_port(port) for port in fields[ports])
    fields["requires"] = tuple(fields["requires"])
    return Interface(**fields)


def _port(row: Mapping[str, Any]) -> Port:
    fields = dict(row)
    fields["dtype"] = DType(fields["dtype"])
    fields["shape"] = tuple(int(size) for size in fields["shape"])
    fields["labels"] = tuple(fields["labels"])
    return Port(**fields)
