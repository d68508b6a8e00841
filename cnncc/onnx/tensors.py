"""From a `TensorProto` to an array: every size is checked before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnncc.onnx.model import Tensor
from cnncc.onnx.problems import Problems

if TYPE_CHECKING:
    from onnx import TensorProto

    from cnncc.onnx.limits import Limits

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How ONNX stores elements of one type.

    Attributes:
        name: ONNX's name.
        dtype: NumPy's, little-endian; for types that it lacks, that of their bits.
        bits: of one element in `raw_data`.
        field: the field that holds them when `raw_data` does not.
    """

    name: str
    dtype: str
    bits: int
    field: str

    def bytes(self, elements: int) -> int:
        """Size of `elements` elements in `raw_data`: small ones share bytes."""
        return -(-elements * self.bits // 8)

    def entries(self, elements: int) -> int:
        """Length of the field that is not raw."""
        if self.bits < 8:
            return self.bytes(elements)
        return elements * (2 if self.name.startswith("COMPLEX") else 1)


_KINDS = {
    1: _Kind("FLOAT", "<f4", 32, "float_data"),
    2: _Kind("UINT8", "<u1", 8, "int32_data"),
    3: _Kind("INT8", "<i1", 8, "int32_data"),
    4: _Kind("UINT16", "<u2", 16, "int32_data"),
    5: _Kind("INT16", "<i2", 16, "int32_data"),
    6: _Kind("INT32", "<i4", 32, "int32_data"),
    7: _Kind("INT64", "<i8", 64, "int64_data"),
    8: _Kind("STRING", "<u1", 0, "string_data"),
    9: _Kind("BOOL", "<u1", 8, "int32_data"),
    10: _Kind("FLOAT16", "<u2", 16, "int32_data"),
    11: _Kind("DOUBLE", "<f8", 64, "double_data"),
    12: _Kind("UINT32", "<u4", 32, "uint64_data"),
    13: _Kind("UINT64", "<u8", 64, "uint64_data"),
    14: _Kind("COMPLEX64", "<f4", 64, "float_data"),
    15: _Kind("COMPLEX128", "<f8", 128, "double_data"),
    16: _Kind("BFLOAT16", "<u2", 16, "int32_data"),
    17: _Kind("FLOAT8E4M3FN", "<u1", 8, "int32_data"),
    18: _Kind("FLOAT8E4M3FNUZ", "<u1", 8, "int32_data"),
    19: _Kind("FLOAT8E5M2", "<u1", 8, "int32_data"),
    20: _Kind("FLOAT8E5M2FNUZ", "<u1", 8, "int32_data"),
    21: _Kind("UINT4", "<u1", 4, "int32_data"),
    22: _Kind("INT4", "<u1", 4, "int32_data"),
    23: _Kind("FLOAT4E2M1", "<u1", 4, "int32_data"),
    24: _Kind("FLOAT8E8M0", "<u1", 8, "int32_data"),
    25: _Kind("UINT2", "<u1", 2, "int32_data"),
    26: _Kind("INT2", "<u1", 2, "int32_data"),
}
_FIELDS = sorted({kind.field for kind in _KINDS.values()})
_VIEWS = {"BOOL": "?", "FLOAT16": "<f2", "COMPLEX64": "<c8", "COMPLEX128": "<c16"}
_EXTERNAL = 1


def element_type(code: int) -> str | None:
    """ONNX's name of an element type, or None when there is none of that number."""
    if code == 0:
        return "UNDEFINED"
    return _KINDS[code].name if code in _KINDS else None


class Outside(Protocol):
    """Where tensors lie that are not in the model file."""

    def read(self, entries: Iterable[tuple[str, str]], size: int, where: str) -> Array | None:
        """The bytes of a tensor, or None after noting why not."""


class Tensors:
    """Reads tensors, and keeps count of what they take together.

    Args:
        limits: caps.
        problems: where to note what is wrong.
        outside: for tensors in other files.
    """

    def __init__(self, limits: Limits, problems: Problems, outside: Outside) -> None:
        self._limits = limits
        self._problems = problems
        self._outside = outside
        self._total = 0

    def read(self, proto: TensorProto, name: str, where: str) -> Tensor | None:
        """A tensor, or None after noting why not."""
        kind = _KINDS.get(proto.data_type)
        shape = tuple(int(n) for n in proto.dims[: self._limits.rank + 1])
        wrong = self._kind_wrong(proto, kind) or self._shape_wrong(shape, len(proto.dims))
        if wrong or kind is None:
            self._problems.add(where, wrong)
            return None
        elements = prod(shape)
        size = kind.bytes(elements)
        self._total += size
        if self._total > self._limits.constant_bytes:
            raise self._problems.stop(
                where, f"the constants take more than {self._limits.constant_bytes} bytes together"
            )
        held = self._held(proto, kind, elements, where)
        if held is None:
            return None
        return Tensor(name, kind.name, shape, _frozen(_native(held, kind, elements, shape)))

    def _kind_wrong(self, proto: TensorProto, kind: _Kind | None) -> str:
        if kind is None:
            return f"element type {proto.data_type} is not known"
        if proto.HasField("segment"):
            return "it is stored in segments, which no exporter has ever written"
        return ""

    def _shape_wrong(self, shape: tuple[int, ...], rank: int) -> str:
        limits = self._limits
        if rank > limits.rank:
            return f"it has {rank} dimensions, at most {limits.rank} are taken"
        for n in shape:
            if not 0 <= n <= limits.dimension:
                return f"a dimension is {n}; 0 to {limits.dimension} are taken"
        if prod(shape) > limits.elements:
            return f"it has {prod(shape)} elements, at most {limits.elements} are taken"
        return ""

    def _held(self, proto: TensorProto, kind: _Kind, elements: int, where: str) -> Array | None:
        """What the file holds of it, in the type of its storage, or None after noting why not."""
        filled = [field for field in _FIELDS if getattr(proto, field)]
        external = proto.data_location == _EXTERNAL
        raw = proto.raw_data if proto.HasField("raw_data") else b""
        places = filled + ["raw_data"] * bool(raw) + ["another file"] * external
        if len(places) > 1:
            self._problems.add(where, f"its data is in {' and '.join(places)}; one place is legal")
            return None
        if proto.external_data and not external:
            self._problems.add(where, "it names another file, but says that its data is here")
            return None
        if kind.name == "STRING":
            return self._strings(proto, places, elements, where)
        if external:
            return self._outside.read(
                [(e.key, e.value) for e in proto.external_data], kind.bytes(elements), where
            )
        if filled:
            return self._typed(proto, kind, elements, filled[0], where)
        if len(raw) != kind.bytes(elements):
            wanted = f"{elements} elements of {kind.name} take {kind.bytes(elements)}"
            self._problems.add(where, f"it holds {len(raw)} bytes, but {wanted}")
            return None
        return np.frombuffer(raw, np.uint8)

    def _strings(
        self, proto: TensorProto, places: list[str], elements: int, where: str
    ) -> Array | None:
        if places not in ([], ["string_data"]):
            self._problems.add(where, "strings must be in string_data")
            return None
        if len(proto.string_data) != elements:
            self._problems.add(
                where, f"it holds {len(proto.string_data)} strings, but its shape has {elements}"
            )
            return None
        return np.empty(0, np.uint8)

    def _typed(
        self, proto: TensorProto, kind: _Kind, elements: int, field: str, where: str
    ) -> Array | None:
        entries = getattr(proto, field)
        wanted = kind.entries(elements)
        if field != kind.field or len(entries) != wanted:
            self._problems.add(
                where,
                f"it holds {len(entries)} entries of {field}, but {elements} elements of"
                f" {kind.name} are {wanted} of {kind.field}",
            )
            return None
        stored = _STORED[field]
        wide = np.fromiter(entries, stored, wanted)
        narrow = np.dtype("<u1" if kind.bits < 8 else kind.dtype)
        if narrow.kind == "f":
            return wide.view(np.uint8)
        made = wide.astype(narrow)
        if not (made.astype(stored) == wide).all():
            self._problems.add(where, f"it holds numbers that are none of {kind.name}")
            return None
        return made.view(np.uint8)


_STORED = {
    "float_data": "<f4",
    "int32_data": "<i4",
    "int64_data": "<i8",
    "double_data": "<f8",
    "uint64_data": "<u8",
}


def _native(stored: Array, kind: _Kind, elements: int, shape: tuple[int, ...]) -> Array:
    """Bytes of `raw_data` as elements in this machine's order."""
    if kind.name == "STRING":
        return stored
    if kind.bits < 8:
        return _unpacked(stored, kind.bits, elements).reshape(shape)
    if kind.name == "BOOL":
        return np.not_equal(stored, 0).reshape(shape)
    found = stored.view(_VIEWS.get(kind.name, kind.dtype)).reshape(shape)
    native: Array = found.astype(found.dtype.newbyteorder("="), copy=False)
    return native


def _unpacked(stored: Array, bits: int, elements: int) -> Array:
    """Elements that share bytes, the first in the lowest bits, one to a byte."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    spread: Array = (stored[:, None] >> shifts) & np.uint8(2**bits - 1)
    return spread.reshape(-1)[:elements]


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array
