"""Tensors of every element type, raw and typed, are what the `onnx` package makes of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cnncc.errors import OnnxError
from cnncc.onnx.limits import Limits
from cnncc.onnx.problems import Problems
from cnncc.onnx.tensors import Tensors, element_type

NATIVE = {
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
    "FLOAT16": np.float16,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
    "COMPLEX64": np.complex64,
    "COMPLEX128": np.complex128,
}
_NAMES = [name for name, _ in TensorProto.DataType.items()]
BITS = {
    "BFLOAT16": 16,
    **{name: 8 for name in _NAMES if name.startswith("FLOAT8")},
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **{name: 2 for name in ("INT2", "UINT2") if name in _NAMES},
}


class NoFolder:
    def read(self, entries, size, where):
        raise AssertionError(where)


def read(proto):
    problems = Problems("m")
    found = Tensors(Limits(), problems, NoFolder()).read(proto, "w", "w")
    problems.check()
    return found


def values(name, shape, seed):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(NATIVE[name])
    size = int(np.prod(shape)) * dtype.itemsize
    if name == "BOOL":
        return rng.integers(0, 2, shape).astype(bool)
    with np.errstate(all="ignore"):
        found = np.frombuffer(rng.bytes(size), dtype).reshape(shape)
    return found if dtype.kind in "iu" else np.nan_to_num(found)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,), (2, 0, 3), (1, 2, 1, 2, 1, 2, 1, 2)])
def test_raw_data(name, shape):
    array = values(name, shape, 1)
    found = read(numpy_helper.from_array(array))
    assert found.dtype == name
    assert found.shape == found.array.shape == shape
    assert found.array.dtype == np.dtype(NATIVE[name])
    assert not found.array.flags.writeable
    np.testing.assert_array_equal(found.array, array)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("shape", [(), (3, 5), (0,)])
def test_typed_data(name, shape):
    array = values(name, shape, 2)
    kind = TensorProto.DataType.Value(name)
    found = read(helper.make_tensor("w", kind, shape, array.reshape(-1).tolist()))
    assert found.dtype == name
    assert found.array.dtype == np.dtype(NATIVE[name])
    np.testing.assert_array_equal(found.array, array)


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_types_that_numpy_lacks_are_kept_as_bits(name, count):
    bits = np.random.default_rng(count).integers(0, 2 ** BITS[name], count)
    packed = sum(int(b) << BITS[name] * n for n, b in enumerate(bits))
    raw = packed.to_bytes(-(-count * BITS[name] // 8), "little")
    kind = TensorProto.DataType.Value(name)
    made = TensorProto(name="w", data_type=kind, dims=[count], raw_data=raw)
    typed = TensorProto(name="w", data_type=kind, dims=[count])
    typed.int32_data.extend(bits if BITS[name] == 16 else raw)
    for proto in (made, typed):
        found = read(proto)
        assert found.dtype == name
        np.testing.assert_array_equal(found.array, bits)
    if BITS[name] < 8:  # the package's own unpacking, in its own types
        theirs = numpy_helper.to_array(made)
        np.testing.assert_array_equal(theirs.view(np.uint8) & (2 ** BITS[name] - 1), bits)


def test_any_byte_but_0_is_true():
    proto = TensorProto(data_type=TensorProto.BOOL, dims=[3], raw_data=b"\x00\x01\x02")
    np.testing.assert_array_equal(read(proto).array, [False, True, True])


def test_strings_are_counted_and_not_kept():
    proto = TensorProto(data_type=TensorProto.STRING, dims=[2], string_data=[b"a", b"\xff"])
    found = read(proto)
    assert (found.dtype, found.shape, found.array.size) == ("STRING", (2,), 0)


def test_names_of_element_types():
    known = {code: element_type(code) for code in range(-1, 40)}
    assert known[-1] is None
    for name, code in TensorProto.DataType.items():
        if known[code] is not None:
            assert known[code] == name
    missing = {n for n, code in TensorProto.DataType.items() if known[code] is None}
    assert all(name.startswith("FLOAT6") for name in missing)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.integers(-1, 30),
    dims=st.lists(st.integers(-2, 5), max_size=9),
    raw=st.binary(max_size=64),
    numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8),
    field=st.sampled_from(["", "int32_data", "int64_data", "float_data", "uint64_data"]),
)
def test_any_tensor_is_read_as_the_package_reads_it_or_refused(kind, dims, raw, numbers, field):
    proto = TensorProto(name="w", dims=dims, raw_data=raw)
    if kind in TensorProto.DataType.values():
        proto.data_type = kind
    if field:
        getattr(proto, field).extend(abs(n) if field == "uint64_data" else n for n in numbers)
    try:
        found = read(proto)
    except OnnxError:
        return
    if found.dtype in NATIVE:
        wanted = onnx.numpy_helper.to_array(proto)
        np.testing.assert_array_equal(found.array, wanted)
