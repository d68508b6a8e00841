"""When a pool runs in the loop nest of what stands before it.

Behind pointwise steps alone, windows must be combined in registers: nothing is held back there.

A convolution's rows are made band by band: `BAND_ROWS` pooled rows need (BAND_ROWS - 1)·s + k
rows of the convolution, and neighbouring bands both compute the rows in which their windows
overlap. Fusing pays when those are few: the feature map in between then never goes to memory. A
kernel may take larger bands, so what is counted here is the most that is computed twice.
"""

from __future__ import annotations

from typing import Any

from cnncc.ir.types import TensorType
from cnncc.ops.pool import windows_apart

BAND_ROWS = 2
MAX_RECOMPUTED = 1.4
LEAST_CHANNELS = 16  # below which transforms cost what they save
TILES = {(3, 3): 4, (5, 5): 2}  # results of a tile in each direction, by filter
MAX_WINDOW = 3
MAX_WINDOW_IN_REGISTERS = 8  # pixels of a window that the register tiles of every target hold
MAX_HELD_PIXELS = 2048  # of 16 channels in f32: 128 KiB, which an L2 cache holds beside filters


def prevents_tiles(conv: Any, w: TensorType, pool: Any) -> bool:
    """Whether a pool stands in the way of minimal filtering, F(4x4, 3x3) or F(2x2, 5x5).

    Tiles hold windows that divide them. Any other pool makes rows come band by band, each result
    with the 9 or 25 multiplications of the definition where a tile of 16 or 4 needs 36.

    Args:
        conv: attributes of the convolution.
        w: its filters [O,C/g,kh,kw].
        pool: attributes of the pool behind it.
    """
    filters, depth, *kernel = w.shape
    plain = tuple(conv.strides) == tuple(conv.dilations) == (1, 1) and conv.groups == 1
    tile = TILES.get((kernel[0], kernel[1]))
    if tile is None or not plain or min(filters, depth) < LEAST_CHANNELS:
        return False
    whole = all(tile % extent == 0 for extent in pool.window)
    return not (windows_apart(pool) and whole)


def recomputed(conv: TensorType, pooled: TensorType, attrs: Any) -> float:
    """How often each row of the convolution [N,C,H,W] that a pool reads is computed on average."""
    height, rows = conv.shape[2], pooled.shape[2]
    stride, window, top = attrs.strides[0], attrs.window[0], attrs.pads[0]
    computed = 0
    needed: set[int] = set()
    for first in range(0, rows, BAND_ROWS):
        last = min(first + BAND_ROWS, rows) - 1
        band = range(max(first * stride - top, 0), min(last * stride - top + window, height))
        computed += len(band)
        needed.update(band)
    return computed / len(needed)


def refuses_window(pool: Any) -> str:
    """Why the windows of a pool cannot be combined in registers; empty if they can."""
    if not windows_apart(pool):
        return "its windows overlap or hang over the edge"
    if pool.window[0] * pool.window[1] > MAX_WINDOW_IN_REGISTERS:
        return f"a window has more than {MAX_WINDOW_IN_REGISTERS} pixels"
    return ""


def _held_pixels(conv: TensorType, attrs: Any) -> int:
    """Pixels of each channel that wait until all windows that read them are done.

    None where windows neither overlap nor hang over the edge and fit a register tile: each is done
    at once.
    """
    if not refuses_window(attrs):
        return 0
    overhang = attrs.window[1] if attrs.ceil else 0
    return int(attrs.window[0] * (attrs.pads[1] + conv.shape[3] + attrs.pads[3] + overhang))


def refuses_pool(conv: TensorType, pooled: TensorType, attrs: Any, groups: int) -> str:
    """Why a pool of these attributes should stay outside; empty when it should be fused."""
    if groups != 1:
        return f"the convolution has {groups} groups, so it is bound by memory, not arithmetic"
    if max(attrs.window) > MAX_WINDOW:
        kh, kw = attrs.window
        return f"its window {kh}x{kw} is larger than {MAX_WINDOW}x{MAX_WINDOW}"
    held = _held_pixels(conv, attrs)
    if held > MAX_HELD_PIXELS:
        return f"{held} pixels of each channel would have to be held back for the next windows"
    share = recomputed(conv, pooled, attrs)
    if share > MAX_RECOMPUTED:
        return f"each value of the convolution would be computed {share:.2f} times on average"
    return ""
