"""The walk over a file's bytes agrees with the parser on what is a file."""

from __future__ import annotations

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.onnx.limits import Limits
from cnncc.onnx.wire import Malformed, table_of, walk
from tests.onnx.hostile import add, block, model, relu, tensor, varint

TABLE = table_of(onnx.ModelProto.DESCRIPTOR)
SOUND = add(tensor(float_data=[1.0] * 4)).SerializeToString()


def test_the_table_knows_what_makes_objects():
    graph = TABLE[7]
    assert graph is not None
    assert graph[10] is None  # a text
    node, tensors = graph[1], graph[5]
    assert node is not None
    assert tensors is not None
    assert 1 not in tensors  # dimensions: numbers
    attribute = node[5]
    assert attribute is not None
    assert attribute[6] is graph  # graphs nest


def test_a_sound_file_passes():
    walk(SOUND, TABLE, Limits())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_the_parser_refuses_and_the_walk_takes_is_never_a_matter_of_lengths(data):
    """Wherever one byte is changed, the parser sees no more than the walk let pass."""
    place = data.draw(st.integers(0, len(SOUND) - 1))
    changed = bytearray(SOUND)
    changed[place] = data.draw(st.integers(0, 255))
    try:
        walk(bytes(changed), TABLE, Limits())
    except Malformed:
        return
    try:
        onnx.ModelProto().ParseFromString(bytes(changed))
    except DecodeError:
        return  # numbers of fields that the format does not allow
    assert len(changed) == len(SOUND)


@pytest.mark.parametrize("length", range(1, len(SOUND), 7))
def test_a_file_cut_off_is_malformed_or_parses(length):
    cut = SOUND[:length]
    try:
        onnx.ModelProto().ParseFromString(cut)
    except DecodeError:
        with pytest.raises(Malformed):
            walk(cut, TABLE, Limits())
    else:
        walk(cut, TABLE, Limits())


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(objects=100), "more than 100 parts"),
        (Limits(fields=100), "parts"),
        (Limits(packed_bytes=10), "more than 10 bytes"),
    ],
)
def test_caps(limits, says):
    data = model([relu(name="n" * 3)] * 200, tensors=[tensor(float_data=[1.0] * 4)])
    if limits.packed_bytes == 10:
        data = add(tensor(float_data=[1.0] * 4))
    with pytest.raises(Malformed, match=says):
        walk(data.SerializeToString(), TABLE, limits)


def test_raw_data_counts_as_one_object():
    data = add(tensor(dims=[10**6], raw_data=bytes(4 * 10**6))).SerializeToString()
    walk(data, TABLE, Limits(packed_bytes=100, objects=100))


def test_a_part_longer_than_its_whole():
    inner = varint(1 << 3 | 5) + b"\0\0"  # a number of four bytes, of which two are there
    with pytest.raises(Malformed, match="longer than what it lies in"):
        walk(block(7, inner) + b"\x08\x08", TABLE, Limits())
