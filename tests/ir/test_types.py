"""Types of values."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import UnsupportedError
from cnncc.ir.types import DType, TensorType, f32


@pytest.mark.parametrize("dtype", list(DType))
def test_numpy_and_back(dtype: DType) -> None:
    assert DType.of(dtype.numpy) is dtype
    assert dtype.size_bytes == np.zeros(1, dtype.numpy).nbytes


@pytest.mark.parametrize("wrong", ["complex64", "complex128", "object", ">f4"])
def test_foreign_arrays_are_named(wrong: str) -> None:
    with pytest.raises(UnsupportedError, match="are not supported; f64, f32"):
        DType.of(np.dtype(wrong))


def test_sizes() -> None:
    found = f32(2, 3, 4, 5)
    assert (found.elems, found.size_bytes, found.is_feature_map) == (120, 480, True)
    assert str(found) == "f32[2,3,4,5]"
    assert TensorType(DType.U8, ()).elems == 1
