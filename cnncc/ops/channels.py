"""Constant operands that hold one number a channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import Op


def is_channel_shaped(op: type[Op], shape: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether an operand of that shape gives each channel of the result one number.

    Operators with parameters a channel take `[C]`; all others broadcast as NumPy does, so `[C]`
    lies along the last axis of a feature map, and `[C,1,1]` along its channels.
    """
    channels = result[1]
    if op.per_channel and shape == (channels,):
        return True
    if len(shape) > len(result):
        return False
    aligned = (1,) * (len(result) - len(shape)) + shape
    return aligned[0] == 1 and aligned[1] in (1, channels) and math.prod(aligned[2:]) == 1


def channel_numbers(array: NDArray[Any], channels: int) -> NDArray[np.float32]:
    """The numbers of a channel-shaped constant, one for each channel, as f32[C]."""
    flat = np.asarray(array, np.float32).reshape(-1)
    return np.broadcast_to(flat, (channels,))
