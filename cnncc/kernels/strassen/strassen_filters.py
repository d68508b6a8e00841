"""Filters of products of seven for eight: summed at compile time, packed by panel and product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import Array
from cnncc.kernels.strassen.strassen_pairs import PRODUCTS, whole_pairs
from cnncc.kernels.template import Site

P1, P2, P6, P7, P4, P5, P3 = range(PRODUCTS)  # their places in a panel, in the order of use


def pack_halves(site: Site, vectors: int) -> NDArray[np.float32]:
    """Filters [O,C,1,1] as `[panel][product][channel][vectors * lanes]`, summed in f64.

    Products are in the order of `sums_of_filters`.
    """
    spread = np.asarray(site.constant(site.anchor.args[1]), np.float64)[:, :, 0, 0]
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    outs = whole_pairs(out.blocks) * out.block
    if source.has_padding_lanes or out.has_padding_lanes or outs > len(spread):
        w, spread = spread, np.zeros((outs, source.blocks * source.block))
        spread[out.channel_slots[:, None], source.channel_slots[None, :]] = w
    depth, width = spread.shape[1] // 2, vectors * out.block
    made = np.empty((len(spread) // 2 // width, PRODUCTS, depth, width), np.float32)
    b11, b21, b12, b22 = halves(spread)  # of the transpose: outputs come first
    for product, used in enumerate(sums_of_filters(b11, b12, b21, b22)):
        made[:, product] = used.reshape(-1, width, depth).transpose(0, 2, 1)
    return made


def halves(matrix: Array) -> tuple[Array, Array, Array, Array]:
    """The blocks 11, 12, 21, 22 of a matrix with even sides."""
    rows, columns = (n // 2 for n in matrix.shape)
    above, below = matrix[:rows], matrix[rows:]
    return above[:, :columns], above[:, columns:], below[:, :columns], below[:, columns:]


def sums_of_filters(b11: Array, b12: Array, b21: Array, b22: Array) -> tuple[Array, ...]:
    """The right sides of P1, P2, P6, P7, -P4, P5 and P3."""
    t1 = b12 - b11
    t2 = b22 - t1
    return b11, b21, t2, b22 - b12, b21 - t2, t1, b22
