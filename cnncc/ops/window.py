"""Windows that slide over H and W: their extents, and their views for the references.

Per axis: n pixels, k taps, stride s, dilation d, ek = d·(k-1)+1 pixels spanned, padding before and
after. The rules are those of the language (its shape section) and of PyTorch for `ceil`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Array, Op

Pads = tuple[int, int, int, int]
Pair = tuple[int, int]


def span(taps: int, dilation: int) -> int:
    """Pixels from the first to the last tap: d·(k-1)+1."""
    return dilation * (taps - 1) + 1


def fits(op: type[Op], axis: str, n: int, taps: int, dilation: int, before: int, after: int) -> int:
    """The window's span, once it fits the padded axis."""
    spanned = span(taps, dilation)
    if spanned > n + before + after:
        dilated = f" with dilation {dilation} spans {spanned} pixels and" if dilation > 1 else ""
        raise TypeInferenceError(
            f"`{op.name}`: a window of {taps}{dilated} does not fit {axis}, which has"
            f" {n}+{before}+{after} = {n + before + after} pixels with padding"
        )
    return spanned


def conv_extent(
    op: type[Op], axis: str, n: int, taps: int, stride: int, dilation: int, before: int, after: int
) -> int:
    """floor((n + before + after - ek) / s) + 1."""
    return (n + before + after - fits(op, axis, n, taps, dilation, before, after)) // stride + 1


def pool_extent(
    op: type[Op],
    axis: str,
    n: int,
    taps: int,
    stride: int,
    before: int,
    after: int,
    ceil: bool,
    dilation: int = 1,
) -> int:
    """The extent of a pooled axis; every window covers at least one real pixel.

    With `ceil` the quotient is rounded up, and a last window that would start beyond n + before is
    dropped (PyTorch's rule).
    """
    spanned = fits(op, axis, n, taps, dilation, before, after)
    room = n + before + after - spanned
    out = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (out - 1) * stride >= n + before:
        out -= 1
    if before >= spanned or (out - 1) * stride - before >= n:
        raise TypeInferenceError(
            f"`{op.name}`: a window of {taps} would lie wholly in the padding of {axis}"
            f" ({before} before, {after} after {n} pixels); padding must be smaller than the window"
        )
    return out


def padded(x: Array, pads: Pads, value: float, out: Pair, spans: Pair, strides: Pair) -> F64:
    """`x` [N,C,H,W] in float64 within its border, long enough for the last window of each axis."""
    top, left, bottom, right = pads
    need = [(o - 1) * s + k for o, k, s in zip(out, spans, strides, strict=True)]
    bottom = max(bottom, need[0] - x.shape[2] - top)
    right = max(right, need[1] - x.shape[3] - left)
    return np.pad(
        x.astype(np.float64),
        ((0, 0), (0, 0), (top, bottom), (left, right)),
        constant_values=value,
    )


def windows(x: F64, taps: Pair, strides: Pair, out: Pair) -> F64:
    """View [N,C,oh,ow,kh,kw] of the windows of a padded `x` [N,C,H,W]."""
    view: Any = np.lib.stride_tricks.sliding_window_view(x, taps, axis=(2, 3))
    return np.asarray(view[:, :, :: strides[0], :: strides[1]][:, :, : out[0], : out[1]])
