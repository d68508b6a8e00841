"""Filters in the order in which tiles read them: panels of output channels, block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.layout import Layout


def pack_filters(
    w: NDArray[np.float32], source: Layout, out: Layout, groups: int, vectors: int
) -> NDArray[np.float32]:
    """Filters [O,C/g,kh,kw] as `[panel][block][kh][kw][channel][vectors * lanes]`.

    A panel is `vectors` neighbouring blocks of output channels; padding lanes are zero.
    """
    in_blocks = source.blocks // groups
    spread = w
    if groups > 1 or source.has_padding_lanes or out.has_padding_lanes:
        spread = _spread_filters(w, source, out, groups)
    panels = spread.reshape(
        out.blocks // vectors, vectors * out.block, in_blocks, source.block, *w.shape[2:]
    )
    return np.ascontiguousarray(panels.transpose(0, 2, 4, 5, 3, 1))


def _spread_filters(
    w: NDArray[np.float32], source: Layout, out: Layout, groups: int
) -> NDArray[np.float32]:
    """Filters by slot instead of channel, `[output slot][input slot of the group][kh][kw]`."""
    outs, ins = w.shape[0] // groups, w.shape[1]
    depth = source.blocks // groups * source.block
    spread = np.zeros((out.blocks * out.block, depth, *w.shape[2:]), np.float32)
    for g in range(groups):
        to = out.channel_slots[g * outs : (g + 1) * outs]
        at = source.channel_slots[g * ins : (g + 1) * ins] - g * depth
        spread[to[:, None], at[None, :]] = w[g * outs : (g + 1) * outs]
    return spread


def pack_panels(
    w: NDArray[np.float32], source: Layout, out: Layout, groups: int, vectors: int
) -> NDArray[np.float32]:
    """The same as `[panel][weight]`, those channels left out that no reduction multiplies."""
    packed = pack_filters(w, source, out, groups, vectors)
    depth = depth_of(source, groups)
    deep = [
        packed[:, block, :, :, : turns * depth.step].reshape(len(packed), -1)
        for block, turns in enumerate(depth.turns)
    ]
    return np.ascontiguousarray(np.concatenate(deep, axis=1))
