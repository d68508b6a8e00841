"""What a network looks like from outside: sizes follow from shapes."""

from __future__ import annotations

import dataclasses

import pytest

from cnncc.abi import ALIGNMENT, PAGE, Port
from cnncc.ir.types import DType
from cnncc.targets import TARGETS


@pytest.mark.parametrize(
    ("dtype", "shape", "elems", "size"),
    [
        (DType.F32, (4, 5, 3), 60, 240),
        (DType.U8, (4, 5, 3), 60, 60),
        (DType.F32, (10,), 10, 40),
        (DType.I32, (), 1, 4),
    ],
)
def test_sizes(dtype, shape, elems, size):
    port = Port("x", dtype, shape)
    assert (port.elems, port.size_bytes) == (elems, size)


def test_ports_compare_by_value_and_are_frozen():
    assert Port("x", DType.F32, (3,)) == Port("x", DType.F32, (3,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Port("x", DType.F32, (3,)).name = "y"


def test_alignment_holds_the_widest_vector():
    assert ALIGNMENT & (ALIGNMENT - 1) == 0
    assert all(t.vector_bits // 8 <= ALIGNMENT for t in TARGETS.values())
    assert PAGE % ALIGNMENT == 0
