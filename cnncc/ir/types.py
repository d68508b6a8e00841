"""Types of the values of the graph: element type and static shape, in logical order.

A feature map is `[N, C, H, W]`, a vector `[N, K]`, and other values have any rank up to 8. Shapes
never speak of layout, padding lanes or halos: those are notes of the plan (`cnncc.kernels.layout`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from cnncc.errors import UnsupportedError


class DType(Enum):
    """Element types. The value is the name in text forms."""

    F64 = "f64"
    F32 = "f32"
    F16 = "f16"
    I64 = "i64"
    I32 = "i32"
    I16 = "i16"
    I8 = "i8"
    U64 = "u64"
    U32 = "u32"
    U16 = "u16"
    U8 = "u8"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype of the same memory format."""
        return np.dtype(_NUMPY_NAMES[self])

    @property
    def size_bytes(self) -> int:
        """Bytes of one element."""
        return int(self.numpy.itemsize)

    @property
    def is_float(self) -> bool:
        """Whether values are floating-point numbers."""
        return self in (DType.F64, DType.F32, DType.F16)

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers; truth values are none."""
        return not self.is_float and self is not DType.BOOL

    @staticmethod
    def of(dtype: np.dtype[Any]) -> DType:
        """The element type of a NumPy array in native byte order.

        Raises:
            UnsupportedError: no element type has that memory format.
        """
        for candidate in DType:
            if candidate.numpy == dtype:
                return candidate
        legal = ", ".join(str(d) for d in DType)
        raise UnsupportedError(f"arrays of {dtype} are not supported; {legal} are")

    def __str__(self) -> str:
        return self.value


_NUMPY_NAMES = {
    DType.F64: "float64",
    DType.F32: "float32",
    DType.F16: "float16",
    DType.I64: "int64",
    DType.I32: "int32",
    DType.I16: "int16",
    DType.I8: "int8",
    DType.U64: "uint64",
    DType.U32: "uint32",
    DType.U16: "uint16",
    DType.U8: "uint8",
    DType.BOOL: "bool",
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a value."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def elems(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense array."""
        return self.elems * self.dtype.size_bytes

    @property
    def is_feature_map(self) -> bool:
        """Whether the shape is `[N, C, H, W]`."""
        return len(self.shape) == 4

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def f32(*shape: int) -> TensorType:
    """The type `f32[shape]`."""
    return TensorType(DType.F32, tuple(shape))
