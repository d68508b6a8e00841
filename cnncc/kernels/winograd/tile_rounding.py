"""How minimal filtering rounds: rule C of the tolerances, for the tiles of every kernel here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnncc.ir.op import F64, Array
from cnncc.kernels.winograd.long_rows_choice import LongRowsChoice
from cnncc.kernels.winograd.phase_choice import PhaseChoice
from cnncc.kernels.winograd.row_pairs_choice import RowTilesChoice
from cnncc.kernels.winograd.winograd_choice import WinogradChoice
from cnncc.ops.conv import Conv2dAttrs

Choice = WinogradChoice | PhaseChoice | RowTilesChoice | LongRowsChoice


def dilations_of(attrs: Conv2dAttrs, kernel: Sequence[int]) -> tuple[int, int]:
    """Dilations, 1 along an axis of one tap."""
    down, right = (d if k > 1 else 1 for d, k in zip(attrs.dilations, kernel, strict=True))
    return down, right


def tile_rounding(
    choice: Choice,
    attrs: Conv2dAttrs,
    x: Array,
    w: Array,
) -> F64:
    """`u K T` [N,O,h,w] with `T = sum over c of sum |w_c| * max over the tile of |x_c|`."""
    top, left, below, right = attrs.pads
    size = np.pad(np.abs(x), ((0, 0), (0, 0), (top, below), (left, right)))
    down, across = dilations_of(attrs, w.shape[2:])
    reach = [(k - 1) * d for k, d in zip(w.shape[2:], (down, across), strict=True)]
    rows, columns = (
        (extent - far - 1) // stride + 1
        for extent, far, stride in zip(size.shape[2:], reach, attrs.strides, strict=True)
    )
    total = np.zeros((len(x), len(w), rows, columns))
    for row in range(min(down, rows)):
        for column in range(min(across, columns)):
            phase = total[:, :, row::down, column::across]
            seen = size[:, :, row::down, column::across]
            phase[...] = _tile_sums(choice, attrs, seen, w)[
                :, :, : phase.shape[2], : phase.shape[3]
            ]
    bound: F64 = 2.0**-24 * choice.rounding * total
    return bound


def _tile_sums(
    choice: Choice,
    attrs: Conv2dAttrs,
    size: Array,
    w: Array,
) -> F64:
    """T of whole tiles, for absolute inputs [N,C,H,W] of one phase with their padding."""
    tall, wide = choice.vertical, choice.horizontal
    lacking = [max(0, e - n) for e, n in zip(choice.extents, size.shape[2:], strict=True)]
    size = np.pad(size, ((0, 0), (0, 0), (0, lacking[0]), (0, lacking[1])))
    tiles = np.lib.stride_tricks.sliding_window_view(size, (tall.inputs, wide.inputs), (2, 3))
    step = tall.outputs * tall.stride, wide.outputs * wide.stride
    tiles = tiles[:, :, :: step[0], :: step[1]][:, :, : choice.down, : choice.across]
    most = tiles.max(axis=(4, 5))
    # Transforms add up a few numbers: those near the largest overflow on the way.
    most = np.where(most < np.finfo(np.float32).max / choice.rounding, most, np.inf)
    weight = np.abs(w).sum(axis=(2, 3))
    groups = attrs.groups
    batch, channels, down, across = most.shape
    of_groups = most.reshape(batch, groups, channels // groups, down * across)
    held = np.where(np.isfinite(of_groups), of_groups, 0.0)
    weights = weight.reshape(groups, -1, weight.shape[1])
    total = weights @ held
    spoilt = ~np.isfinite(of_groups).all(axis=2, keepdims=True)
    total = np.where(spoilt, np.inf, total).reshape(batch, -1, down, across)
    spread: F64 = total.repeat(tall.outputs, axis=2).repeat(wide.outputs, axis=3)
    return spread
