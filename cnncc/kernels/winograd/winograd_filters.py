"""Filters of minimal filtering: transformed at compile time, packed by panel and plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.convolution.conv_depth import depth_of
from cnncc.kernels.convolution.filter_panels import pack_filters
from cnncc.kernels.template import Site
from cnncc.kernels.winograd.winograd_choice import WinogradChoice
from cnncc.kernels.winograd.winograd_expand import scaled_taps

# Columns of a product in f64: of larger ones BLAS wakes other threads, which then wait at work.
_AT_ONCE = 256


def pack_transformed(site: Site, choice: WinogradChoice) -> NDArray[np.float32]:
    """Filters [O,C/g,kh,kw] as `[panel][plane][channel][vectors * lanes]`, transformed.

    Channels that no product multiplies are left out. Each panel is one product in f64, whose result
    lies as it is wanted. Taps that are expanded later are only scaled, and all there.
    """
    filters = np.asarray(site.constant(site.anchor.args[1]), np.float32)
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    packed = pack_filters(filters, source, out, site.anchor.attrs.groups, choice.tile.vectors)
    if choice.expands:
        return scaled_taps(packed, choice.vertical, choice.horizontal)
    both = np.kron(choice.vertical.filter_matrix, choice.horizontal.filter_matrix)
    panels, _, _, _, lanes, width = packed.shape
    columns = depth_of(source, site.anchor.attrs.groups).columns(lanes)
    made = np.empty((panels, choice.planes, len(columns), width), np.float32)
    for panel, taps in zip(made, packed, strict=True):
        slots = taps.transpose(1, 2, 0, 3, 4).reshape(both.shape[1], -1, width)
        lines = slots[:, columns].astype(np.float64).reshape(both.shape[1], -1)
        planes = panel.reshape(len(both), -1)
        for at in range(0, lines.shape[1], _AT_ONCE):
            planes[:, at : at + _AT_ONCE] = both @ lines[:, at : at + _AT_ONCE]
    return made
