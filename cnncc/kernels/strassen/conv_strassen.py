"""1x1 convolution as a product of matrices with 7 multiplications of blocks instead of 8.

Pixels, input channels and output channels each fall into two halves: `C = A B` of 2x2 blocks, A of
pixels by input channels, B of input by output channels. Winograd's form of Strassen's algorithm (V.
Strassen, "Gaussian Elimination is not Optimal", 1969; S. Winograd, "On multiplication of 2 x 2
matrices", 1971):

    S1 = A21 + A22   T1 = B12 - B11   P1 = A11 B11   P5 = S1 T1   U2 = P1 + P6   C11 = P1 + P2
    S2 = S1 - A11    T2 = B22 - T1    P2 = A12 B21   P6 = S2 T2   U3 = U2 + P7   C12 = U2 + P5 + P3
    S3 = A11 - A21   T3 = B22 - B12   P3 = S4 B22    P7 = S3 T3                  C21 = U3 - P4
    S4 = A12 - S2    T4 = T2 - B21    P4 = A22 T4                                C22 = U3 + P5

Halves of the pixels are neighbouring register tiles, one above the other, so that the sums of
products are additions in registers: what four tiles of results keep in between is three tiles of
scratch memory, which stay in L1. A row without a partner is computed with
A21 = A22 = 0, which leaves four products, as many as by the definition. Filters are summed in f64
at compile time, inputs for a band of rows at a time, once for all panels that a thread computes.

Results of a pair of pixels and a pair of channels depend on both: a NaN, an infinity or a number
near overflow in one pixel reaches the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import F64, Array
from cnncc.ir.tolerance import Rounding
from cnncc.kernels.convolution.conv_geometry import conv_geometry, refuses_conv
from cnncc.kernels.cost import predict, weight_pace
from cnncc.kernels.strassen.strassen_nest import StrassenNest
from cnncc.kernels.strassen.strassen_pairs import (
    LONE_PRODUCTS,
    PRODUCTS,
    Pairing,
    choose_pairing,
    partners,
    tiles_of,
    whole_pairs,
)
from cnncc.kernels.template import Estimate, Kernel, Launch, Site

_TILE_BYTES = 6 << 10  # of code, for a size of tile
_LATE = 0.4  # share of the way of the first panel's filters that is not hidden


class ConvStrassen(Kernel):
    """One work item is a pair of panels of output channels of one band of rows."""

    name: ClassVar[str] = "conv_strassen"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True
    switch: ClassVar[str] = "strassen"

    def refuses(self, site: Site) -> str:
        if site.ends_in_pool:
            return "does not pool"
        reason = refuses_conv(site)
        if reason:
            return reason
        g = conv_geometry(site)
        if g.kernel != (1, 1) or any(g.attrs.pads) or g.attrs.groups > 1:
            return "is no product of two matrices"
        if g.block != site.lanes:
            return "the input's blocks are narrow"
        if g.in_blocks % 2:
            return "blocks of input channels do not fall into halves"
        if g.rows == 1:
            return "a single row has no pairs of pixels"
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread to other channels"
        return ""

    def estimate(self, site: Site) -> Estimate:
        g, pairing = conv_geometry(site), _pairing(site)
        pairs, lone = divmod(g.rows, 2)
        weights = PRODUCTS * site.lanes * g.in_blocks * whole_pairs(g.out_blocks) // 4
        fmas = (pairs * PRODUCTS + lone * LONE_PRODUCTS) * g.columns * weights / PRODUCTS
        return predict(
            site,
            pairing.cycles + _first_panel(site, pairing),
            str(pairing),
            {"error_bound_k": rounding_of(site.types[site.anchor.args[0]].shape[1])},
            fmas=fmas,
            weights=weights * site.target.vector_bits / 8,
        )

    def code_bytes(self, site: Site) -> int:
        g = conv_geometry(site)
        return _TILE_BYTES * len(set(tiles_of(_pairing(site), g.rows, g.columns)))

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a pair of pixels and a pair of channels."""
        pairing = _pairing(site)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return pair_rounding(site, pairing, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return StrassenNest(site, _pairing(site)).launches(self.name)


def _pairing(site: Site) -> Pairing:
    g = conv_geometry(site)
    return choose_pairing(site.target, g.rows, g.columns, g.in_blocks, g.out_blocks)


def _first_panel(site: Site, pairing: Pairing) -> float:
    """Cycles of waiting for the filters that nothing fetches ahead.

    The stage before fetches as much as a panel of its own, which is a small part of a panel here.
    """
    depth = conv_geometry(site).in_blocks // 2 * site.lanes
    panel = PRODUCTS * depth * pairing.tile.vectors * site.target.vector_bits / 8
    return _LATE * panel / weight_pace(site)


def rounding_of(channels: int) -> float:
    """K of the tolerances' rule C: that of sums of so many terms, here of sums of pairs.

    At least 3 times the worst of `docs/decisions/035-strassen.md`.
    """
    return 4.0 + 2.0 * math.sqrt(channels)


def pair_rounding(site: Site, pairing: Pairing, x: Array, w: Array) -> F64:
    """`u K T` [N,O,h,w], T the sum over pairs of channels of |inputs| times |filters| of a pair.

    Inputs are those of both pixels, filters those of both output channels.
    """
    g = conv_geometry(site)
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    size = np.abs(x[:, :, :: g.attrs.strides[0], :: g.attrs.strides[1]])
    of_pixels = size + size[:, :, partners(g.rows, pairing.tile.rows)]
    both_in = _by_pairs(of_pixels, source.channel_slots, source.blocks * source.block, axis=1)
    weights = np.abs(w[:, :, 0, 0])
    slots = whole_pairs(out.blocks) * out.block
    both_out = _by_pairs(weights, out.channel_slots, slots, axis=0)
    both = _by_pairs(both_out, source.channel_slots, source.blocks * source.block, axis=1)
    most = np.where(both_in < np.finfo(np.float32).max / 16, both_in, np.inf)
    held = np.where(np.isfinite(most), most, 0.0)
    total = np.einsum("ok,nkhw->nohw", both[out.channel_slots % (slots // 2)], held)
    spoilt = ~np.isfinite(most).all(axis=1, keepdims=True)
    bound: F64 = 2.0**-24 * rounding_of(x.shape[1]) * np.where(spoilt, np.inf, total)
    return bound


def _by_pairs(values: Array, slots: NDArray[Any], count: int, *, axis: int) -> F64:
    """Sums of the two channels of each pair, by the slot of the first; slots are `count`."""
    moved = np.moveaxis(values, axis, 0)
    spread = np.zeros((count, *moved.shape[1:]))
    spread[slots] = moved
    return np.moveaxis(spread[: count // 2] + spread[count // 2 :], 0, axis)
