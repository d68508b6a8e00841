"""What lies in channels: constants with one number a channel, maps that kernels take in blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.graph import Graph
from cnncc.ir.op import Op
from cnncc.ir.types import DType, TensorType


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


def computes_on_maps(graph: Graph, node_id: int) -> bool:
    """Whether an anchor works on one f32 sample in blocks of channels, as CNN kernels want it.

    A window with dilation over a pool, and filters that are computed at run time, are left to the
    operator's definition (`Op.element`).
    """
    node, operands = graph[node_id], graph.operands(node_id)
    if not is_map_or_vector(graph.type_of(node_id)):
        return False
    if node.op in ("conv2d", "conv2d_transpose", "dense"):
        return all(graph[o].op == "constant" for o in operands[1:])
    return getattr(node.attrs, "dilations", (1, 1)) == (1, 1)


def is_map_or_vector(type_: TensorType) -> bool:
    """Whether a value is one sample of an f32 feature map or vector."""
    return type_.dtype is DType.F32 and len(type_.shape) in (2, 4) and type_.shape[0] == 1


def channel_numbers(array: NDArray[Any], channels: int) -> NDArray[np.float32]:
    """The numbers of a channel-shaped constant, one for each channel, as f32[C]."""
    flat = np.asarray(array, np.float32).reshape(-1)
    return np.broadcast_to(flat, (channels,))
