"""Moves: orders and refusals that the comparison with other implementations does not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.shape import (
    ChannelShuffle,
    ChannelShuffleAttrs,
    ConcatAttrs,
    Crop2dAttrs,
    Flatten,
    FlattenAttrs,
    Pad2dAttrs,
    Reshape,
    ReshapeAttrs,
    SliceChannelsAttrs,
    TransposeAttrs,
)


def test_flatten_orders() -> None:
    x = np.arange(12).reshape(1, 2, 3, 2)
    hwc = Flatten.reference([x], FlattenAttrs("hwc"))[0]
    assert hwc.tolist() == [x[0, c, h, w] for h in range(3) for w in range(2) for c in range(2)]
    assert Flatten.reference([x], FlattenAttrs("chw"))[0].tolist() == list(range(12))


def test_flatten_of_a_vector_keeps_its_order() -> None:
    x = np.arange(6).reshape(2, 3)
    for order in ("hwc", "chw"):
        assert Flatten.reference([x], FlattenAttrs(order)).tolist() == x.tolist()


def test_shuffle_reads_groups_and_writes_round_robin() -> None:
    x = np.arange(6).reshape(1, 6, 1, 1)
    made = ChannelShuffle.reference([x], ChannelShuffleAttrs(2))
    assert made.ravel().tolist() == [0, 3, 1, 4, 2, 5]


def test_reshape_leaves_the_batch_free() -> None:
    attrs = ReshapeAttrs((-1, 6))
    assert Reshape.infer([f32(1, 2, 3)], attrs) == f32(1, 6)
    assert Reshape.reference([np.zeros((5, 2, 3))], attrs).shape == (5, 6)


REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("flatten", [f32(1, 2, 2, 2)], FlattenAttrs("nhwc"), "hwc, chw"),
    ("flatten", [f32(1, 2, 2)], FlattenAttrs(), "[N,C,H,W] or a vector"),
    ("reshape", [f32(2, 3)], ReshapeAttrs((4, 2)), "has 8 elements"),
    ("reshape", [f32(2, 3)], ReshapeAttrs((-1, 4)), "has 4 elements"),
    ("reshape", [f32(2, 3)], ReshapeAttrs((-1, -1)), "at most one"),
    ("reshape", [f32(2, 3)], ReshapeAttrs((0, 6)), "at least 1"),
    ("reshape", [f32(2, 3)], ReshapeAttrs((1,) * 8 + (6,)), "up to 8"),
    ("transpose", [f32(2, 3)], TransposeAttrs((0, 0)), "once"),
    ("transpose", [f32(2, 3)], TransposeAttrs((0, 1, 2)), "perm"),
    ("concat", [f32(1, 2, 5, 5), f32(1, 2, 5, 4)], ConcatAttrs(1), "differ in that axis only"),
    ("concat", [f32(1, 2, 5, 5), f32(1, 2)], ConcatAttrs(1), "differ in that axis only"),
    ("concat", [f32(1, 2), TensorType(DType.U8, (1, 2))], ConcatAttrs(1), "differ"),
    ("concat", [f32(1, 2)], ConcatAttrs(-1), "axis from 0 to 1"),
    ("concat", [], ConcatAttrs(1), "1 to any number operands"),
    ("pad2d", [f32(1, 1, 2, 2)], Pad2dAttrs((0, 0, -1, 0)), "pads"),
    ("crop2d", [f32(1, 1, 2, 2)], Crop2dAttrs((1, 0, 1, 0)), "leaves nothing"),
    ("slice_channels", [f32(1, 4, 2, 2)], SliceChannelsAttrs(2, 2), "start < stop <= 4"),
    ("slice_channels", [f32(1, 4, 2, 2)], SliceChannelsAttrs(2, 5), "start < stop <= 4"),
    ("channel_shuffle", [f32(1, 4, 2, 2)], ChannelShuffleAttrs(3), "does not divide 4"),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
